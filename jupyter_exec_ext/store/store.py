"""The store of executions: the only account of them, in a database."""

import builtins
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import IntegrityError

from jupyter_exec_ext.core.errors import ConflictError, UnreadableRowError
from jupyter_exec_ext.core.models import Execution
from jupyter_exec_ext.store.database import Database, backend_of, giving_way
from jupyter_exec_ext.store.leases import Instance, Leases
from jupyter_exec_ext.store.listing import (
    Filters,
    ListQuery,
    Page,
    conditions_of,
    page_statement,
    token_after,
)
from jupyter_exec_ext.store.records import (
    UnreadableRows,
    changing_columns,
    clean_text,
    decode_execution,
    has_terms,
    microseconds_of,
    moment_of,
)
from jupyter_exec_ext.store.rows import Adopted, EventRow, Rows
from jupyter_exec_ext.store.sessions import SessionStore
from jupyter_exec_ext.store.signing import Signer, new_key
from jupyter_exec_ext.store.sqlite import JournalMode
from jupyter_exec_ext.store.tables import executions, results

__all__ = ["Adopted", "EventRow", "Filters", "Instance", "ListQuery", "Page", "Store"]

DELETE_SECONDS = 0.01
"""About how long one transaction of a bulk delete may take, and the shortest pause after it."""

_DELETED_AT_ONCE = 200


