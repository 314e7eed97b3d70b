"""SQLite: who may read the file, which journal it has, and files that are damaged or in use."""

import asyncio
import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from jupyter_exec_ext.core.errors import StoreFullError, StoreUnavailableError
from jupyter_exec_ext.store.sqlite import is_on_network
from jupyter_exec_ext.store.store import Filters, ListQuery, Store

from .builders import ended, eventually, locked, new_execution, new_instance, running
from .conftest import NewStore

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pragma(path: Path, name: str) -> Any:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


async def filled(url: str, count: int = 50) -> None:
    """Make a store with some records and close it."""
    store = Store(url, new_instance())
    for _ in range(count):
        await store.insert(new_execution(), notebook=b"x" * 1000)
    await store.close()


@posix_only
async def test_the_file_is_private(new_store: NewStore, sqlite_url: str, sqlite_path: Path) -> None:
    """Nobody else can read the folder, the file or the files that SQLite puts beside it."""
    store = new_store(sqlite_url)
    await store.insert(new_execution(), notebook=b"")

    assert mode_of(sqlite_path.parent) == 0o700
    files = sorted(sqlite_path.parent.iterdir())
    assert [file.name for file in files] == [f"executions.db{x}" for x in ("", "-shm", "-wal")]
    assert {mode_of(file) for file in files} == {0o600}


