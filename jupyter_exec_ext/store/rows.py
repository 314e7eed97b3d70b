"""What the store does within a transaction: the rows of one server's executions."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, takewhile
from typing import Any, TypeAlias

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, select, update

from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    NotFinalError,
    UnreadableRowError,
)
from jupyter_exec_ext.core.models import (
    CodeSource,
    CommandSource,
    Execution,
    NotebookSource,
    Source,
)
from jupyter_exec_ext.core.states import FINAL_STATES, State
from jupyter_exec_ext.store.leases import Instance, Leases
from jupyter_exec_ext.store.records import (
    all_columns,
    clean_text,
    decode_execution,
    microseconds_of,
    moment_of,
    terms_of,
)
from jupyter_exec_ext.store.signing import Signer
from jupyter_exec_ext.store.tables import (
    events,
    executions,
    insert_into,
    labels,
    notebooks,
    results,
)

EventRow: TypeAlias = tuple[int, bytes]
"""An event's number within its execution, and its encoded form."""

LABEL_COPIES = ("state", "session_id", "type", "path", "owner", "created_time")
"""Columns of an execution that the rows of its labels have too."""

_FINAL = [state.value for state in FINAL_STATES]
_DELETED_AT_ONCE = 200
_REMOVED_AT_ONCE = 5
_MANY_EVENTS = 500
_MAX_INTEGER = 2**63 - 1

# What each execution needs, made once: SQLAlchemy takes longer to make them than to run them.
_INSERT = insert(executions)
_INSERT_RESULT = insert(results)
_FIND_LOCKED: Select[Any] = (
    select(executions.c.id, executions.c.state, executions.c.instance_id)
    .where(executions.c.id == bindparam("key"), executions.c.server_id == bindparam("whose"))
    .with_for_update()
)
_CHANGE = update(executions).where(executions.c.id == bindparam("key"))
_CHANGE_LABELS = update(labels).where(labels.c.execution_id == bindparam("key"))


_DELETE_FINAL = delete(executions).where(
    executions.c.id.in_(bindparam("keys", expanding=True)),
    executions.c.server_id == bindparam("whose"),
    executions.c.state.in_(_FINAL),
)
_HAS_MANY_EVENTS = (
    select(events.c.execution_id)
    .where(
        events.c.execution_id.in_(bindparam("keys", expanding=True)),
        events.c.number > _MANY_EVENTS,
    )
    .limit(1)
)
_EVENT_BEHIND_MANY = (
    select(events.c.number)
    .where(events.c.execution_id == bindparam("key"))
    .order_by(events.c.number)
    .limit(1)
    .offset(_MANY_EVENTS)
)


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """A lost execution that this instance has taken over.

    Attributes:
        is_damaged: Whether the stored record is unreadable, final, or that of another execution.
            ``execution`` is then made from the other columns, as an execution that may have run.
        is_signed: Whether this server accepted exactly this, with exactly this notebook. Any
            other user of the database account can write what is not signed.
    """

    execution: Execution
    is_damaged: bool
    is_signed: bool