class Store:
    """Keeps the executions of one server; several servers can share a database.

    Every method but `close` raises `StoreUnavailableError` when the database cannot be used now,
    and `StoreFullError` when it takes nothing more. A change that raised is not stored, unless
    the connection broke at the very moment of the commit.

    An execution is changed only by the instance that runs it, or by any other of its server once
    that one is dead.

    Args:
        signer: Has the keys of this server; ``None`` for a key that only this process has.
        parameters: Connection parameters of PostgreSQL in addition to those in the URL; see
            `postgresql.take_parameters`.

    Attributes:
        sessions: The sessions, in the same database.
    """

    def __init__(
        self,
        url: str,
        instance: Instance,
        *,
        signer: Signer | None = None,
        parameters: Mapping[str, str] | None = None,
        sqlite_journal_mode: JournalMode = "auto",
        busy_timeout_seconds: float = 5,
        logger: logging.Logger | None = None,
    ) -> None:
        self._log = logger or logging.getLogger(__name__)
        self._leases = Leases(instance)
        signer = signer or Signer([new_key()])
        self._rows = Rows(instance, self._leases, signer)
        self._unreadable = UnreadableRows("execution", self._log)
        self._database = Database(
            lambda: backend_of(
                url,
                parameters=parameters or {},
                journal_mode=sqlite_journal_mode,
                busy_timeout_seconds=busy_timeout_seconds,
                logger=self._log,
            ),
            greet=self._leases.renew,
            one_writer=url.startswith("sqlite"),
            busy_timeout_seconds=busy_timeout_seconds,
            logger=self._log,
        )
        self.sessions = SessionStore(self._database, instance, self._leases, signer, self._log)

    async def open(self) -> None:
        """Make or open the database, bring it up to date and take this instance's lease.

        Opening an open store does nothing; every other method opens a store that is not.
        """
        await self._database.open()

    async def close(self) -> None:
        """Give up the lease and close the database, within two seconds and without an error."""
        await self._database.close(self._leases.remove)

    async def heartbeat(self) -> None:
        """Say that this instance is alive; due every 15 seconds or so."""
        await self._database.write(self._leases.renew)

    async def insert(
        self, execution: Execution, *, notebook: bytes | None, fingerprint: str | None = None
    ) -> None:
        """Store a new execution, run by this instance, with the notebook it was given, if any.

        Args:
            fingerprint: What `find_key` gives back with the execution's idempotency key.

        Raises:
            ConflictError: An execution has this id or idempotency key.
        """

        def work(connection: Connection) -> None:
            try:
                self._rows.insert(connection, execution, notebook, fingerprint)
            except IntegrityError:
                raise ConflictError("an execution with this id or key exists") from None

        await self._database.write(work)

    async def get(self, execution_id: str) -> Execution:
        """Return the execution.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
            UnreadableRowError: The record is damaged.
        """
        row = await self._database.read(
            lambda connection: self._rows.find(connection, execution_id, executions.c.record)
        )
        execution = self._unreadable.skipping(row.id, partial(decode_execution, row.id, row.record))
        if execution is None:
            raise UnreadableRowError("the record of this execution is damaged")
        return execution

    async def find_key(self, idempotency_key: str) -> tuple[str, str] | None:
        """Return the id and fingerprint of the execution with this key; ``None`` without one."""
        statement = select(executions.c.id, executions.c.fingerprint).where(
            executions.c.server_id == self._rows.server_id,
            executions.c.idempotency_key == clean_text(idempotency_key),
        )
        row = await self._database.read(
            lambda connection: connection.execute(statement).one_or_none()
        )
        return None if row is None else (row.id, row.fingerprint or "")

    async def get_result(self, execution_id: str) -> bytes | None:
        """Return the encoded result; ``None`` until the execution is final.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
        """

        def work(connection: Connection) -> bytes | None:
            key = self._rows.find(connection, execution_id).id
            return connection.scalar(select(results.c.result).where(results.c.execution_id == key))

        return await self._database.read(work)

    async def get_notebook(self, execution_id: str, *, to_run: bool = False) -> bytes:
        """Return the notebook that the execution was given.

        Args:
            to_run: Whether its code is going to run, so that it must be signed.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
            UnreadableRowError: The notebook is not there, or not as it was stored.
        """

        def work(connection: Connection) -> bytes:
            found = self._rows.notebook(connection, self._rows.find(connection, execution_id).id)
            if found is None:
                raise UnreadableRowError("the notebook of this execution is missing")
            source, is_signed = found
            if to_run and not is_signed:
                raise UnreadableRowError(
                    "the stored notebook of this execution is not the one that was accepted"
                )
            return source

        return await self._database.read(work)

    async def update(self, execution: Execution) -> bool:
        """Store a change that is not final, and return whether it was taken.

        It is not when the stored execution is final already or another instance runs it.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
            ValueError: The execution is final; that is what `finish` is for.
        """
        if execution.state.is_final:
            raise ValueError("a final state is stored by finish()")
        values = changing_columns(execution)

        def work(connection: Connection) -> bool:
            key = self._rows.changeable(connection, execution.id)
            if key is None:
                return False
            self._rows.change(connection, key, values, has_terms=has_terms(execution))
            return True

        return await self._database.write(work)

    async def append_events(
        self, execution_id: str, events: Sequence[EventRow], *, drop: Sequence[int] = ()
    ) -> None:
        """Remove the events numbered *drop*, then add *events*.

        An event whose number is there already is left out, so that the same call can be made
        again. Nothing changes in an execution that is final or that another instance runs.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
        """

        def work(connection: Connection) -> None:
            key = self._rows.changeable(connection, execution_id)
            if key is not None:
                self._rows.write_events(connection, key, events, drop)

        await self._database.write(work)

    async def events(
        self, execution_id: str, *, after: int = 0, limit: int = 1000, max_bytes: int | None = None
    ) -> builtins.list[EventRow]:
        """Return at most *limit* events with a number above *after*, in order.

        Args:
            max_bytes: No more than fit in this, but one in any case; ``None`` for all.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
        """
        return await self._database.read(
            partial(
                self._rows.events,
                execution_id=execution_id,
                after=after,
                limit=limit,
                max_bytes=max_bytes,
            )
        )

    async def finish(
        self,
        execution: Execution,
        *,
        result: bytes,
        events: Sequence[EventRow] = (),
        drop: Sequence[int] = (),
    ) -> bool:
        """Store the end of an execution whole, and return whether it was taken.

        State, result and last events are stored together or not at all. They
        are not when the stored execution is final already or another instance runs it.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
            ValueError: The execution is not final.
        """
        if not execution.state.is_final:
            raise ValueError("finish() takes a final execution")
        values = changing_columns(execution)

        def work(connection: Connection) -> bool:
            key = self._rows.changeable(connection, execution.id)
            if key is None:
                return False
            self._rows.change(connection, key, values, has_terms=has_terms(execution))
            self._rows.add_result(connection, key, result)
            self._rows.write_events(connection, key, events, drop)
            return True

        return await self._database.write(work)

    async def restore(
        self, execution: Execution, *, notebook: bytes, result: bytes, events: Sequence[EventRow]
    ) -> None:
        """Store a final execution whose record was removed, with all that belongs to it.

        Raises:
            ConflictError: An execution has this id or idempotency key.
            ValueError: The execution is not final.
        """
        if not execution.state.is_final:
            raise ValueError("restore() takes a final execution")

        def work(connection: Connection) -> None:
            try:
                key = self._rows.insert(connection, execution, notebook, None)
            except IntegrityError:
                raise ConflictError("an execution with this id or key exists") from None
            self._rows.add_result(connection, key, result)
            self._rows.write_events(connection, key, events, ())

        await self._database.write(work)

    async def list(self, query: ListQuery) -> Page:
        """Return one page of a list.

        A record that is there throughout is on exactly one page, whatever is added or deleted
        between the pages.

        Raises:
            InvalidArgumentError: The page size, order or token cannot be used.
        """
        statement = page_statement(query, self._rows.server_id)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        shown = rows[: query.page_size]
        token = None
        if len(rows) > query.page_size:
            token = token_after(shown[-1].created_time, shown[-1].id, query, self._rows.server_id)
        return Page(
            executions=self._unreadable.all_readable(
                ((row.id, row) for row in shown),
                lambda row: decode_execution(row.id, row.record),
            ),
            next_page_token=token,
        )

    async def ended(
        self,
        session_id: str,
        *,
        ended_after: datetime | None,
        created_after: datetime | None,
        limit: int | None,
    ) -> builtins.list[tuple[str, datetime]]:
        """Return final executions of a session, each with its end, in the order of their ends.

        Args:
            ended_after: Only those that ended then or later; ``None`` for all.
            created_after: Only those that were created then or later; ``None`` for all.
            limit: How many at most; ``None`` for all.
        """
        statement = (
            self._rows.final_keys()
            .add_columns(executions.c.end_time)
            .where(executions.c.session_id == clean_text(session_id))
            .order_by(executions.c.end_time, executions.c.id)
            .limit(limit)
        )
        if ended_after is not None:
            statement = statement.where(executions.c.end_time >= microseconds_of(ended_after))
        if created_after is not None:
            statement = statement.where(executions.c.created_time >= microseconds_of(created_after))
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [(row.id, moment_of(row.end_time)) for row in rows]

    async def counts(self, filters: Filters) -> dict[str, int]:
        """Return how many executions *filters* choose of each notebook.

        Returns:
            By the `records.clean_text` of its path, which is empty for what is no notebook.
        """
        statement = (
            select(executions.c.path, func.count())
            .where(executions.c.server_id == self._rows.server_id, *conditions_of(filters))
            .group_by(executions.c.path)
        )
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return {path: count for path, count in rows}  # noqa: C416 - rows are no pairs to mypy

    async def delete(self, execution_id: str) -> None:
        """Remove a final execution with all that belongs to it.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
            NotFinalError: It is not final.
        """
        await self._database.write(partial(self._rows.delete, execution_id=execution_id))

    async def delete_where(self, filters: Filters) -> int:
        """Remove the final executions that *filters* choose, and return how many there were."""
        statement = self._rows.final_keys().where(*conditions_of(filters))
        return await self._delete_final(
            await self._database.read(lambda connection: connection.scalars(statement).all())
        )

    async def purge(self, *, now: datetime, max_records: int, min_age: timedelta) -> int:
        """Remove the final executions that expired, and the oldest ones above *max_records*.

        One that ended less than *min_age* before *now* stays in any case.

        Returns:
            How many were removed.
        """
        choose = partial(
            self._rows.keys_to_purge, now=now, max_records=max_records, min_age=min_age
        )
        return await self._delete_final(await self._database.read(choose))

    async def lost(self) -> builtins.list[str]:
        """Return the ids of this server's executions that are not final and whose instance is dead.

        Each is an id as `records.clean_text` makes it.
        """
        return await self._database.read(self._rows.lost)

    async def adopt(self, execution_id: str) -> Adopted | None:
        """Make this instance the one that runs a lost execution, and return it.

        Of several servers that compete for it exactly one gets it. It is ``None`` for an
        execution that is final, that lives, or that this instance runs already.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
            UnreadableRowError: The record and the other columns are damaged.
        """
        return await self._database.write(partial(self._rows.adopt, execution_id=execution_id))

    async def drop_dead_leases(self) -> None:
        """Remove the leases of this server's dead instances."""
        await self._database.write(self._leases.drop_dead)

    async def _delete_final(self, keys: Sequence[str]) -> int:
        # In steps: a write of minutes would keep all others waiting.
        delete = partial(self._rows.delete_final, seconds=DELETE_SECONDS)
        start = count = 0
        while start < len(keys):
            chosen = keys[start : start + _DELETED_AT_ONCE]
            async with giving_way(DELETE_SECONDS):
                done_count, removed_count = await self._database.write(partial(delete, keys=chosen))
            start += done_count
            count += removed_count
        if count:
            await self._database.give_back()
        return count
