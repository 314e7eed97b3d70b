"""Lists of executions: filters, order, and pages that stay true while records are added."""

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec
from sqlalchemy import ColumnElement, Select, select, tuple_

from jupyter_exec_ext.core.errors import InvalidArgumentError
from jupyter_exec_ext.core.models import Execution
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.store.records import clean_text, microseconds_of
from jupyter_exec_ext.store.tables import executions, labels

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


def page_statement(query: ListQuery, server_id: str) -> Select[Any]:
    """Return the statement for a page and one row more, which tells whether another page follows.

    Raises:
        InvalidArgumentError: The page size, order or token cannot be used; ``target`` tells which.
    """
    if query.page_size < 1:
        raise InvalidArgumentError("a page has at least one entry", target="page_size")
    if query.order_by not in ("created_time", "-created_time"):
        raise InvalidArgumentError("the order is created_time or -created_time", target="order_by")
    key = (executions.c.created_time, executions.c.id)
    descending = query.order_by.startswith("-")
    statement = (
        select(executions.c.created_time, executions.c.id, executions.c.record)
        .where(executions.c.server_id == server_id, *conditions_of(query.filters))
        .order_by(*(column.desc() if descending else column.asc() for column in key))
        .limit(query.page_size + 1)
    )
    if query.page_token is None:
        return statement
    position = tuple_(*key)
    last = tuple_(*_read_token(query.page_token, query, server_id))
    return statement.where(position < last if descending else position > last)


def token_after(created_time: int, execution_id: str, query: ListQuery, server_id: str) -> str:
    """Return the token of the page that follows the row with these values."""
    content = _TIME.pack(created_time) + execution_id.encode()
    digest = _digest(content, query, server_id)
    return base64.urlsafe_b64encode(digest + content).decode().rstrip("=")


def _read_token(token: str, query: ListQuery, server_id: str) -> tuple[int, str]:
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


def _digest(content: bytes, query: ListQuery, server_id: str) -> bytes:
    """Bind a token to its list. It keeps nobody out: a token only says where to go on."""
    scope = msgspec.json.encode(
        [
            clean_text(server_id),
            query.order_by,
            sorted(query.filters.state),
            [
                value if value is None else clean_text(value)
                for value in (
                    query.filters.session_id,
                    query.filters.type,
                    query.filters.path,
                    query.filters.owner,
                    *(query.filters.label or (None, None)),
                )
            ],
            query.filters.created_after,
            query.filters.created_before,
        ]
    )
    return hashlib.blake2b(
        len(content).to_bytes(8) + content + scope, digest_size=_DIGEST_BYTES
    ).digest()
