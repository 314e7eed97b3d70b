"""PostgreSQL: its driver, and connections that notice within seconds when it is gone."""

from collections.abc import Mapping, MutableMapping
from importlib.util import find_spec
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError
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


def take_parameters(url: str, environment: MutableMapping[str, str]) -> dict[str, str]:
    """Take out of *environment* what opens the database at *url*, if that is PostgreSQL.

    That is every variable of libpq (``PG*``), and every one that holds this URL, its password or
    another URL with it. Every program that the process starts would inherit them.

    Returns:
        The connection parameters that libpq would have taken from the environment and from the
        service file that it names.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        return {}
    if address.get_backend_name() != "postgresql":
        return {}
    names = [
        name
        for name, value in environment.items()
        if name.startswith("PG") or _opens(value, address)
    ]
    parameters = {}
    if any(name.startswith("PG") for name in names) and find_spec("psycopg") is not None:
        from psycopg.pq import Conninfo

        parameters = {
            option.keyword.decode(): option.val.decode()
            for option in Conninfo.get_defaults()
            if option.val is not None and option.val != option.compiled
        }
        # What the service stands for is in the other options.
        parameters.pop("service", None)
    for name in names:
        del environment[name]
    return parameters


def _opens(value: str, address: URL) -> bool:
    """Return whether *value* is the password of *address*, or a URL of the same database."""
    if address.password and value == address.password:
        return True
    try:
        other = make_url(value)
    except (ArgumentError, ValueError):
        return False
    if address.password and other.password == address.password:
        return True
    return other.set(drivername=address.drivername) == address


class PostgresqlBackend:
    """One PostgreSQL database, reached with psycopg."""

    def __init__(
        self, url: URL, *, parameters: Mapping[str, str], busy_timeout_seconds: float
    ) -> None:
        self._url = url.set(drivername="postgresql+psycopg")
        self._parameters = parameters
        self._busy_timeout_seconds = busy_timeout_seconds

    def start(self) -> Engine:
        """Return an engine; nothing is connected yet."""
        if find_spec("psycopg") is None:
            raise StoreUnavailableError(
                "a store in PostgreSQL needs psycopg: pip install 'jupyter_exec_ext[postgresql]'"
            )
        named = {
            "host": self._url.host,
            "port": self._url.port,
            "user": self._url.username,
            "password": self._url.password,
            "dbname": self._url.database,
        }
        given = {*self._url.query, *(name for name, value in named.items() if value)}
        engine = create_engine(
            self._url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=self._busy_timeout_seconds,
            pool_pre_ping=True,
            pool_recycle=_RECYCLE_SECONDS,
            hide_parameters=True,
            connect_args={
                name: value
                for name, value in (_CONNECTION_DEFAULTS | {**self._parameters}).items()
                if name not in given
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

    def give_back(self, engine: Engine) -> bool:  # noqa: ARG002 - of the protocol
        """Do nothing, and return ``False``: autovacuum does it."""
        return False

    def _on_connect(self, connection: Any, _entry: ConnectionPoolEntry) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET statement_timeout = {_STATEMENT_TIMEOUT_SECONDS * 1000}")
            cursor.execute(f"SET lock_timeout = {int(self._busy_timeout_seconds * 1000)}")
        connection.commit()
