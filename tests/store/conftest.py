"""Databases for the tests of the store: an SQLite file, and a PostgreSQL of our own."""

import asyncio
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
from sqlalchemy import text

from jupyter_exec_ext.store.leases import Instance
from jupyter_exec_ext.store.store import Store

from .builders import connected, new_instance, postgresql_binaries

NO_POSTGRESQL = "PostgreSQL is not installed: apt-get install postgresql"


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything has to run: ``EXEC_REQUIRE_ALL=1``."""
    if os.environ.get("EXEC_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True, kw_only=True)
class Postgresql:
    """A PostgreSQL of the tests' own, reached by a Unix socket in its folder."""

    binaries: Path
    folder: Path
    account: tuple[str, ...]

    def control(self, *arguments: str) -> None:
        """Run pg_ctl."""
        subprocess.run(
            [*self.account, f"{self.binaries}/pg_ctl", "-D", f"{self.folder}/data", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    def start(self) -> None:
        options = f"-c listen_addresses='' -c unix_socket_directories='{self.folder}' -c fsync=off"
        self.control("-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self.control("-w", "-m", "immediate", "stop")

    def url(self, database: str) -> str:
        return f"postgresql://tester:not-for-logs@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """Make a database of its own for a test and return its URL."""
        name = f"test_{uuid.uuid4().hex}"
        createdb = [f"{self.binaries}/createdb", "-h", str(self.folder), "-U", "tester", name]
        subprocess.run([*self.account, *createdb], check=True, cwd="/")
        return self.url(name)


def _cluster() -> Iterator[Postgresql]:
    binaries = postgresql_binaries()
    if binaries is None:
        skip_or_fail(NO_POSTGRESQL)
    account: tuple[str, ...] = ()
    # Not under tmp_path: a socket's path must be short, and another user must reach it.
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    if os.name == "posix" and os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        account = ("runuser", "-u", "postgres", "--")
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            folder.rmdir()
            skip_or_fail("PostgreSQL does not run as root, and there is no user postgres")
    server = Postgresql(binaries=binaries, folder=folder, account=account)
    try:
        server.control("initdb", "-s", "-o", "-U tester -A trust -E UTF8 --no-sync")
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL that all tests of this process share."""
    yield from _cluster()


@pytest.fixture
def own_postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL that a test may stop and start."""
    yield from _cluster()


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    """Where the SQLite file of a test is going to be."""
    return tmp_path / "data" / "executions.db"


@pytest.fixture
def sqlite_url(sqlite_path: Path) -> str:
    return f"sqlite:///{sqlite_path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.new_database()


NewStore = Callable[..., Store]


@pytest.fixture
def new_store(jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[NewStore]:
    """Make stores that are closed after the test."""
    stores = []

    def make(url: str, instance: Instance | None = None, **options: Any) -> Store:
        store = Store(url, instance or new_instance(), **options)
        stores.append(store)
        return store

    yield make
    for store in stores:
        jp_asyncio_loop.run_until_complete(store.close())


@pytest.fixture
def store(url: str, new_store: NewStore) -> Store:
    """A store on an empty database, opened by its first use."""
    return new_store(url)


@pytest.fixture
def age(url: str) -> Callable[[Instance, float], None]:
    """Make the last heartbeat of an instance older by some seconds."""

    def make_older(instance: Instance, seconds: float) -> None:
        with connected(url) as connection:
            connection.execute(
                text(
                    "UPDATE exec_leases SET heartbeat_time = heartbeat_time - :older"
                    " WHERE instance_id = :id"
                ),
                {"older": int(seconds * 1_000_000), "id": instance.id},
            )

    return make_older
