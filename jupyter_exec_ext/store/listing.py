"""Lists of records: filters, order, and pages that stay true while records are added."""

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import ColumnElement, Select, Table, select, tuple_

from jupyter_exec_ext.core.errors import InvalidArgumentError
from jupyter_exec_ext.core.models import Execution
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.store.records import clean_text, encode, microseconds_of
from jupyter_exec_ext.store.tables import executions, labels, sessions

OrderBy: TypeAlias = Literal["created_time", "-created_time"]

_DIGEST_BYTES = 16
_TIME = struct.Struct(">q")


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which executions; each field that is given narrows the choice.

    Attributes:
        state: Any of these; empty means every state.
        path: The notebook's path, whole.
        label: A label's name and its value; ``None`` as the value means any.
        created_after: This moment included.
        created_before: This moment not included.
    """

    state: tuple[State, ...] = ()
    session_id: str | None = None
    type: str | None = None
    path: str | None = None
    label: tuple[str, str | None] | None = None
    owner: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ListQuery:
    """One page of a list.

    Attributes:
        order_by: With ``-`` the newest first; executions of the same moment by their id.
        page_size: Between pages it may change, filters and order may not.
        page_token: ``next_page_token`` of the page before; ``None`` for the first page.
    """

    filters: Filters = field(default_factory=Filters)
    order_by: OrderBy = "-created_time"
    page_size: int = 100
    page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some executions of a list.

    Attributes:
        next_page_token: Asks for those that follow; ``None`` on the last page.
    """

    executions: list[Execution]
    next_page_token: str | None = None


def conditions_of(filters: Filters) -> list[ColumnElement[bool]]:
    """Return *filters* as conditions on the table of executions."""
    table = executions.c
    conditions: list[ColumnElement[bool]] = []
    if filters.state:
        conditions.append(table.state.in_([state.value for state in filters.state]))
    for name in ("session_id", "type", "path", "owner"):
        value = getattr(filters, name)
        if value is not None:
            conditions.append(table[name] == clean_text(value))
    if filters.label is not None:
        name, value = filters.label
        labelled = select(labels.c.execution_id).where(labels.c.name == clean_text(name))
        if value is not None:
            labelled = labelled.where(labels.c.value == clean_text(value))
        conditions.append(table.id.in_(labelled))
    if filters.created_after is not None:
        conditions.append(table.created_time >= microseconds_of(filters.created_after))
    if filters.created_before is not None:
        conditions.append(table.created_time < microseconds_of(filters.created_before))
    return conditions


@dataclass(frozen=True, kw_only=True)
class SessionFilters:
    """Which sessions; each field that is given narrows the choice.

    Attributes:
        name: Only one that has not ended has it.
        has_ended: Only those that have ended, or only those that have not.
    """

    name: str | None = None
    owner: str | None = None
    has_ended: bool | None = None


@dataclass(frozen=True, kw_only=True)
class SessionQuery:
    """One page of a list of sessions; as `ListQuery`."""

    filters: SessionFilters = field(default_factory=SessionFilters)
    order_by: OrderBy = "-created_time"
    page_size: int = 100
    page_token: str | None = None


@dataclass(frozen=True, kw_only=True)
class SessionPage:
    """Some sessions of a list; as `Page`."""

    sessions: list[Session]
    next_page_token: str | None = None


def page_statement(query: ListQuery, server_id: str) -> Select[Any]:
    """Return the statement for a page and one row more, which tells whether another page follows.

    Raises:
        InvalidArgumentError: The page size, order or token cannot be used; ``target`` tells which.
    """
    return _page_statement(executions, conditions_of(query.filters), query, server_id)


def session_page_statement(query: SessionQuery, server_id: str) -> Select[Any]:
    """Return the same for sessions."""
    filters = query.filters
    conditions: list[ColumnElement[bool]] = []
    if filters.name is not None:
        conditions.append(sessions.c.name == clean_text(filters.name))
    if filters.owner is not None:
        conditions.append(sessions.c.owner == clean_text(filters.owner))
    if filters.has_ended is not None:
        is_alive = sessions.c.end_time.is_(None)
        conditions.append(~is_alive if filters.has_ended else is_alive)
    return _page_statement(sessions, conditions, query, server_id)


def _page_statement(
    table: Table,
    conditions: list[ColumnElement[bool]],
    query: ListQuery | SessionQuery,
    server_id: str,
) -> Select[Any]:
    if query.page_size < 1:
        raise InvalidArgumentError("a page has at least one entry", target="page_size")
    if query.order_by not in ("created_time", "-created_time"):
        raise InvalidArgumentError("the order is created_time or -created_time", target="order_by")
    key = (table.c.created_time, table.c.id)
    descending = query.order_by.startswith("-")
    statement = (
        select(table.c.created_time, table.c.id, table.c.record, table.c.signature)
        .where(table.c.server_id == server_id, *conditions)
        .order_by(*(column.desc() if descending else column.asc() for column in key))
        .limit(query.page_size + 1)
    )
    if query.page_token is None:
        return statement
    position = tuple_(*key)
    last = tuple_(*_read_token(query.page_token, query, server_id))
    return statement.where(position < last if descending else position > last)


def token_after(
    created_time: int, row_id: str, query: ListQuery | SessionQuery, server_id: str
) -> str:
    """Return the token of the page that follows the row with these values."""
    content = _TIME.pack(created_time) + row_id.encode()
    digest = _digest(content, query, server_id)
    return base64.urlsafe_b64encode(digest + content).decode().rstrip("=")


def _read_token(token: str, query: ListQuery | SessionQuery, server_id: str) -> tuple[int, str]:
    refusal = InvalidArgumentError(
        "the page token does not belong to a list with these filters and this order",
        target="page_token",
    )
    try:
        raw = base64.b64decode(
            token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True
        )
    except (UnicodeEncodeError, binascii.Error):
        raise refusal from None
    digest, content = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
    if not hmac.compare_digest(digest, _digest(content, query, server_id)):
        raise refusal
    (created_time,) = _TIME.unpack_from(content)
    return created_time, content[_TIME.size :].decode()


def _digest(content: bytes, query: ListQuery | SessionQuery, server_id: str) -> bytes:
    """Bind a token to its list. It keeps nobody out: a token only says where to go on."""
    filters = {
        name: clean_text(value) if isinstance(value, str) else value
        for name, value in asdict(query.filters).items()
    }
    scope = encode([clean_text(server_id), type(query).__name__, query.order_by, filters])
    return hashlib.blake2b(
        len(content).to_bytes(8) + content + scope, digest_size=_DIGEST_BYTES
    ).digest()
