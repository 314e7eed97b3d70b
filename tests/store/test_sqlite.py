"""SQLite: who may read the file, which journal it has, and files that are damaged."""

import asyncio
import contextlib
import logging
import os
import shutil
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, Pool

from jupyter_exec_ext.core.errors import StoreUnavailableError
from jupyter_exec_ext.store.sqlite import SqliteBackend, is_on_network
from jupyter_exec_ext.store.store import ListQuery, Store

from .builders import eventually, filled, new_execution
from .conftest import NewStore

NORMAL, FULL = 1, 2
NOBODY = 65534

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def pragma(path: Path, name: str) -> Any:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


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
    ("asked", "journal", "synchronous"),
    [("auto", "wal", NORMAL), ("wal", "wal", NORMAL), ("delete", "delete", FULL)],
)
async def test_the_journal_is_chosen(
    new_store: NewStore,
    sqlite_url: str,
    sqlite_path: Path,
    asked: str,
    journal: str,
    synchronous: int,
) -> None:
    """On a local disk there is a write-ahead log; any other journal is synchronised fully."""
    store = new_store(sqlite_url, sqlite_journal_mode=asked)
    await store.open()
    found = []

    def on_checkout(connection: Any, _entry: ConnectionPoolEntry, _proxy: Any) -> None:
        found.append(connection.execute("PRAGMA synchronous").fetchone()[0])

    event.listen(Pool, "checkout", on_checkout)
    await store.insert(new_execution(), notebook=b"")
    await store.list(ListQuery())
    event.remove(Pool, "checkout", on_checkout)

    assert pragma(sqlite_path, "journal_mode") == journal
    assert found == [synchronous, synchronous]


@posix_only
def test_a_file_system_without_shared_memory_gets_a_rollback_journal(
    sqlite_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where SQLite refuses the write-ahead log the store works without it and says so."""
    sqlite_path.parent.mkdir()
    # This way of locking has no shared memory, as some network disks.
    address = f"file:{sqlite_path}?vfs=unix-dotfile"
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(address, uri=True, isolation_level=None),
        poolclass=NullPool,
    )
    backend = SqliteBackend(
        sqlite_path,
        journal_mode="auto",
        busy_timeout_seconds=1,
        logger=logging.getLogger("jupyter_exec_ext"),
    )

    backend.settle(engine)

    assert pragma(sqlite_path, "journal_mode") == "delete"
    assert "takes no write-ahead log" in caplog.text


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
    with pytest.raises(StoreUnavailableError, match=r"File exists|Not a directory"):
        await store.open()
    sqlite_path.parent.unlink()

    with pytest.raises(StoreUnavailableError, match=r"File exists|Not a directory"):
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


@pytest.fixture
def ordinary_folder() -> Iterator[Path]:
    """A folder of this user, who while the test runs is nobody special, since root reads all."""
    is_root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp())
    if is_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield folder
    if is_root:
        os.seteuid(0)
    shutil.rmtree(folder)


@posix_only
async def test_an_unreadable_file_is_refused(new_store: NewStore, ordinary_folder: Path) -> None:
    """A file without permission is not a damaged one: it stays where it is."""
    path = ordinary_folder / "executions.sqlite"
    await filled(f"sqlite:///{path}")
    path.chmod(0)

    with pytest.raises(StoreUnavailableError, match="may not be read"):
        await new_store(f"sqlite:///{path}").open()

    assert list(ordinary_folder.glob("*.corrupt-*")) == []


async def test_only_one_of_two_servers_sets_a_damaged_file_aside(
    new_store: NewStore, sqlite_url: str, sqlite_path: Path
) -> None:
    """Two servers that find the damage at once end in the same new store."""
    await filled(sqlite_url)
    garbage(sqlite_path)
    stores = [new_store(sqlite_url) for _ in range(4)]

    async def insert(store: Store) -> None:
        await eventually(lambda: store.insert(new_execution(), notebook=b""), StoreUnavailableError)

    await asyncio.gather(*(insert(store) for store in stores))

    assert len((await stores[0].list(ListQuery())).executions) == 4
    assert len(list(sqlite_path.parent.glob("executions.db.corrupt-*Z"))) == 1


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://u:secret@host/x", "secret", "://secret"]
)
async def test_an_address_that_is_no_store_is_refused(new_store: NewStore, url: str) -> None:
    """Memory keeps no promise, other databases are not known; the address is not repeated."""
    with pytest.raises(StoreUnavailableError) as caught:
        await new_store(url).open()

    assert "secret" not in str(caught.value)