class Rows:
    """The rows of one server, for one of its instances.

    A *key* is an execution's id as `clean_text` makes it: a row's primary key.
    """

    def __init__(self, instance: Instance, leases: Leases, signer: Signer) -> None:
        self._signer = signer
        self.server_id = clean_text(instance.server_id)
        self._instance_id = clean_text(instance.id)
        self._leases = leases

    def insert(
        self,
        connection: Connection,
        execution: Execution,
        notebook: bytes | None,
        fingerprint: str | None,
    ) -> str:
        """Add an execution that this instance runs, and return its key."""
        row = all_columns(execution)
        connection.execute(
            _INSERT,
            {
                "server_id": self.server_id,
                "instance_id": self._instance_id,
                "fingerprint": fingerprint,
                "signature": self._sign(row["id"], row["record"]),
                **row,
            },
        )
        if notebook is not None:
            signature = self._signer.sign("notebook", row["id"], self.server_id, notebook)
            connection.execute(
                insert(notebooks).values(
                    execution_id=row["id"], source=notebook, signature=signature
                )
            )
        terms = terms_of(execution)
        if terms:
            copied = {name: row[name] for name in LABEL_COPIES}
            connection.execute(
                insert(labels),
                [
                    {
                        "execution_id": row["id"],
                        "server_id": self.server_id,
                        "term": term,
                        **copied,
                    }
                    for term in sorted(terms)
                ],
            )
        return str(row["id"])

    def find(self, connection: Connection, execution_id: str, *columns: Any) -> Row[Any]:
        """Return *columns* of an execution's row.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
        """
        statement = select(executions.c.id, *columns).where(
            executions.c.id == clean_text(execution_id),
            executions.c.server_id == self.server_id,
        )
        row = connection.execute(statement).one_or_none()
        if row is None:
            raise ExecutionNotFoundError(execution_id)
        return row

    def changeable(self, connection: Connection, execution_id: str) -> str | None:
        """Lock an execution and return its key, or ``None`` when it must not be changed."""
        row = self._find_locked(connection, execution_id)
        if row.state in _FINAL or not self._leases.owns(connection, row.instance_id):
            return None
        return str(row.id)

    def change(
        self,
        connection: Connection,
        key: str,
        values: Mapping[str, Any],
        *,
        has_terms: bool = False,
    ) -> None:
        """Set columns of an execution.

        Args:
            has_terms: Whether its state changes and its labels or origin have copies of it.
        """
        connection.execute(_CHANGE, {"key": key, **values})
        if has_terms:
            connection.execute(_CHANGE_LABELS, {"key": key, "state": values["state"]})

    def add_result(self, connection: Connection, key: str, result: bytes) -> None:
        """Add what a run left."""
        connection.execute(_INSERT_RESULT, {"execution_id": key, "result": result})

    def write_events(
        self, connection: Connection, key: str, added: Sequence[EventRow], drop: Sequence[int]
    ) -> None:
        """Remove the events numbered *drop*, then add those whose number is not there."""
        for start in range(0, len(drop), _DELETED_AT_ONCE):
            connection.execute(
                delete(events).where(
                    events.c.execution_id == key,
                    events.c.number.in_(drop[start : start + _DELETED_AT_ONCE]),
                )
            )
        if added:
            connection.execute(
                insert_into(connection, events).on_conflict_do_nothing(),
                [{"execution_id": key, "number": n, "payload": payload} for n, payload in added],
            )

    def events(
        self,
        connection: Connection,
        execution_id: str,
        *,
        after: int,
        limit: int,
        max_bytes: int | None,
    ) -> list[EventRow]:
        """Return at most *limit* events with a number above *after*, in order.

        Args:
            max_bytes: No more than fit in this, but one in any case; ``None`` for all.
        """
        limit = min(max(limit, 0), _MAX_INTEGER)
        chosen = (
            select()
            .where(
                events.c.execution_id == self.find(connection, execution_id).id,
                events.c.number > min(max(after, 0), _MAX_INTEGER),
            )
            .order_by(events.c.number)
        )
        if max_bytes is not None:
            # A database tells the length without reading the payload.
            lengths = chosen.add_columns(func.length(events.c.payload)).limit(limit)
            limit = _count_within(connection.scalars(lengths).all(), max_bytes)
        found = connection.execute(
            chosen.add_columns(events.c.number, events.c.payload).limit(limit)
        )
        return [(row.number, row.payload) for row in found]

    def lost(self, connection: Connection) -> list[str]:
        """Return the keys of what is not final and whose instance is dead, the oldest first."""
        found = connection.scalars(
            select(executions.c.id)
            .where(
                executions.c.server_id == self.server_id,
                # What is not final has no end time, and an index finds that.
                executions.c.end_time.is_(None),
                executions.c.state.not_in(_FINAL),
                executions.c.instance_id.not_in(sorted(self._leases.living(connection))),
            )
            .order_by(executions.c.created_time, executions.c.id)
        )
        return [*found]

    def notebook(self, connection: Connection, key: str) -> tuple[bytes, bool] | None:
        """Return the notebook of an execution, and whether this server has signed it."""
        row = connection.execute(
            select(notebooks.c.source, notebooks.c.signature).where(notebooks.c.execution_id == key)
        ).one_or_none()
        if row is None:
            return None
        parts = (key, self.server_id, row.source)
        return row.source, self._signer.has_signed(row.signature, "notebook", *parts)

    def adopt(self, connection: Connection, execution_id: str) -> Adopted | None:
        """Make this instance the one that runs a lost execution; ``None`` when it is not lost.

        Raises:
            ExecutionNotFoundError: This server has none with this id.
            UnreadableRowError: The record and the other columns are damaged.
        """
        locked = self._find_locked(connection, execution_id)
        if locked.state in _FINAL or locked.instance_id in self._leases.living(connection):
            return None
        row = connection.execute(select(executions).where(executions.c.id == locked.id)).one()
        is_damaged = False
        try:
            execution = decode_execution(row.id, row.record)
            is_damaged = execution.state.is_final
        except ValueError:
            is_damaged = True
        if is_damaged:
            execution = _of_columns(row)
            # The record that will be stored for it has no labels.
            connection.execute(delete(labels).where(labels.c.execution_id == row.id))
        # What is not final has no result; a row that is there would be in the way of the real one.
        connection.execute(delete(results).where(results.c.execution_id == row.id))
        parts = (row.id, self.server_id, row.instance_id, row.record)
        is_signed = self._signer.has_signed(row.signature, "execution", *parts)
        found = self.notebook(connection, row.id)
        if found is not None:
            is_signed = is_signed and found[1]
        values: dict[str, Any] = {"instance_id": self._instance_id}
        if is_signed:
            values["signature"] = self._sign(row.id, row.record)
        self.change(connection, row.id, values)
        return Adopted(execution=execution, is_damaged=is_damaged, is_signed=is_signed)

    def _sign(self, key: str, record: bytes) -> bytes:
        """Return the signature of an execution that this instance runs."""
        return self._signer.sign("execution", key, self.server_id, self._instance_id, record)

    def delete(self, connection: Connection, execution_id: str) -> None:
        """Remove a final execution with all that belongs to it."""
        row = self._find_locked(connection, execution_id)
        if row.state not in _FINAL:
            raise NotFinalError(execution_id, row.state)
        connection.execute(delete(executions).where(executions.c.id == row.id))

    def delete_final(
        self, connection: Connection, keys: Sequence[str], *, seconds: float
    ) -> tuple[int, int]:
        """Remove those of *keys* that are final and still there, for about so many *seconds*.

        Returns:
            How many keys are done with, from the first on, and how many of them were removed.
            Of the one that follows some events may be removed already.
        """
        deadline = time.monotonic() + seconds
        done_count = removed_count = 0
        while done_count < len(keys):
            chosen = keys[done_count : done_count + _REMOVED_AT_ONCE]
            large = connection.scalar(_HAS_MANY_EVENTS, {"keys": chosen})
            if large is None:
                found = connection.execute(_DELETE_FINAL, {"keys": chosen, "whose": self.server_id})
                removed_count += found.rowcount
                done_count += len(chosen)
            else:
                self._delete_events(connection, large)
            if time.monotonic() >= deadline:
                break
        return done_count, removed_count

    def _delete_events(self, connection: Connection, key: str) -> None:
        """Remove the first events of an execution; all, if there are not many."""
        statement = delete(events).where(events.c.execution_id == key)
        limit = connection.scalar(_EVENT_BEHIND_MANY, {"key": key})
        if limit is not None:
            statement = statement.where(events.c.number < limit)
        connection.execute(statement)

    def final_keys(self) -> Select[Any]:
        """Return the statement for the keys of all final executions."""
        return select(executions.c.id).where(
            executions.c.server_id == self.server_id, executions.c.state.in_(_FINAL)
        )

    def keys_to_purge(
        self, connection: Connection, *, now: datetime, max_records: int, min_age: timedelta
    ) -> list[str]:
        """Return the keys of what expired, then of the oldest above *max_records*."""
        moment = microseconds_of(now)
        old = self.final_keys().where(executions.c.end_time <= microseconds_of(now - min_age))
        expired = connection.scalars(old.where(executions.c.expire_time <= moment)).all()
        total = connection.scalar(
            select(func.count())
            .select_from(executions)
            .where(executions.c.server_id == self.server_id)
        )
        surplus = (total or 0) - len(expired) - max(max_records, 0)
        if surplus <= 0:
            return [*expired]
        not_expired = executions.c.expire_time.is_(None) | (executions.c.expire_time > moment)
        oldest = (
            old.where(not_expired).order_by(executions.c.end_time, executions.c.id).limit(surplus)
        )
        return [*expired, *connection.scalars(oldest)]

    def _find_locked(self, connection: Connection, execution_id: str) -> Row[Any]:
        """Return id, state and holder of an execution, which nobody else changes meanwhile."""
        row = connection.execute(
            _FIND_LOCKED, {"key": clean_text(execution_id), "whose": self.server_id}
        ).one_or_none()
        if row is None:
            raise ExecutionNotFoundError(execution_id)
        return row


def _of_columns(row: Row[Any]) -> Execution:
    """Return the execution of a row whose record is damaged, as one that may have run.

    Raises:
        UnreadableRowError: The other columns are damaged too.
    """
    sources: dict[str, Source] = {
        "notebook": NotebookSource(path=row.path),
        "code": CodeSource(code=""),
        "command": CommandSource(exec=""),
    }
    try:
        source = sources[row.type]
        created_time = moment_of(row.created_time)
    except (KeyError, TypeError, OverflowError):
        raise UnreadableRowError("the record of this execution is damaged") from None
    return Execution(
        id=row.id,
        type=source.type,
        state=State.RUNNING,
        started=True,
        source=source,
        session_id=row.session_id,
        kernel_name="",
        owner=row.owner,
        idempotency_key=row.idempotency_key,
        created_time=created_time,
    )


def _count_within(lengths: Sequence[int], max_bytes: int) -> int:
    """Return how many of *lengths*, from the first on, fit into *max_bytes*: at least one."""
    totals = accumulate(lengths)
    return max(1, sum(1 for _ in takewhile(lambda total: total <= max_bytes, totals)))
