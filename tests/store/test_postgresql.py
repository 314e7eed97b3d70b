"""PostgreSQL: a server that goes and comes back, and messages that keep a secret."""

import asyncio
import logging
import time
import traceback

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from jupyter_exec_ext.core.errors import StoreFullError, StoreUnavailableError
from jupyter_exec_ext.store.failures import failure_of
from jupyter_exec_ext.store.store import ListQuery

from .builders import connected, eventually, new_execution, running
from .conftest import NewStore, Postgresql


async def test_a_database_that_was_away_is_found_again(
    own_postgresql: Postgresql, new_store: NewStore, caplog: pytest.LogCaptureFixture
) -> None:
    """While it is gone work fails with a reason and soon; when it is back all goes on."""
    caplog.set_level(logging.INFO, "jupyter_exec_ext")
    store = new_store(own_postgresql.new_database())
    execution = new_execution()
    await store.insert(execution, notebook=b"")

    own_postgresql.stop()
    begin = time.monotonic()
    for _ in range(20):
        with pytest.raises(StoreUnavailableError):
            await store.get(execution.id)
    assert time.monotonic() - begin < 5
    own_postgresql.start()

    assert await eventually(lambda: store.get(execution.id), StoreUnavailableError) == execution
    assert await store.update(running(execution))
    assert caplog.messages[-1] == "the store of executions is back"
    assert len(caplog.messages) <= 3


async def test_a_restart_between_two_calls_goes_unnoticed(
    own_postgresql: Postgresql, new_store: NewStore
) -> None:
    """Connections that died in the pool are replaced before they are used."""
    store = new_store(own_postgresql.new_database())
    execution = new_execution()
    await store.insert(execution, notebook=b"")
    own_postgresql.stop()
    own_postgresql.start()

    assert await store.get(execution.id) == execution


async def test_closing_without_the_database_is_quiet(
    own_postgresql: Postgresql, new_store: NewStore
) -> None:
    """A server stops also when its database is gone."""
    store = new_store(own_postgresql.new_database())
    await store.open()
    own_postgresql.stop()

    await store.close()

    own_postgresql.start()


async def test_no_message_repeats_the_address(
    postgresql: Postgresql, new_store: NewStore, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither errors nor logs hold the password, host or user of the database."""
    missing = postgresql.url("missing")
    unreachable = "postgresql://someone:not-for-logs@127.0.0.1:1/db?connect_timeout=2"
    caplog.set_level(logging.DEBUG, "jupyter_exec_ext")
    for url, reason in ((missing, "no such database"), (unreachable, "cannot be reached")):
        with pytest.raises(StoreUnavailableError, match=reason) as caught:
            await new_store(url).open()
        shown = "".join(traceback.format_exception(caught.value)) + caplog.text
        assert "not-for-logs" not in shown
        assert "127.0.0.1" not in shown
    assert len(caplog.records) == 2


async def test_a_row_locked_by_another_is_refused_in_time(
    postgresql: Postgresql, new_store: NewStore
) -> None:
    """A change waits for the busy time-out, not for ever; the loop is free meanwhile."""
    url = postgresql.new_database()
    store = new_store(url, busy_timeout_seconds=0.3)
    execution = new_execution()
    await store.insert(execution, notebook=b"")

    with connected(url) as connection:
        connection.execute(text("SELECT * FROM exec_executions FOR UPDATE"))
        answers = await asyncio.gather(
            store.update(running(execution)), store.list(ListQuery()), return_exceptions=True
        )

    assert isinstance(answers[0], StoreUnavailableError)
    assert "locked" in str(answers[0])
    assert not isinstance(answers[1], BaseException)
    assert await store.update(running(execution))


def test_a_full_disk_has_its_own_error() -> None:
    """PostgreSQL's 53100 says that the disk is full."""
    error = OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file"))

    failure = failure_of(error)

    assert isinstance(failure.as_error(), StoreFullError)
    assert "extend" not in failure.message


async def test_a_value_that_is_refused_does_not_show(
    postgresql: Postgresql, new_store: NewStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The server's answer to a broken rule repeats the row; our error does not."""
    store = new_store(postgresql.new_database())
    execution = new_execution()
    await store.insert(execution, notebook=b"")

    with pytest.raises(StoreUnavailableError) as caught:
        await store.append_events(execution.id, [(1, None)])  # type: ignore[list-item]

    shown = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert "NotNullViolation" in shown
    assert "Failing row" not in shown
    assert await store.get(execution.id) == execution
