"""The versions of the tables, and the steps from each to the next."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from sqlalchemy import Column, Connection, delete, func, insert, inspect, select

from jupyter_exec_ext.core.errors import StoreUnavailableError
from jupyter_exec_ext.store import tables
from jupyter_exec_ext.store.records import clean_label_term
from jupyter_exec_ext.store.rows import LABEL_COPIES

Migration: TypeAlias = Callable[[Connection], None]
"""Changes the tables from one version to the next, within the transaction of the connection."""

_ADVISORY_LOCK = 0x65786563_6D696772
"""Any number that other users of the same PostgreSQL database are unlikely to take."""


def _create_tables(connection: Connection) -> None:
    # All tables as they are today: a later step that changes one of them finds its change made.
    tables.metadata.create_all(connection)


def _add_sessions(connection: Connection) -> None:
    tables.sessions.create(connection, checkfirst=True)


def _add_signatures(connection: Connection) -> None:
    for table in (tables.executions, tables.notebooks, tables.sessions):
        _add_column(connection, table.c.signature)


def _add_column(connection: Connection, column: Column[Any]) -> None:
    """Add *column*, which may be ``NULL``, unless it is there."""
    table = column.table.name
    known = inspect(connection).get_columns(table)
    if column.name not in {found["name"] for found in known}:
        kind = column.type.compile(connection.dialect)
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column.name} {kind}")


def _index_lists(connection: Connection) -> None:
    """Replace the indexes by those that lists need, and the labels by rows with copies."""
    for name in ("state", "session", "path"):
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS exec_executions_by_{name}")
    for index in tables.executions.indexes:
        index.create(connection, checkfirst=True)
    tables.labels.create(connection, checkfirst=True)
    if inspect(connection).has_table("exec_labels"):
        _copy_labels(connection)
        connection.exec_driver_sql("DROP TABLE exec_labels")


def _copy_labels(connection: Connection) -> None:
    copied = ("server_id", *LABEL_COPIES)
    found = connection.exec_driver_sql(
        f"SELECT execution_id, name, value, {', '.join(copied)}"  # noqa: S608 - of constants
        " FROM exec_labels JOIN exec_executions ON id = execution_id"
    )
    for rows in found.partitions(1_000):
        terms = {
            # Name and value are clean already: cleaning them again would change them.
            (row.execution_id, clean_label_term(*names)): row
            for row in rows
            for names in ((row.name,), (row.name, row.value))
        }
        connection.execute(
            insert(tables.labels),
            [
                {
                    "execution_id": execution_id,
                    "term": term,
                    **{name: getattr(row, name) for name in copied},
                }
                for (execution_id, term), row in terms.items()
            ],
        )


def _index_session_lists(connection: Connection) -> None:
    connection.exec_driver_sql("DROP INDEX IF EXISTS exec_sessions_by_end")
    for index in tables.sessions.indexes:
        index.create(connection, checkfirst=True)


MIGRATIONS: tuple[Migration, ...] = (
    _create_tables,
    _add_sessions,
    _add_signatures,
    _index_lists,
    _index_session_lists,
)
"""In order and never changed once released: a database of version *n* has had the first *n*."""


def current_version(connection: Connection) -> int:
    """Return the version of the tables behind *connection*; 0 when there are none."""
    if not inspect(connection).has_table(tables.schema_version.name):
        return 0
    return connection.scalar(select(func.max(tables.schema_version.c.version))) or 0


def check_version(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Return the version of the tables without changing anything.

    Raises:
        StoreUnavailableError: They are newer than this release.
    """
    version = current_version(connection)
    if version > len(migrations):
        raise StoreUnavailableError(
            f"the store has version {version}, this release of jupyter_exec_ext knows"
            f" up to version {len(migrations)}; it was left as it is"
        )
    return version


def migrate(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring the tables to the newest version, in the transaction of *connection*.

    Of several processes that do this at once one does the work and the others find it done:
    SQLite needs a transaction that began with ``IMMEDIATE`` for that.

    Raises:
        StoreUnavailableError: The tables are newer than this release.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
    version = check_version(connection, migrations)
    if version == len(migrations):
        return
    for step in migrations[version:]:
        step(connection)
    connection.execute(delete(tables.schema_version))
    connection.execute(insert(tables.schema_version).values(version=len(migrations)))
