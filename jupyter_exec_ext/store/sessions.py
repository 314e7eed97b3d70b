"""The sessions of one server in the database."""

import builtins
import logging
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from jupyter_exec_ext.core.errors import (
    ConflictError,
    RunsElsewhereError,
    SessionNotFoundError,
    UnreadableRowError,
)
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.store.database import Database
from jupyter_exec_ext.store.leases import Instance, Leases
from jupyter_exec_ext.store.listing import (
    SessionPage,
    SessionQuery,
    session_page_statement,
    token_after,
)
from jupyter_exec_ext.store.records import (
    UnreadableRows,
    clean_text,
    decode_session,
    encode,
    microseconds_of,
)
from jupyter_exec_ext.store.signing import Signer
from jupyter_exec_ext.store.tables import sessions


class SessionStore:
    """Keeps the sessions of one server, each until some time after its end.

    Changes of a session are stored with its end only; until then, the process that runs it has the
    current record. A record that this server did not sign has no folder of its own: it could name
    any, which would be removed with it. Every method raises `StoreUnavailableError`
    when the database cannot be used now.
    """

    def __init__(
        self,
        database: Database,
        instance: Instance,
        leases: Leases,
        signer: Signer,
        logger: logging.Logger,
    ) -> None:
        self._signer = signer
        self._database = database
        self._server_id = clean_text(instance.server_id)
        self._instance_id = clean_text(instance.id)
        self._leases = leases
        self._unreadable = UnreadableRows("session", logger)

    async def insert(self, session: Session) -> None:
        """Store a new session, which this instance runs.

        Raises:
            ConflictError: A session that has not ended has this name.
        """
        values = {
            "id": clean_text(session.id),
            "server_id": self._server_id,
            "instance_id": self._instance_id,
            "owner": clean_text(session.owner),
            "created_time": microseconds_of(session.created_time),
            **self._changing_columns(session),
        }

        def work(connection: Connection) -> None:
            try:
                connection.execute(insert(sessions).values(**values))
            except IntegrityError:
                raise ConflictError("a session with this name exists", target="name") from None

        await self._database.write(work)

    async def get(self, session_id: str) -> Session:
        """Return the session.

        Raises:
            SessionNotFoundError: This server has none with this id.
            UnreadableRowError: The record is damaged.
        """
        row = await self._database.read(lambda connection: self._find(connection, session_id))
        session = self._unreadable.skipping(row.id, partial(self._decoded, row))
        if session is None:
            raise UnreadableRowError("the record of this session is damaged")
        return session

    async def exists(self, session_id: str) -> bool:
        """Return whether this server has a session with this id, ended or not."""
        return await self._is_there(sessions.c.id == clean_text(session_id))

    async def has_name(self, name: str) -> bool:
        """Return whether a session has *name* and has not ended."""
        return await self._is_there(sessions.c.name == clean_text(name))

    async def _is_there(self, condition: ColumnElement[bool]) -> bool:
        statement = select(sessions.c.id).where(sessions.c.server_id == self._server_id, condition)
        found = await self._database.read(lambda connection: connection.scalar(statement))
        return found is not None

    async def update(self, session: Session) -> None:
        """Store a change, or the end, of a session that this instance runs.

        Raises:
            SessionNotFoundError: This server has none with this id.
            RunsElsewhereError: Another instance runs it.
        """

        def work(connection: Connection) -> None:
            row = self._find(connection, session.id, lock=True)
            if not self._leases.owns(connection, row.instance_id):
                raise RunsElsewhereError(f"session {session.id}", "alive")
            connection.execute(
                update(sessions)
                .where(sessions.c.id == row.id)
                .values(**self._changing_columns(session))
            )

        await self._database.write(work)

    async def delete(self, session_id: str) -> None:
        """Remove a session that has ended.

        Raises:
            SessionNotFoundError: This server has none with this id.
            RunsElsewhereError: It has not ended, and another instance runs it.
        """

        def work(connection: Connection) -> None:
            row = self._find(connection, session_id, lock=True)
            if row.end_time is None and not self._leases.owns(connection, row.instance_id):
                raise RunsElsewhereError(f"session {session_id}", "alive")
            connection.execute(delete(sessions).where(sessions.c.id == row.id))

        await self._database.write(work)

    async def list(self, query: SessionQuery) -> SessionPage:
        """Return one page of a list; see `store.Store.list`.

        Raises:
            InvalidArgumentError: The page size, order or token cannot be used.
        """
        statement = session_page_statement(query, self._server_id)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        shown = rows[: query.page_size]
        token = None
        if len(rows) > query.page_size:
            token = token_after(shown[-1].created_time, shown[-1].id, query, self._server_id)
        return SessionPage(
            sessions=self._unreadable.all_readable(((row.id, row) for row in shown), self._decoded),
            next_page_token=token,
        )

    async def lost(self) -> builtins.list[Session]:
        """Return the sessions that have not ended and whose instance is dead."""

        def work(connection: Connection) -> builtins.list[tuple[str, Any]]:
            found = connection.execute(
                select(sessions.c.id, sessions.c.record, sessions.c.signature).where(
                    sessions.c.server_id == self._server_id,
                    sessions.c.end_time.is_(None),
                    sessions.c.instance_id.not_in(sorted(self._leases.living(connection))),
                )
            )
            return [(row.id, row) for row in found]

        return self._unreadable.all_readable(await self._database.read(work), self._decoded)

    async def purge(self, *, ended_before: datetime) -> None:
        """Remove the sessions that ended before a moment."""
        statement = delete(sessions).where(
            sessions.c.server_id == self._server_id,
            sessions.c.end_time < microseconds_of(ended_before),
        )

        def work(connection: Connection) -> None:
            connection.execute(statement)

        await self._database.write(work)

    def _find(self, connection: Connection, session_id: str, *, lock: bool = False) -> Row[Any]:
        statement = select(sessions).where(
            sessions.c.id == clean_text(session_id), sessions.c.server_id == self._server_id
        )
        if lock:
            statement = statement.with_for_update()
        row = connection.execute(statement).one_or_none()
        if row is None:
            raise SessionNotFoundError(session_id)
        return row

    def _decoded(self, row: Row[Any]) -> Session:
        session = decode_session(row.id, row.record)
        parts = (row.id, self._server_id, row.record)
        if self._signer.has_signed(row.signature, "session", *parts):
            return session
        return replace(session, has_own_folder=False)

    def _changing_columns(self, session: Session) -> dict[str, Any]:
        has_ended = session.state is SessionState.ENDED
        record = encode(session)
        return {
            # A name is free again when its session has ended.
            "name": None if session.name is None or has_ended else clean_text(session.name),
            "end_time": microseconds_of(session.end_time) if session.end_time else None,
            "record": record,
            "signature": self._signer.sign(
                "session", clean_text(session.id), self._server_id, record
            ),
        }
