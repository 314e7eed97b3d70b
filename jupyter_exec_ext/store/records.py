"""How an execution becomes a row and a row an execution."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import msgspec

from jupyter_exec_ext.core.models import (
    CodeSource,
    CommandSource,
    Execution,
    NotebookSource,
    Source,
)
from jupyter_exec_ext.core.sessions import Session

T = TypeVar("T")
Row = TypeVar("Row")

MAX_KEY_LENGTH = 200
"""Longest text kept in an indexed column: PostgreSQL takes no index entry above 2.7 KB.

An index has up to three such columns, and a character up to four bytes.
"""

MAX_REPORTED_ROWS = 1_000
"""How many damaged rows are reported in the log; a database with more of them has other signs."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def encode(value: object) -> bytes:
    """Return *value* as JSON in UTF-8; lone surrogates stay as escapes."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value), separators=(",", ":")).encode()


def decode_execution(key: str, record: bytes) -> Execution:
    """Return what `encode` made of the execution whose row has the primary key *key*.

    Raises:
        ValueError: The record is not that of this execution.
    """
    execution = _decode(record, _executions)
    if clean_text(execution.id) != key:
        raise ValueError("the record is that of another execution")
    return execution


def decode_session(key: str, record: bytes) -> Session:
    """Return what `encode` made of the session whose row has the primary key *key*.

    Raises:
        ValueError: The record is not that of this session.
    """
    session = _decode(record, _sessions)
    if clean_text(session.id) != key:
        raise ValueError("the record is that of another session")
    return session


def _decode(record: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    try:
        return decoder.decode(record)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # msgspec takes no escape of a lone surrogate, the standard library does.
        try:
            decoded: T = msgspec.convert(
                json.loads(record), type=decoder.type, dec_hook=decoder.dec_hook
            )
        except RecursionError:
            raise ValueError("the record is nested too deeply") from None
        return decoded
    except RecursionError:
        raise ValueError("the record is nested too deeply") from None


def _as_source(kind: type, value: Any) -> Source:
    if kind is not Source or not isinstance(value, dict):
        raise NotImplementedError
    source_type: type[Source] = CommandSource
    if "code" in value:
        source_type = CodeSource
    elif "path" in value:
        source_type = NotebookSource
    return msgspec.convert(value, type=source_type)


_executions = msgspec.json.Decoder(Execution, dec_hook=_as_source)
_sessions = msgspec.json.Decoder(Session)


class UnreadableRows:
    """Reads rows so that a damaged one is left out, and reported once.

    Args:
        kind: What a row holds, for the log.
    """

    def __init__(self, kind: str, log: logging.Logger) -> None:
        self._kind = kind
        self._log = log
        self._reported: set[str] = set()

    def skipping(self, key: str, decode: Callable[[], T]) -> T | None:
        """Return what *decode* returns for the row *key*; ``None`` when it is damaged."""
        try:
            return decode()
        except ValueError as error:
            if key not in self._reported and len(self._reported) < MAX_REPORTED_ROWS:
                self._reported.add(key)
                # Not the error's message: it can repeat what the record holds.
                name = type(error).__name__
                self._log.error("the record of %s %s cannot be read: %s", self._kind, key, name)
            return None

    def all_readable(self, rows: Iterable[tuple[str, Row]], decode: Callable[[Row], T]) -> list[T]:
        """Return what *decode* returns for *rows*, each with its key; damaged ones are left out."""
        decoded = (self.skipping(key, partial(decode, row)) for key, row in rows)
        return [value for value in decoded if value is not None]


def clean_text(text: str) -> str:
    """Return *text* as every database takes it in an indexed column.

    Different texts stay different: what cannot be stored is escaped, and what is too long ends
    in its hash.
    """
    clean = text.replace("\\", "\\\\").replace("\0", "\\x00")
    clean = clean.encode("utf-8", "backslashreplace").decode("utf-8")
    if len(clean) <= MAX_KEY_LENGTH:
        return clean
    digest = hashlib.sha256(clean.encode()).hexdigest()
    return f"{clean[: MAX_KEY_LENGTH - len(digest) - 2]}\\#{digest}"


def label_term(name: str, value: str | None = None) -> str:
    """Return what stands for a label of this name and value, or of this name and any value."""
    return clean_label_term(clean_text(name), None if value is None else clean_text(value))


def clean_label_term(name: str, value: str | None = None) -> str:
    """Return the same for what `clean_text` returned."""
    # A single backslash is in no clean text. A hash, since an index does not take so much text.
    text = name if value is None else f"{name}\\={value}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def label_terms(labels: Mapping[str, str]) -> set[str]:
    """Return the terms of all *labels*, with and without their values."""
    return {label_term(name, value) for name, text in labels.items() for value in (None, text)}


def origin_term(path: str | None, cell_id: str | None) -> str:
    """Return what stands for an origin of this path, of this cell id, or of both."""
    # A single backslash is in no clean text, so this differs from every label.
    parts = ["" if part is None else clean_text(part) for part in (path, cell_id)]
    return hashlib.blake2b("\\@".join(["", *parts]).encode(), digest_size=16).hexdigest()


def has_terms(execution: Execution) -> bool:
    """Whether `terms_of` returns any."""
    return bool(execution.labels) or execution.origin is not None


def terms_of(execution: Execution) -> set[str]:
    """Return what lists find *execution* by, besides the columns of its row."""
    terms = label_terms(execution.labels)
    origin = execution.origin
    if origin is not None:
        terms.add(origin_term(origin.path, None))
        if origin.cell_id is not None:
            terms.add(origin_term(None, origin.cell_id))
            terms.add(origin_term(origin.path, origin.cell_id))
    return terms


def microseconds_of(moment: datetime) -> int:
    """Return the aware *moment* as microseconds since 1970 in UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """Return the moment in UTC that `microseconds_of` returned *microseconds* for.

    Raises:
        OverflowError: A `datetime` cannot represent this moment.
        TypeError: A damaged row of SQLite has another type there.
    """
    return _EPOCH + timedelta(microseconds=microseconds)


def changing_columns(execution: Execution) -> dict[str, Any]:
    """Return the columns of *execution* that its life changes."""
    end_time = execution.end_time
    if end_time is None and execution.state.is_final:
        end_time = execution.created_time
    return {
        "state": execution.state.value,
        "end_time": None if end_time is None else microseconds_of(end_time),
        "expire_time": (
            None if execution.expire_time is None else microseconds_of(execution.expire_time)
        ),
        "record": encode(execution),
    }


def all_columns(execution: Execution) -> dict[str, Any]:
    """Return all columns of *execution* but those that say whose it is."""
    source = execution.source
    return {
        "id": clean_text(execution.id),
        "session_id": clean_text(execution.session_id),
        "type": execution.type,
        "path": clean_text(source.path) if isinstance(source, NotebookSource) else "",
        "owner": clean_text(execution.owner),
        "idempotency_key": (
            None if execution.idempotency_key is None else clean_text(execution.idempotency_key)
        ),
        "created_time": microseconds_of(execution.created_time),
        **changing_columns(execution),
    }
