"""PostgreSQL's and the driver's errors, told as ours: mapped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from ragstone.errors import CatalogError, CatalogUnavailable

_REACH = "check that PostgreSQL runs and that RAGSTONE_DATABASE_URL is right; `ragstone doctor` tries it"

# The first that fits counts: the driver's classes are subclasses of OperationalError and the like.
_KINDS: tuple[tuple[type[psycopg.Error] | tuple[type[psycopg.Error], ...], type[CatalogError], str, str], ...] = (
    (errors.DiskFull, CatalogError, "PostgreSQL's disk is full", "free disk space; what was stored is safe"),
    (
        errors.TooManyConnections,
        CatalogUnavailable,
        "PostgreSQL has no connection left",
        "raise its max_connections, or lower database.pool_size",
    ),
    (
        (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable, errors.QueryCanceled),
        CatalogUnavailable,
        "PostgreSQL gave up on a transaction",
        "try again",
    ),
    (
        errors.ReadOnlySqlTransaction,
        CatalogError,
        "the database is read-only",
        "point RAGSTONE_DATABASE_URL to the primary server",
    ),
    (
        errors.InsufficientPrivilege,
        CatalogError,
        "PostgreSQL denies access",
        "connect as the user that owns the schema ragstone",
    ),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction),
        CatalogError,
        "the catalog's schema is damaged",
        "restore the database, or start with an empty one and index again",
    ),
    (psycopg.OperationalError, CatalogUnavailable, "cannot reach PostgreSQL", _REACH),
    (psycopg.InterfaceError, CatalogUnavailable, "the connection to PostgreSQL is gone", _REACH),
    (psycopg.Error, CatalogError, "PostgreSQL refused", ""),
)


@contextmanager
def catalog_errors() -> Iterator[None]:
    """Raise CatalogError or CatalogUnavailable for every error of the driver, and for text that has no UTF-8."""
    try:
        yield
    except UnicodeEncodeError as error:
        raise CatalogError(f"PostgreSQL stores UTF-8 only: {error}") from error
    except psycopg.Error as error:
        raise translated(error) from error
    except (UnicodeError, OSError) as error:  # looking up an odd host name
        raise CatalogUnavailable(f"cannot reach PostgreSQL: {error}", hint=_REACH) from error


def translated(error: psycopg.Error) -> CatalogError:
    """Our error for one of the driver's."""
    ours, message, hint = next(row[1:] for row in _KINDS if isinstance(error, row[0]))
    return ours(f"{message}: {error}", hint=hint)