@posix_only
async def test_a_readable_file_is_made_private(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """A file that others could read is closed to them; a folder that was there is left alone."""
    await filled(sqlite_url)
    sqlite_path.chmod(0o644)
    sqlite_path.parent.chmod(0o755)

    await new_store(sqlite_url).open()

    assert mode_of(sqlite_path) == 0o600
    assert mode_of(sqlite_path.parent) == 0o755


@pytest.mark.parametrize(
    ("asked", "journal"), [("auto", "wal"), ("wal", "wal"), ("delete", "delete")]
)
async def test_the_journal_is_chosen(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path, asked: str, journal: str
) -> None:
    """On a local disk readers and the writer do not wait for each other, unless asked."""
    store = new_store(sqlite_url, sqlite_journal_mode=asked)
    await store.open()

    assert pragma(sqlite_path, "journal_mode") == journal


async def test_the_journal_can_be_changed(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """A file that was moved to a network disk gives up its write-ahead log."""
    await filled(sqlite_url)

    store = new_store(sqlite_url, sqlite_journal_mode="delete")

    assert len((await store.list(ListQuery())).executions) == 50
    assert pragma(sqlite_path, "journal_mode") == "delete"


MOUNTS = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /home rw,relatime - nfs4 server:/home rw
31 30 0:41 / /home/local\\040disk rw - xfs /dev/sdb rw
32 27 0:42 / /mnt/fuse rw - fuse.sshfs host: rw
33 27 0:43 / /mnt/share rw - cifs //host/share rw
34 27 0:44 / /mnt/share rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/data/x.db", False),
        ("/home/ann/x.db", True),
        ("/homework/x.db", False),
        ("/home/local disk/x.db", False),
        ("/mnt/fuse/x.db", True),
        ("/mnt/share/x.db", False),
    ],
)
def test_network_disks_are_known(tmp_path: Path, path: str, answer: bool) -> None:
    """The innermost mount decides, of several on one point the last."""
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(MOUNTS)

    assert is_on_network(Path(path), mountinfo=mountinfo) is answer
    assert not is_on_network(Path(path), mountinfo=tmp_path / "missing")


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, it is a text" * 1000)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def holed(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 4)
        file.write(os.urandom(path.stat().st_size // 2))


@pytest.mark.parametrize("damage", [garbage, truncated, holed])
async def test_a_damaged_file_is_set_aside(
    new_store: NewStore,
    sqlite_url: str,
    sqlite_path: Path,
    damage: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The damaged file is kept under another name, logged once, and an empty store works."""
    await filled(sqlite_url)
    damage(sqlite_path)
    damaged = sqlite_path.read_bytes()
    store = new_store(sqlite_url)

    assert (await store.list(ListQuery())).executions == []
    await store.insert(new_execution(), notebook=b"")

    (aside,) = sqlite_path.parent.glob("executions.db.corrupt-*Z")
    assert aside.read_bytes() == damaged
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert aside.name in caplog.text


async def test_damage_while_open_is_survived(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """Damage that shows during work fails that work; a second later an empty store works."""
    store = new_store(sqlite_url, sqlite_journal_mode="delete")
    for _ in range(50):
        await store.insert(new_execution(), notebook=b"x" * 1000)
    garbage(sqlite_path)

    with pytest.raises(StoreUnavailableError):
        await store.list(ListQuery())
    page = await eventually(lambda: store.list(ListQuery()), StoreUnavailableError)

    assert page.executions == []
    assert len(list(sqlite_path.parent.glob("executions.db.corrupt-*"))) == 1


async def test_an_empty_file_becomes_a_store(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """A file of no bytes is a new store, not a damaged one."""
    sqlite_path.parent.mkdir()
    sqlite_path.touch()

    await new_store(sqlite_url).insert(new_execution(), notebook=b"")

    assert list(sqlite_path.parent.glob("*.corrupt-*")) == []


async def test_a_removed_file_is_made_again(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """Nothing is written to a file that is no longer there: a new one takes over."""
    store = new_store(sqlite_url)
    await store.insert(new_execution(), notebook=b"")
    for file in sqlite_path.parent.iterdir():
        file.unlink()

    await eventually(lambda: store.insert(new_execution(), notebook=b""), StoreUnavailableError)

    await store.close()
    assert len((await new_store(sqlite_url).list(ListQuery())).executions) == 1


async def test_a_folder_that_cannot_be_made_is_tried_again(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Work fails with the reason, at once and without a new attempt, until the cause is gone."""
    sqlite_path.parent.write_text("a file in the way")
    store = new_store(sqlite_url)
    with pytest.raises(StoreUnavailableError, match="File exists|Not a directory"):
        await store.open()
    sqlite_path.parent.unlink()

    with pytest.raises(StoreUnavailableError, match="File exists|Not a directory"):
        await store.insert(new_execution(), notebook=b"")
    await eventually(lambda: store.insert(new_execution(), notebook=b""), StoreUnavailableError)

    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_a_path_that_is_no_file_is_refused(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """A folder where the file should be is named as the reason and left alone."""
    sqlite_path.mkdir(parents=True)

    with pytest.raises(StoreUnavailableError, match="not a file"):
        await new_store(sqlite_url).open()

    assert sqlite_path.is_dir()


@posix_only
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read all")
async def test_an_unreadable_file_is_refused(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """A file without permission is not a damaged one: it stays where it is."""
    await filled(sqlite_url)
    sqlite_path.chmod(0)

    with pytest.raises(StoreUnavailableError, match="may not be read"):
        await new_store(sqlite_url).open()

    assert list(sqlite_path.parent.glob("*.corrupt-*")) == []


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
        await store.finish(ended(execution), result=b"x" * 1_000_000, executed=None)

    assert (await store.list(ListQuery())).executions == [execution]
    assert await store.get_result(execution.id) is None
    room.pages = 0
    assert await store.finish(ended(execution), result=b"x" * 1_000_000, executed=None)


async def test_a_full_disk_is_no_reason_not_to_open(
    new_store: NewStore, sqlite_url: str, room: Room
) -> None:
    """What is stored can be read after a restart; the lease is taken when there is room."""
    await filled(sqlite_url, 1)
    room.pages = 1
    # So many leases that one more needs a page.
    store = new_store(sqlite_url, new_instance(host="h" * 200, id="i" * 250))
    await store.open()

    assert len((await store.list(ListQuery())).executions) == 1

    room.pages = 0
    await store.insert(new_execution(), notebook=b"")
    assert await new_store(sqlite_url).lost() != []


async def test_deleting_gives_room_back(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """After a bulk delete the file is smaller."""
    store = new_store(sqlite_url, sqlite_journal_mode="delete")
    execution = new_execution()
    await store.insert(execution, notebook=b"x" * 5_000_000)
    await store.finish(ended(execution), result=b"", executed=None)
    assert sqlite_path.stat().st_size > 5_000_000

    await store.delete_where(Filters())

    assert sqlite_path.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://u:secret@host/x", "secret", "://secret"]
)
async def test_an_address_that_is_no_store_is_refused(new_store: NewStore, url: str) -> None:
    """Memory keeps no promise, other databases are not known; the address is not repeated."""
    with pytest.raises(StoreUnavailableError) as caught:
        await new_store(url).open()

    assert "secret" not in str(caught.value)
