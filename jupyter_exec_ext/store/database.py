"""The way to the database: opened when it is there, again when it was not, always in a thread."""

import contextlib
import logging
import math
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import anyio
from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import StoreUnavailableError
from jupyter_exec_ext.store.failures import DatabaseError, Failure, Kind
from jupyter_exec_ext.store.migrations import check_version, migrate
from jupyter_exec_ext.store.postgresql import PostgresqlBackend
from jupyter_exec_ext.store.sqlite import JournalMode, SqliteBackend

T = TypeVar("T")

CLOSE_TIMEOUT_SECONDS = 2
REOPEN_INTERVAL_SECONDS = 1

_CLOSED_MESSAGE = "the store is closed"
_GIVE_BACK_STEPS = 20
_GIVE_BACK_PAUSE_SECONDS = 0.01
_READERS = 4
_QUEUE_FACTOR = 2
_DATABASE_ERRORS = (DBAPIError, PoolTimeoutError, OSError, sqlite3.Error)


class Backend(Protocol):
    """What differs between the databases. All but `is_stale` may block and raise their errors."""

    def start(self) -> Engine:
        """Return an engine, having changed nothing in a database that exists."""

    def settle(self, engine: Engine) -> None:
        """Apply what lasts in the database, once its version is known to be ours."""

    def is_stale(self) -> bool:
        """Return whether the engine's database is no longer the one at its address."""

    def explain(self, error: DatabaseError) -> Failure:
        """Return what *error* means."""

    def give_back(self, engine: Engine) -> bool:
        """Return some room that deleted rows took to the file system; whether there is more."""


