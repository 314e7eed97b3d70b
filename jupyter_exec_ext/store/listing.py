"""Lists of records: filters, order, and pages that stay true while records are added."""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

from sqlalchemy import Column, ColumnElement, Select, Table, exists, select, tuple_, union_all

from jupyter_exec_ext.core.errors import InvalidArgumentError
from jupyter_exec_ext.core.models import Execution, ExecutionType
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.store.records import (
    clean_text,
    encode,
    label_term,
    microseconds_of,
    origin_term,
)
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
        origin_path: The path of the notebook that the code comes from, whole.
        origin_cell_id: The id of the cell that the code comes from, whole.
        created_after: This moment included.
        created_before: This moment not included.
    """

    state: tuple[State, ...] = ()
    session_id: str | None = None
    type: str | None = None
    path: str | None = None
    label: tuple[str, str | None] | None = None
    origin_path: str | None = None
    origin_cell_id: str | None = None
    owner: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    @property
    def terms(self) -> list[str]:
        """What chosen executions have in the table of labels, the rarest first."""
        terms = []
        if self.origin_path is not None or self.origin_cell_id is not None:
            terms.append(origin_term(self.origin_path, self.origin_cell_id))
        if self.label is not None:
            terms.append(label_term(*self.label))
        return terms


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
    for term in filters.terms:
        having = select(labels.c.execution_id).where(
            labels.c.server_id == table.server_id, labels.c.term == term
        )
        conditions.append(table.id.in_(having))
    return [*conditions, *_time_conditions(executions, filters)]


def _time_conditions(table: Table, filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.created_after is not None:
        yield table.c.created_time >= microseconds_of(filters.created_after)
    if filters.created_before is not None:
        yield table.c.created_time < microseconds_of(filters.created_before)


def _kind_conditions(table: Table, filters: Filters) -> list[list[ColumnElement[bool]]]:
    """Return conditions of which each chooses executions of one type and state."""
    types = get_args(ExecutionType) if filters.type is None else (clean_text(filters.type),)
    return [
        [table.c.type == execution_type, table.c.state == state.value]
        for execution_type in types
        for state in filters.state or State
    ]


def _any_kind_conditions(table: Table, filters: Filters) -> list[ColumnElement[bool]]:
    """Return conditions that choose executions of all types and states that *filters* choose."""
    conditions: list[ColumnElement[bool]] = []
    if filters.type is not None:
        conditions.append(table.c.type == clean_text(filters.type))
    if filters.state:
        conditions.append(table.c.state.in_([state.value for state in filters.state]))
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

    An index gives the rows in the order of the list for any filter and any pair of filters, so
    that a page takes as long among a million records as among a thousand; but of an origin and a
    label together, the label is looked up for each execution of the origin. There are few types and
    states: instead of an index for each, a list that is narrowed by one other column is put
    together from the lists of each type and state.

    Raises:
        InvalidArgumentError: The page size, order or token cannot be used; ``target`` tells which.
    """
    filters = query.filters
    terms = filters.terms
    if not terms:
        table, key = executions, (executions.c.created_time, executions.c.id)
    else:
        table, key = labels, (labels.c.created_time, labels.c.execution_id)
    exact = [
        table.c[name] == clean_text(value)
        for name in ("session_id", "path", "owner")
        if (value := getattr(filters, name)) is not None
    ]
    exact += [labels.c.term == term for term in terms[:1]]
    kinds = [_any_kind_conditions(table, filters)]
    if len(exact) < 2 and (exact or kinds != [[]]):
        kinds = _kind_conditions(table, filters)
    common = [table.c.server_id == server_id, *exact, *_time_conditions(table, filters)]
    for term in terms[1:]:
        others = labels.alias()
        is_same = (others.c.execution_id == labels.c.execution_id) & (others.c.term == term)
        common.append(exists().where(is_same))
    lists = [
        _cut(select(*key), [*common, *kind], key, query, server_id).subquery() for kind in kinds
    ]
    found = union_all(*map(select, lists)).subquery()
    created_time, execution_id = found.c
    return (
        select(executions.c.created_time, executions.c.id, executions.c.record)
        .join_from(found, executions, executions.c.id == execution_id)
        .order_by(*_in_order((created_time, execution_id), query))
        .limit(query.page_size + 1)
    )


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
    conditions.append(sessions.c.server_id == server_id)
    key = (sessions.c.created_time, sessions.c.id)
    columns = select(*key, sessions.c.record, sessions.c.signature)
    return _cut(columns, conditions, key, query, server_id)


def _cut(
    statement: Select[Any],
    conditions: Sequence[ColumnElement[bool]],
    key: tuple[Column[Any], Column[Any]],
    query: ListQuery | SessionQuery,
    server_id: str,
) -> Select[Any]:
    """Return *statement* for the rows of one page and one more, in the order of the list.

    Args:
        key: The columns with the time and the id.
    """
    if query.page_size < 1:
        raise InvalidArgumentError("a page has at least one entry", target="page_size")
    if query.order_by not in ("created_time", "-created_time"):
        raise InvalidArgumentError("the order is created_time or -created_time", target="order_by")
    statement = (
        statement.where(*conditions).order_by(*_in_order(key, query)).limit(query.page_size + 1)
    )
    if query.page_token is None:
        return statement
    position = tuple_(*key)
    last = tuple_(*_read_token(query.page_token, query, server_id))
    return statement.where(position < last if _is_descending(query) else position > last)


def _in_order(
    key: Iterable[ColumnElement[Any]], query: ListQuery | SessionQuery
) -> list[ColumnElement[Any]]:
    return [column.desc() if _is_descending(query) else column.asc() for column in key]


def _is_descending(query: ListQuery | SessionQuery) -> bool:
    return query.order_by.startswith("-")


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
