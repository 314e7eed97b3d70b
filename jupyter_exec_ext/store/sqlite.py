"""SQLite: its file, its journal, and what to do with a file that is damaged."""

import contextlib
import logging
import os
import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from jupyter_exec_ext.store.failures import (
    FULL_ERRNOS,
    FULL_MESSAGE,
    DatabaseError,
    Failure,
    Kind,
    failure_of,
)

JournalMode: TypeAlias = Literal["auto", "wal", "delete"]

POOL_SIZE = 5
"""Four readers beside the one writer that SQLite has."""

# fmt: off
_NETWORK_TYPES = frozenset((
    "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "glusterfs", "gpfs",
    "lustre", "mfs", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb",
    "smb2", "smb3", "smbfs", "vboxsf", "vmhgfs", "wekafs",
))
# fmt: on
_ALWAYS_CHECKED_BYTES = 256 * 1024 * 1024
_WAL_KEPT_BYTES = 64 * 1024 * 1024
_GIVEN_BACK_PAGES = 500
_SIDE_FILES = ("-wal", "-shm", "-journal")
_PROBE_BYTES = 64 * 1024
_RETRY_SECONDS = 0.05
_LOCK_POLL_MILLISECONDS = 10


class SqliteBackend:
    """One SQLite file, private to its user."""

    def __init__(
        self,
        path: Path,
        *,
        journal_mode: JournalMode,
        busy_timeout_seconds: float,
        logger: logging.Logger,
    ) -> None:
        self._path = path
        self._wanted_mode = journal_mode
        self._busy_timeout_seconds = busy_timeout_seconds
        self._log = logger
        self._identity: tuple[int, int] | None = None
        self._wal = False
        self._is_suspect = False

    def start(self) -> Engine:
        """Return an engine on the file, which is made or replaced when it is missing or damaged.

        Nothing is written to a file that is whole.
        """
        self._prepare_file()
        self._wal = False
        engine = self._new_engine()
        try:
            if not self._is_whole(engine):
                engine.dispose()
                self._set_aside()
                self._prepare_file()
        except BaseException:
            engine.dispose()
            raise
        self._is_suspect = False
        return engine

    def settle(self, engine: Engine) -> None:
        """Choose the journal that the file system can hold, for all connections from now on."""
        with contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            if cursor.execute("PRAGMA page_count").fetchone()[0] == 0:
                cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
            self._wal = self._set_journal(cursor) == "wal"
            cursor.close()
        engine.dispose()

    def is_stale(self) -> bool:
        """Return whether the file was removed or replaced since `start`."""
        try:
            return _identity_of(self._path) != self._identity
        except OSError:
            return True

    def explain(self, error: DatabaseError) -> Failure:
        """Return what *error* means; a damaged file is looked at closely by the next `start`."""
        failure = failure_of(error)
        if failure.kind is Kind.DAMAGED:
            self._is_suspect = True
        elif _is_io_error(error) and _has_no_room(self._path.parent):
            # SQLite tells a used-up quota as an I/O error.
            return Failure(kind=Kind.FULL, message=FULL_MESSAGE)
        return failure

    def give_back(self, engine: Engine) -> bool:
        """Return some of the room that deleted records took; whether there is more of it."""
        with contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            # Only a script is run to its end: the pragma frees one page a step and has no rows.
            cursor.executescript(f"PRAGMA incremental_vacuum({_GIVEN_BACK_PAGES})")
            left_count: int = cursor.execute("PRAGMA freelist_count").fetchone()[0]
            has_vacuum: bool = cursor.execute("PRAGMA auto_vacuum").fetchone()[0] > 0
            cursor.close()
        return has_vacuum and left_count > 0

    def _prepare_file(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            # Never open a file that exists: closing it would drop SQLite's locks on it.
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            self._guard_file()
        self._identity = _identity_of(self._path)

    def _guard_file(self) -> None:
        if not self._path.is_file():
            raise OSError(0, "it is not a file")
        as_opened = os.access in os.supports_effective_ids
        if not os.access(self._path, os.R_OK | os.W_OK, effective_ids=as_opened):
            raise PermissionError(0, "it may not be read and written")
        if os.name == "posix" and self._path.stat().st_mode & 0o077:
            with contextlib.suppress(OSError):
                self._path.chmod(0o600)

    def _new_engine(self) -> Engine:
        engine = create_engine(
            URL.create("sqlite", database=str(self._path)),
            poolclass=QueuePool,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=self._busy_timeout_seconds,
            hide_parameters=True,
            connect_args={
                "timeout": self._busy_timeout_seconds,
                "check_same_thread": False,
                # The driver must not begin transactions of its own.
                "isolation_level": None,
            },
        )
        event.listen(engine, "connect", self._on_connect)
        event.listen(engine, "begin", self._on_begin)
        return engine

    def _on_connect(self, connection: sqlite3.Connection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.execute(f"PRAGMA synchronous = {'NORMAL' if self._wal else 'FULL'}")
        cursor.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
        cursor.close()

    def _on_begin(self, connection: Connection) -> None:
        if not connection.get_execution_options().get("is_write", False):
            connection.exec_driver_sql("BEGIN")
            return
        # While SQLite waits for the write lock it sleeps longer and longer, up to 100 ms, and can
        # miss each moment at which another process does not hold the lock. Short waits do not.
        driver: Any = connection.connection.driver_connection
        deadline = time.monotonic() + self._busy_timeout_seconds
        driver.execute(f"PRAGMA busy_timeout = {_LOCK_POLL_MILLISECONDS}")
        try:
            while not _began(driver, can_retry=time.monotonic() < deadline):
                pass
        finally:
            driver.execute(f"PRAGMA busy_timeout = {int(self._busy_timeout_seconds * 1_000)}")

    def _is_whole(self, engine: Engine) -> bool:
        if self._is_suspect:
            check = "PRAGMA integrity_check(1)"
        elif self._path.stat().st_size <= _ALWAYS_CHECKED_BYTES:
            check = "PRAGMA quick_check(1)"
        else:
            check = "SELECT 'ok' FROM (SELECT count(*) FROM sqlite_master)"
        try:
            with contextlib.closing(engine.raw_connection()) as connection:
                cursor = connection.cursor()
                try:
                    answer = cursor.execute(check).fetchone()
                finally:
                    cursor.close()
        except (DBAPIError, sqlite3.Error) as error:
            if failure_of(error).kind is Kind.DAMAGED:
                return False
            raise
        return answer is not None and answer[0] == "ok"

    def _set_aside(self) -> None:
        if self.is_stale():
            return  # another process was faster
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self._path.with_name(f"{self._path.name}.corrupt-{stamp}")
        self._path.rename(aside)
        for suffix in _SIDE_FILES:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._path}{suffix}").rename(f"{aside}{suffix}")
        self._log.error(
            "the store of executions was damaged; it is kept as %s and an empty one is used", aside
        )

    def _set_journal(self, cursor: Any) -> str:
        wanted = self._wanted_mode
        if wanted == "auto":
            wanted = "delete" if is_on_network(self._path) else "wal"
        if wanted == "wal":
            try:
                answer = self._pragma_journal_mode(cursor, "WAL")
            except sqlite3.OperationalError as error:
                if failure_of(error).kind is Kind.PASSING:
                    raise
                answer = ""
            if answer == "wal":
                return answer
            self._log.warning("the store's file system takes no write-ahead log")
        return self._pragma_journal_mode(cursor, "DELETE")

    def _pragma_journal_mode(self, cursor: Any, mode: str) -> str:
        # SQLite's own busy time-out does not hold for a change of the journal.
        deadline = time.monotonic() + self._busy_timeout_seconds
        while True:
            try:
                return str(cursor.execute(f"PRAGMA journal_mode = {mode}").fetchone()[0])
            except sqlite3.OperationalError as error:
                if failure_of(error).kind is not Kind.PASSING or time.monotonic() > deadline:
                    raise
            time.sleep(_RETRY_SECONDS)


def is_on_network(path: Path, *, mountinfo: Path = Path("/proc/self/mountinfo")) -> bool:
    """Return whether *path* is on a file system where processes of several machines meet.

    A write-ahead log needs memory shared by all of them, so it cannot be used there. Where the
    system does not tell, the answer is ``False``.
    """
    resolved = path.resolve()
    if str(resolved).startswith("\\\\"):
        return True
    try:
        lines = mountinfo.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    best, best_type = Path(), ""
    for line in lines:
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        mount_point = Path(_unescape(fields[4]))
        # Of several mounts on one point the last one is on top.
        if resolved.is_relative_to(mount_point) and len(mount_point.parts) >= len(best.parts):
            best, best_type = mount_point, right.split(" ")[0]
    return best_type in _NETWORK_TYPES or best_type.startswith("fuse.")


def _unescape(field: str) -> str:
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(escape, character)
    return field


def _began(driver: Any, *, can_retry: bool) -> bool:
    """Begin a transaction that writes; return whether the lock was free."""
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if can_retry and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            return False
        raise
    return True


def _identity_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_io_error(error: DatabaseError) -> bool:
    origin = error.orig if isinstance(error, DBAPIError) else error
    return getattr(origin, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR


def _has_no_room(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        return error.errno in FULL_ERRNOS
    return False
