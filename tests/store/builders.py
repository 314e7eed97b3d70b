"""Executions, instances and databases as the tests of the store need them."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from jupyter_exec_ext.core.models import Execution, NotebookSource
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.store.leases import Instance, host_name
from jupyter_exec_ext.store.store import Store

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEADLINE_SECONDS = 30


def new_execution(path: str = "a/b.ipynb", **fields: Any) -> Execution:
    """Return a pending execution."""
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "type": "notebook",
        "state": State.PENDING,
        "source": NotebookSource(path=path),
        "session_id": "session",
        "kernel_name": "python3",
        "created_time": START,
    }
    return Execution(**(values | fields))


def running(execution: Execution) -> Execution:
    return advance(execution, State.RUNNING, at=START)


def ended(
    execution: Execution, *, at: datetime = START, expire_time: datetime | None = None
) -> Execution:
    """Return *execution* after it succeeded."""
    if execution.state is State.PENDING:
        execution = running(execution)
    return replace(advance(execution, State.SUCCEEDED, at=at), expire_time=expire_time)


def new_instance(server_id: str = "server", **fields: Any) -> Instance:
    """Return an instance of a server that runs in this process."""
    process = psutil.Process()
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "server_id": server_id,
        "host": host_name(),
        "pid": process.pid,
        "process_start_time": process.create_time(),
    }
    return Instance(**(values | fields))


def gone_process() -> tuple[int, float]:
    """Return the id and start time of a process of this host that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        return child.pid, psutil.Process(child.pid).create_time()


@contextlib.contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Connect to the database beside the store and commit at the end."""
    address = url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(address, poolclass=NullPool)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of the SQLite file, as another process would."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


async def eventually(attempt: Callable[[], Awaitable[Any]], error: type[Exception]) -> Any:
    """Return what *attempt* returns as soon as it no longer raises *error*."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            return await attempt()
        except error:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.05)


def postgresql_binaries() -> Path | None:
    """Return the folder with PostgreSQL's server programs, ``None`` when there is none."""
    candidates = []
    if found := shutil.which("pg_ctl"):
        candidates.append(Path(found).resolve().parent)
    if config := shutil.which("pg_config"):
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        candidates.append(Path(answer.stdout.strip()))
    for root, pattern in (
        ("/usr/lib/postgresql", "*/bin"),
        ("/opt/homebrew/opt", "postgresql*/bin"),
        ("/usr/local/opt", "postgresql*/bin"),
        ("/usr", "pgsql-*/bin"),
    ):
        candidates.extend(sorted(Path(root).glob(pattern), reverse=True))
    for folder in candidates:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "pg_ctl", "postgres")):
            return folder
    return None


async def filled(url: str, count: int = 50) -> None:
    """Make a store with some records and close it."""
    store = Store(url, new_instance())
    for _ in range(count):
        await store.insert(new_execution(), notebook=b"x" * 1000)
    await store.close()
