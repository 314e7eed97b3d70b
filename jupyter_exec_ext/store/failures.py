"""What a database's error means to the caller of the store.

Messages name the cause and never the address, a password or a value that was to be stored.
"""

import errno
import sqlite3
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from jupyter_exec_ext.core.errors import StoreFullError, StoreUnavailableError

DatabaseError: TypeAlias = DBAPIError | PoolTimeoutError | OSError | sqlite3.Error
"""What a database, its driver or its disk can do to us; all else is a defect of this package."""

FULL_MESSAGE = "the store has no room left to write to"
FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Kind(Enum):
    """What to do about a failure."""

    PASSING = "the connection is fine, the same work may succeed later"
    FULL = "there is no room to write; reading goes on"
    GONE = "the database has to be opened anew"
    DAMAGED = "the file is not a whole SQLite database"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A database's error, understood."""

    kind: Kind
    message: str

    def as_error(self) -> StoreUnavailableError:
        """Return the error that tells a caller."""
        if self.kind is Kind.FULL:
            return StoreFullError(self.message)
        return StoreUnavailableError(self.message)


_SQLITE: dict[int, tuple[Kind, str]] = {
    sqlite3.SQLITE_BUSY: (Kind.PASSING, "the store is locked by another process"),
    sqlite3.SQLITE_LOCKED: (Kind.PASSING, "the store is locked by another process"),
    sqlite3.SQLITE_FULL: (Kind.FULL, FULL_MESSAGE),
    sqlite3.SQLITE_CORRUPT: (Kind.DAMAGED, "the store's file is damaged"),
    sqlite3.SQLITE_NOTADB: (Kind.DAMAGED, "the store's file is not a database"),
    sqlite3.SQLITE_READONLY: (Kind.GONE, "the store's file cannot be written"),
    sqlite3.SQLITE_CANTOPEN: (Kind.GONE, "the store's file cannot be opened"),
    sqlite3.SQLITE_PERM: (Kind.GONE, "the store's file cannot be opened"),
    sqlite3.SQLITE_IOERR: (Kind.GONE, "the store's disk reports an error"),
}

_REFUSED_BY_SQLITE = (
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_NOMEM,
)
_REFUSED_BY_POSTGRESQL = ("22", "23", "53", "54")
"""Classes of SQLSTATE: data exceptions, constraints, resources and limits."""

_POSTGRESQL: dict[str, tuple[Kind, str]] = {
    "53100": (Kind.FULL, FULL_MESSAGE),
    "57014": (Kind.PASSING, "the store took too long to answer"),
    "55P03": (Kind.PASSING, "the store is locked by another process"),
    "40001": (Kind.PASSING, "the store was changed by another process at the same moment"),
    "40P01": (Kind.PASSING, "the store was changed by another process at the same moment"),
    "28P01": (Kind.GONE, "the store's database refused the user or password"),
    "28000": (Kind.GONE, "the store's database refused the user or password"),
    "3D000": (Kind.GONE, "the store's database does not exist"),
    "42501": (Kind.GONE, "the store's database user lacks a permission"),
    "25006": (Kind.GONE, "the store's database is read-only"),
    "53300": (Kind.GONE, "the store's database takes no more connections"),
}


_UNREACHABLE = (
    ("password authentication failed", "refused the user or password"),
    ("no password supplied", "asks for a password"),
    ("no pg_hba.conf entry", "refuses this client"),
    ("does not exist", "has no such database or user"),
    ("starting up", "is starting"),
    ("shutting down", "is shutting down"),
    ("too many", "takes no more connections"),
    ("timeout", "does not answer"),
    ("timed out", "does not answer"),
    ("resolve host", "has a host name that is not known"),
    ("translate host name", "has a host name that is not known"),
)
"""While it connects PostgreSQL tells the reason in words only, beside names that we keep quiet."""


def failure_of(error: DatabaseError) -> Failure:
    """Return what *error* means."""
    if isinstance(error, PoolTimeoutError):
        return Failure(kind=Kind.PASSING, message="the store is busy")
    if isinstance(error, OSError):
        if error.errno in FULL_ERRNOS:
            return Failure(kind=Kind.FULL, message=FULL_MESSAGE)
        reason = error.strerror or type(error).__name__
        return Failure(kind=Kind.GONE, message=f"the store cannot be opened: {reason}")
    origin = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(origin, sqlite3.Error):
        return _sqlite_failure(origin)
    state = getattr(origin, "sqlstate", None)
    if state in _POSTGRESQL:
        kind, message = _POSTGRESQL[state]
        return Failure(kind=kind, message=message)
    if isinstance(error, DBAPIError) and (error.connection_invalidated or state is None):
        said = str(origin)
        reasons = (reason for words, reason in _UNREACHABLE if words in said)
        message = f"the store's database {next(reasons, 'cannot be reached')}"
        return Failure(kind=Kind.GONE, message=message)
    name = type(origin).__name__
    kind = Kind.PASSING if str(state).startswith(_REFUSED_BY_POSTGRESQL) else Kind.GONE
    return Failure(kind=kind, message=f"the store's database refused: {name}")


def _sqlite_failure(error: sqlite3.Error) -> Failure:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    # The low byte is the primary result code, the rest says where it happened.
    if code & 0xFF in _SQLITE:
        kind, message = _SQLITE[code & 0xFF]
        return Failure(kind=kind, message=message)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind = Kind.PASSING if code & 0xFF in _REFUSED_BY_SQLITE else Kind.GONE
    return Failure(kind=kind, message=f"the store's file refused: {name}")
