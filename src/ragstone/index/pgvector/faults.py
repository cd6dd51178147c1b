"""PostgreSQL's and the driver's errors, told as the index's: mapped here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from ragstone.errors import IndexFailure, IndexReadOnly, IndexTooOld, IndexUnavailable

_REACH = "check that PostgreSQL runs and that its URL is right; `ragstone doctor` tries it"

# The first that fits counts: the driver's classes are subclasses of OperationalError and the like.
_KINDS: tuple[tuple[type[psycopg.Error] | tuple[type[psycopg.Error], ...], type[IndexFailure], str, str], ...] = (
    (errors.DiskFull, IndexReadOnly, "PostgreSQL's disk is full", "free disk space; what is indexed is safe"),
    (
        errors.ReadOnlySqlTransaction,
        IndexReadOnly,
        "the database is read-only",
        "point RAGSTONE_DATABASE_URL to the primary server, or set default_transaction_read_only to off",
    ),
    (
        errors.UndefinedFile,
        IndexTooOld,
        "PostgreSQL cannot load pgvector",
        "install pgvector 0.8 or newer for this version of PostgreSQL",
    ),
    (
        errors.TooManyConnections,
        IndexUnavailable,
        "PostgreSQL has no connection left",
        "raise its max_connections, or lower database.pool_size",
    ),
    (
        (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable, errors.QueryCanceled),
        IndexUnavailable,
        "PostgreSQL gave up on a transaction",
        "try again",
    ),
    (
        errors.InsufficientPrivilege,
        IndexFailure,
        "PostgreSQL denies access",
        "connect as the user that owns the schema ragstone_index",
    ),
    (
        (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName),
        IndexUnavailable,
        "the index is damaged: it is made anew at the next call",
        "wait until it has caught up: `ragstone index status`",
    ),
    (psycopg.OperationalError, IndexUnavailable, "cannot reach PostgreSQL", _REACH),
    (psycopg.InterfaceError, IndexUnavailable, "the connection to PostgreSQL is gone", _REACH),
    (psycopg.Error, IndexFailure, "PostgreSQL refused", ""),
)


@contextmanager
def index_errors() -> Iterator[None]:
    """Raise IndexFailure, or what says it more closely, for every error of the driver, and for text without UTF-8."""
    try:
        yield
    except psycopg.Error as error:
        ours, message, hint = next(row[1:] for row in _KINDS if isinstance(error, row[0]))
        raise ours(f"{message}: {error}", hint=hint) from error
    except UnicodeEncodeError as error:
        raise IndexFailure(f"PostgreSQL stores UTF-8 only: {error}") from error
    except (UnicodeError, OSError) as error:  # looking up an odd host name
        raise IndexUnavailable(f"cannot reach PostgreSQL: {error}", hint=_REACH) from error
