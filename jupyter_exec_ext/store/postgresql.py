"""PostgreSQL: its driver, and connections that notice within seconds when it is gone."""

from importlib.util import find_spec
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import ConnectionPoolEntry

from jupyter_exec_ext.core.errors import StoreUnavailableError
from jupyter_exec_ext.store.failures import DatabaseError, Failure, failure_of

POOL_SIZE = 5

_STATEMENT_TIMEOUT_SECONDS = 30
_RECYCLE_SECONDS = 1_800
_CONNECTION_DEFAULTS = {
    "connect_timeout": 5,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "application_name": "jupyter_exec_ext",
}


class PostgresqlBackend:
    """One PostgreSQL database, reached with psycopg."""

    def __init__(self, url: URL, *, busy_timeout_seconds: float) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self._busy_timeout_seconds = busy_timeout_seconds

    def start(self) -> Engine:
        """Return an engine; nothing is connected yet."""
        if find_spec("psycopg") is None:
            raise StoreUnavailableError(
                "a store in PostgreSQL needs psycopg: pip install 'jupyter_exec_ext[postgresql]'"
            )
        given = self._url.query
        engine = create_engine(
            self._url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=self._busy_timeout_seconds,
            pool_pre_ping=True,
            pool_recycle=_RECYCLE_SECONDS,
            hide_parameters=True,
            connect_args={
                name: value for name, value in _CONNECTION_DEFAULTS.items() if name not in given
            },
        )
        event.listen(engine, "connect", self._on_connect)
        return engine

    def settle(self, engine: Engine) -> None:
        """Do nothing: the database's own settings hold."""

    def is_stale(self) -> bool:
        """Return ``False``: the pool notices itself when the database was restarted."""
        return False

    def explain(self, error: DatabaseError) -> Failure:
        """Return what *error* means."""
        return failure_of(error)

    def give_back(self, engine: Engine) -> None:
        """Do nothing: autovacuum does it."""

    def _on_connect(self, connection: Any, _entry: ConnectionPoolEntry) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {_STATEMENT_TIMEOUT_SECONDS * 1000}")
            cursor.execute(f"SET lock_timeout = {int(self._busy_timeout_seconds * 1000)}")
        connection.commit()
