"""SQLite: a file that another process holds, and a disk that is full."""

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from jupyter_exec_ext.core.errors import StoreFullError, StoreUnavailableError
from jupyter_exec_ext.store.failures import Kind
from jupyter_exec_ext.store.sqlite import SqliteBackend
from jupyter_exec_ext.store.store import Filters, ListQuery

from .builders import ended, eventually, filled, locked, new_execution, new_instance, running
from .conftest import NewStore

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")


@pytest.mark.parametrize("mode", ["wal", "delete"])
async def test_a_locked_file_blocks_nobody_for_long(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path, mode: str
) -> None:
    """Writers wait in a thread, then are refused; the loop goes on; nothing was lost after."""
    store = new_store(sqlite_url, sqlite_journal_mode=mode, busy_timeout_seconds=0.3)
    first = new_execution()
    await store.insert(first, notebook=b"")
    longest, stop = 0.0, asyncio.Event()

    async def measure() -> None:
        nonlocal longest
        while not stop.is_set():
            begin = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - begin)

    watch = asyncio.create_task(measure())
    with locked(sqlite_path):
        begin = time.monotonic()
        answers = await asyncio.gather(
            *(store.insert(new_execution(), notebook=b"") for _ in range(20)),
            return_exceptions=True,
        )
        waited = time.monotonic() - begin
    stop.set()
    await watch

    assert {type(answer) for answer in answers} == {StoreUnavailableError}
    assert "locked by another process" in str(answers[0])
    assert 0.3 <= waited < 3
    assert longest < 0.3
    assert await store.update(running(first))
    assert (await store.list(ListQuery())).executions == [running(first)]


async def test_a_store_locked_at_its_opening_opens_later(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """A lock held at the start is a passing reason like any other."""
    await filled(sqlite_url, 1)
    store = new_store(sqlite_url, busy_timeout_seconds=0.1)
    with locked(sqlite_path), pytest.raises(StoreUnavailableError, match="locked"):
        await store.open()

    page = await eventually(lambda: store.list(ListQuery()), StoreUnavailableError)

    assert len(page.executions) == 1


async def test_closing_is_bounded(new_store: NewStore, sqlite_url: str, sqlite_path: Path) -> None:
    """A lock by another process does not keep the server from stopping."""
    store = new_store(sqlite_url, busy_timeout_seconds=3)
    await store.open()

    with locked(sqlite_path):
        begin = time.monotonic()
        await store.close()
        assert time.monotonic() - begin < 2.5
    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.open()


@dataclass
class Room:
    """How many pages the files of all connections may have; 0 for no limit."""

    pages: int = 0


@pytest.fixture
def room() -> Iterator[Room]:
    """Make SQLite's disk full at will: SQLite itself reports it."""
    limit = Room()

    def on_checkout(connection: Any, _entry: ConnectionPoolEntry, _proxy: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit.pages or 1_000_000_000}")

    event.listen(Pool, "checkout", on_checkout)
    yield limit
    event.remove(Pool, "checkout", on_checkout)


async def test_a_full_disk_refuses_writes_only(
    new_store: NewStore, sqlite_url: str, room: Room
) -> None:
    """Reading goes on, no half record is left, and writing goes on when there is room."""
    store = new_store(sqlite_url)
    execution = new_execution()
    await store.insert(execution, notebook=b"")
    room.pages = 1

    with pytest.raises(StoreFullError):
        await store.insert(new_execution(), notebook=b"x" * 1_000_000)
    with pytest.raises(StoreFullError):
        await store.finish(ended(execution), result=b"x" * 1_000_000)

    assert (await store.list(ListQuery())).executions == [execution]
    assert await store.get_result(execution.id) is None
    room.pages = 0
    assert await store.finish(ended(execution), result=b"x" * 1_000_000)


async def test_a_full_disk_is_no_reason_not_to_open(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path, room: Room
) -> None:
    """What is stored can be read after a restart; the lease is taken when there is room."""
    await filled(sqlite_url, 1)
    room.pages = 1
    # More leases than the pages that are there can take.
    stores = [new_store(sqlite_url, new_instance(host="h" * 250)) for _ in range(20)]
    for store in stores:
        assert len((await store.list(ListQuery())).executions) == 1
    with contextlib.closing(sqlite3.connect(sqlite_path)) as connection:
        (leases,) = connection.execute("SELECT count(*) FROM exec_leases").fetchone()
    assert leases < len(stores)

    room.pages = 0
    await stores[-1].insert(new_execution(), notebook=b"")

    with contextlib.closing(sqlite3.connect(sqlite_path)) as connection:
        (more,) = connection.execute("SELECT count(*) FROM exec_leases").fetchone()
    assert more == leases + 1


@posix_only
async def test_a_used_up_quota_is_a_full_disk(new_store: NewStore, sqlite_url: str) -> None:
    """SQLite tells of quotas and file size limits as I/O errors; a caller learns what it is."""
    import resource

    store = new_store(sqlite_url)
    execution = new_execution()
    await store.insert(execution, notebook=b"x" * 100_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(StoreFullError):
            await store.insert(new_execution(), notebook=b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert (await store.list(ListQuery())).executions == [execution]
    assert await store.update(running(execution))


def test_an_error_of_the_disk_is_not_a_full_disk(tmp_path: Path) -> None:
    """An I/O error on a disk with room asks for a new opening and is named as what it is."""
    backend = SqliteBackend(
        tmp_path / "x.db",
        journal_mode="auto",
        busy_timeout_seconds=1,
        logger=logging.getLogger("jupyter_exec_ext"),
    )
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ

    failure = backend.explain(error)

    assert (failure.kind, failure.message) == (Kind.GONE, "the store's disk reports an error")


async def test_deleting_gives_room_back(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """After a bulk delete the file is smaller."""
    store = new_store(sqlite_url, sqlite_journal_mode="delete")
    execution = new_execution()
    await store.insert(execution, notebook=b"x" * 5_000_000)
    await store.finish(ended(execution), result=b"")
    assert sqlite_path.stat().st_size > 5_000_000

    await store.delete_where(Filters())

    assert sqlite_path.stat().st_size < 1_000_000