class _WorkFailedError(Exception):
    """Carries a failure out of the worker thread."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def backend_of(
    url: str,
    *,
    parameters: Mapping[str, str],
    journal_mode: JournalMode,
    busy_timeout_seconds: float,
    logger: logging.Logger,
) -> Backend:
    """Return the database at *url*.

    Args:
        parameters: For PostgreSQL, where the URL does not have them.

    Raises:
        StoreUnavailableError: The URL names none. The message does not repeat it.
    """
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreUnavailableError("the address of the store is not a database URL") from None
    if address.drivername in ("postgresql", "postgresql+psycopg"):
        return PostgresqlBackend(
            address, parameters=parameters, busy_timeout_seconds=busy_timeout_seconds
        )
    if address.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StoreUnavailableError("the store must be SQLite or PostgreSQL")
    if address.database in (None, "", ":memory:"):
        raise StoreUnavailableError("the store needs a file, not SQLite's memory")
    return SqliteBackend(
        Path(address.database or "").expanduser().absolute(),
        journal_mode=journal_mode,
        busy_timeout_seconds=busy_timeout_seconds,
        logger=logger,
    )


@contextlib.contextmanager
def _transaction(engine: Engine, *, is_write: bool) -> Iterator[Connection]:
    # Not engine.execution_options(): each call leaves event listeners behind on the engine.
    with engine.connect() as connection:
        connection.execution_options(is_write=is_write)
        with connection.begin():
            yield connection


@contextlib.asynccontextmanager
async def giving_way(min_seconds: float) -> AsyncIterator[None]:
    """Pause after one of many writes for as long as it took, and for *min_seconds* at least.

    SQLite has no queue for its write lock: a process that waits for it tries again after some
    milliseconds, and gets the lock only if it is free at that moment.
    """
    start = time.monotonic()
    yield
    await anyio.sleep(max(min_seconds, time.monotonic() - start))


class Database:
    """Runs pieces of work in transactions.

    A database that cannot be opened is tried again by later work, at most once a second; until
    then all work fails at once with the same reason.

    Args:
        greet: Runs in a transaction each time the database was opened.
        one_writer: Whether writes wait for each other here rather than in the database.
    """

    def __init__(
        self,
        connect: Callable[[], Backend],
        *,
        greet: Callable[[Connection], None],
        one_writer: bool,
        busy_timeout_seconds: float,
        logger: logging.Logger,
    ) -> None:
        self._connect = connect
        self._greet = greet
        self._log = logger
        self._queue_seconds = busy_timeout_seconds * _QUEUE_FACTOR
        self._backend: Backend | None = None
        self._engine: Engine | None = None
        self._failure: Failure | None = None
        self._next_attempt = -math.inf
        self._is_closed = False
        self._is_greeted = False
        self._opening = anyio.Lock(fast_acquire=True)
        self._threads = anyio.CapacityLimiter(math.inf)
        self._reads = anyio.Semaphore(_READERS, fast_acquire=True)
        self._writes = anyio.Semaphore(1, fast_acquire=True) if one_writer else self._reads

    async def open(self) -> None:
        """Open the database unless it is open.

        Raises:
            StoreUnavailableError: It cannot be opened; the message says why.
        """
        await self._opened()

    async def close(self, farewell: Callable[[Connection], None]) -> None:
        """Run *farewell* and close all connections, within two seconds and without an error."""
        if self._is_closed:
            return
        self._is_closed = True
        engine, self._engine = self._engine, None
        if engine is None:
            return
        with anyio.move_on_after(CLOSE_TIMEOUT_SECONDS, shield=True):
            await threads.run_sync(
                self._close, engine, farewell, limiter=self._threads, abandon_on_cancel=True
            )

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Return what *work* returns, run in a thread with a transaction that only reads."""
        return await self._run(partial(self._transact, work, is_write=False), self._reads)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Return what *work* returns, run in a thread with a transaction that may write."""
        return await self._run(partial(self._transact, work, is_write=True), self._writes)

    async def give_back(self) -> None:
        """Return room that deleted rows took to the file system, if that is possible now.

        In steps, between which others can write; what is left then, the next call returns.
        """
        with contextlib.suppress(StoreUnavailableError):
            for _ in range(_GIVE_BACK_STEPS):
                async with giving_way(_GIVE_BACK_PAUSE_SECONDS):
                    has_more = await self._run(self._give_back, self._writes)
                if not has_more:
                    break

    async def _run(self, call: Callable[[Engine], T], turns: anyio.Semaphore) -> T:
        engine = await self._opened()
        try:
            with anyio.fail_after(self._queue_seconds):
                await turns.acquire()
        except TimeoutError:
            raise StoreUnavailableError("the store is busy") from None
        try:
            return await threads.run_sync(self._guard, call, engine, limiter=self._threads)
        except _WorkFailedError as error:
            failure = error.failure
        finally:
            turns.release()
        if failure.kind in (Kind.GONE, Kind.DAMAGED):
            await self._forget(engine, failure)
        raise failure.as_error()

    def _guard(self, call: Callable[[Engine], T], engine: Engine) -> T:
        backend = self._known_backend()
        try:
            if backend.is_stale():
                message = "the store's file was replaced"
                raise _WorkFailedError(Failure(kind=Kind.GONE, message=message))
            return call(engine)
        except _DATABASE_ERRORS as error:
            # Not chained: a driver's message can repeat what was to be stored.
            raise _WorkFailedError(backend.explain(error)) from None
        finally:
            if engine is not self._engine:
                # Closed or given up meanwhile, when this connection was still in use.
                engine.pool.dispose()

    def _transact(self, work: Callable[[Connection], T], engine: Engine, *, is_write: bool) -> T:
        with _transaction(engine, is_write=is_write) as connection:
            must_greet = is_write and not self._is_greeted
            if must_greet:
                self._greet(connection)
            result = work(connection)
        if must_greet:
            self._is_greeted = True
        return result

    def _give_back(self, engine: Engine) -> bool:
        return self._known_backend().give_back(engine)

    async def _opened(self) -> Engine:
        if engine := self._ready():
            return engine
        if self._failure is not None and self._opening.locked():
            raise self._failure.as_error()
        async with self._opening:
            return self._ready() or await self._attempt()

    def _ready(self) -> Engine | None:
        """Return the engine, or ``None`` when it is time to try to open the database."""
        if self._is_closed:
            raise StoreUnavailableError(_CLOSED_MESSAGE)
        if self._engine is None and self._failure and time.monotonic() < self._next_attempt:
            raise self._failure.as_error()
        return self._engine

    async def _attempt(self) -> Engine:
        try:
            engine = await threads.run_sync(self._start, limiter=self._threads)
        except _WorkFailedError as error:
            failure = error.failure
        else:
            if self._is_closed:
                await threads.run_sync(engine.dispose, limiter=self._threads)
                raise StoreUnavailableError(_CLOSED_MESSAGE)
            if self._failure is not None:
                self._log.info("the store of executions is back")
            self._engine, self._failure = engine, None
            return engine
        self._note(failure)
        raise failure.as_error()

    def _start(self) -> Engine:
        try:
            backend = self._known_backend()
            try:
                engine = backend.start()
                try:
                    self._prepare(backend, engine)
                except BaseException:
                    engine.dispose()
                    raise
            except _DATABASE_ERRORS as error:
                raise _WorkFailedError(backend.explain(error)) from None
        except StoreUnavailableError as error:
            raise _WorkFailedError(Failure(kind=Kind.GONE, message=error.message)) from None
        return engine

    def _known_backend(self) -> Backend:
        if self._backend is None:
            self._backend = self._connect()
        return self._backend

    def _prepare(self, backend: Backend, engine: Engine) -> None:
        with _transaction(engine, is_write=False) as connection:
            check_version(connection)
        backend.settle(engine)
        with _transaction(engine, is_write=True) as connection:
            migrate(connection)
        self._is_greeted = False
        try:
            with _transaction(engine, is_write=True) as connection:
                self._greet(connection)
            self._is_greeted = True
        except _DATABASE_ERRORS as error:
            # What is stored can still be read; the first write that finds room greets.
            if backend.explain(error).kind is not Kind.FULL:
                raise

    async def _forget(self, engine: Engine, failure: Failure) -> None:
        if self._engine is engine:
            self._engine = None
            self._note(failure)
        await threads.run_sync(engine.pool.dispose, limiter=self._threads)

    def _note(self, failure: Failure) -> None:
        if self._failure is None or self._failure.message != failure.message:
            self._log.warning("the store of executions is not available: %s", failure.message)
        self._failure = failure
        self._next_attempt = time.monotonic() + REOPEN_INTERVAL_SECONDS

    def _close(self, engine: Engine, farewell: Callable[[Connection], None]) -> None:
        try:
            with _transaction(engine, is_write=True) as connection:
                farewell(connection)
        except _DATABASE_ERRORS:
            self._log.debug("the lease could not be removed; it expires by itself")
        finally:
            engine.pool.dispose()
