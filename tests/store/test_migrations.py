"""Versions of the tables."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from jupyter_exec_ext.core.errors import StoreUnavailableError
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.store import tables
from jupyter_exec_ext.store.migrations import MIGRATIONS, current_version, migrate
from jupyter_exec_ext.store.records import clean_text
from jupyter_exec_ext.store.store import Filters, ListQuery, Store

from .builders import connected, new_execution, new_instance, running
from .conftest import NewStore


def add_column(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE exec_executions ADD COLUMN extra TEXT DEFAULT 'old'"))


def fail(connection: Connection) -> None:
    add_column(connection)
    raise ArithmeticError


def migrate_with_failure(url: str) -> None:
    with connected(url) as connection:
        if url.startswith("sqlite"):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        migrate(connection, (*MIGRATIONS, fail))


async def test_an_empty_database_gets_the_newest_tables(store: Store, url: str) -> None:
    """After all steps the database has the tables that the code knows, column by column."""
    await store.open()

    with connected(url) as connection:
        assert current_version(connection) == len(MIGRATIONS)
        found = {
            table: {column["name"] for column in inspect(connection).get_columns(table)}
            for table in inspect(connection).get_table_names()
        }
    assert found == {
        table.name: set(table.columns.keys()) for table in tables.metadata.tables.values()
    }


async def test_an_older_database_gets_the_missing_steps(store: Store, url: str) -> None:
    """A step that came later runs once, on the data that is there."""
    execution = new_execution()
    await store.insert(execution, notebook=b"")

    for _ in range(2):
        with connected(url) as connection:
            migrate(connection, (*MIGRATIONS, add_column))

    with connected(url) as connection:
        assert current_version(connection) == len(MIGRATIONS) + 1
        assert connection.scalar(text("SELECT extra FROM exec_executions")) == "old"


async def test_a_step_that_fails_changes_nothing(store: Store, url: str) -> None:
    """All missing steps are one transaction."""
    await store.open()

    with pytest.raises(ArithmeticError):
        migrate_with_failure(url)

    with connected(url) as connection:
        assert current_version(connection) == len(MIGRATIONS)
        columns = {c["name"] for c in inspect(connection).get_columns("exec_executions")}
    assert "extra" not in columns


async def test_a_database_before_the_first_version_is_brought_up(store: Store, url: str) -> None:
    """A version table that names none, beside tables of others, counts as version 0."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).parent.mkdir()
    with connected(url) as connection:
        connection.execute(text("CREATE TABLE exec_schema_version (version BIGINT NOT NULL)"))
        connection.execute(text("CREATE TABLE of_another_program (x INTEGER)"))

    await store.insert(new_execution(), notebook=b"")

    with connected(url) as connection:
        assert current_version(connection) == len(MIGRATIONS)
        assert inspect(connection).has_table("of_another_program")


async def test_labels_of_an_older_database_are_found(
    store: Store, url: str, new_store: NewStore
) -> None:
    """The step that indexes lists copies the labels, with the state that each execution has."""
    execution = new_execution(labels={"a\\": "=b", "c": "d" * 300}, owner="ann")
    await store.insert(execution, notebook=None)
    await store.update(running(execution))
    await store.close()
    with connected(url) as connection:
        connection.execute(text("DROP TABLE exec_label_terms"))
        connection.execute(
            text(
                "CREATE TABLE exec_labels (execution_id TEXT NOT NULL, name TEXT NOT NULL,"
                " value TEXT NOT NULL, PRIMARY KEY (execution_id, name))"
            )
        )
        for name, value in execution.labels.items():
            connection.execute(
                text("INSERT INTO exec_labels VALUES (:id, :name, :value)"),
                {"id": execution.id, "name": clean_text(name), "value": clean_text(value)},
            )
        connection.execute(text("UPDATE exec_schema_version SET version = 3"))
    newer = new_store(url)

    found = []
    for label in (("a\\", "=b"), ("c", "d" * 300), ("c", None), ("a", None), ("a\\", "b")):
        filters = Filters(label=label, owner="ann", state=(State.RUNNING,))
        found.append(len((await newer.list(ListQuery(filters=filters))).executions))

    assert found == [1, 1, 1, 0, 0]
    with connected(url) as connection:
        assert not inspect(connection).has_table("exec_labels")


async def test_a_newer_database_is_left_alone(url: str, new_store: NewStore) -> None:
    """The refusal names both versions, and nothing in the database changes."""
    first = new_store(url)
    await first.insert(new_execution(), notebook=b"")
    await first.close()
    with connected(url) as connection:
        connection.execute(text("UPDATE exec_schema_version SET version = 99"))
    second = new_store(url)

    with pytest.raises(StoreUnavailableError, match=rf"version 99.* version {len(MIGRATIONS)}\b"):
        await second.open()
    with pytest.raises(StoreUnavailableError, match="version 99"):
        await second.insert(new_execution(), notebook=b"")

    with connected(url) as connection:
        assert connection.scalar(text("SELECT count(*) FROM exec_executions")) == 1
        assert connection.scalar(text("SELECT count(*) FROM exec_leases")) == 0


OPEN = """
import asyncio, sys
from jupyter_exec_ext.store.store import Instance, ListQuery, Store

async def main():
    store = Store(sys.argv[1], Instance.of_this_process("server"))
    sys.stdin.readline()
    await store.open()
    await store.list(ListQuery())
    await store.close()

asyncio.run(main())
"""


async def test_processes_can_open_an_empty_database_at_once(url: str) -> None:
    """Of several processes one makes the tables, and all of them work."""
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", OPEN, url],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    with ThreadPoolExecutor(len(children)) as threads:
        loop = asyncio.get_running_loop()
        results = await asyncio.gather(
            *(loop.run_in_executor(threads, child.communicate, b"go\n") for child in children)
        )

    assert [errors for _, errors in results] == [b""] * len(children)
    assert [child.returncode for child in children] == [0] * len(children)


async def test_stores_of_one_process_can_open_at_once(url: str) -> None:
    """The same holds within one process."""
    stores = [Store(url, new_instance()) for _ in range(4)]

    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.insert(new_execution(), notebook=b"") for store in stores))

    assert len((await stores[0].list(ListQuery())).executions) == 4
    await asyncio.gather(*(store.close() for store in stores))
