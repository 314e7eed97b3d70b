"""The tables, their names prefixed so that a PostgreSQL database can be shared with others.

Text columns serve filters and scopes only and hold `records.clean_text`; what was said word for
word is in the byte columns. Moments are microseconds since 1970 in UTC.
"""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Dialect,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
)
from sqlalchemy.dialects import postgresql, sqlite

metadata = MetaData()


class _Bytes(LargeBinary):
    """Bytes. SQLite also returns text or a number where a damaged row has one."""

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Return what makes bytes of a value of the database."""
        as_bytes = super().result_processor(dialect, coltype)  # type: ignore[no-untyped-call]

        def process(value: Any) -> Any:
            if isinstance(value, str | int | float):
                return str(value).encode("utf-8", "replace")
            return value if as_bytes is None else as_bytes(value)

        return process


schema_version = Table(
    "exec_schema_version",
    metadata,
    Column("version", BigInteger, nullable=False),
)

leases = Table(
    "exec_leases",
    metadata,
    Column("instance_id", Text, primary_key=True),
    Column("server_id", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("process_start_time", Float(53), nullable=False),
    Column("heartbeat_time", BigInteger, nullable=False),
)


def _indexes(table: str, *columns: str) -> Iterator[Index]:
    """Yield an index for each of *columns*, and one for each pair of them."""
    for column in columns:
        rest = ("type", "state", "created_time", "id")
        yield Index(f"{table}_by_{column}", "server_id", column, *rest)
    for pair in combinations(columns, 2):
        yield Index(f"{table}_by_{'_and_'.join(pair)}", "server_id", *pair, "created_time", "id")


executions = Table(
    "exec_executions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("server_id", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("fingerprint", Text),
    Column("created_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("expire_time", BigInteger),
    Column("record", _Bytes, nullable=False),
    Column("signature", _Bytes),
    Index("exec_executions_by_key", "server_id", "idempotency_key", unique=True),
    Index("exec_executions_by_time", "server_id", "created_time", "id"),
    Index("exec_executions_by_end", "server_id", "end_time", "expire_time", "id"),
    # For lists; see `listing.page_statement`.
    Index("exec_executions_by_kind", "server_id", "type", "state", "created_time", "id"),
    *_indexes("exec_executions", "session_id", "path", "owner"),
)


sessions = Table(
    "exec_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("server_id", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("name", Text),
    Column("owner", Text, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Column("end_time", BigInteger),
    Column("record", _Bytes, nullable=False),
    Column("signature", _Bytes),
    Index("exec_sessions_by_name", "server_id", "name", unique=True),
    Index("exec_sessions_by_time", "server_id", "created_time", "id"),
    # What lives has no end time: these give it in the order of a list.
    Index("exec_sessions_by_end", "server_id", "end_time", "created_time", "id"),
    Index("exec_sessions_by_owner", "server_id", "owner", "created_time", "id"),
    Index("exec_sessions_by_owner_and_end", "server_id", "owner", "end_time", "created_time", "id"),
)


def _execution_id(**kwargs: Any) -> Column[str]:
    return Column(
        "execution_id", Text, ForeignKey("exec_executions.id", ondelete="CASCADE"), **kwargs
    )


labels = Table(
    # Two rows for each label: one of its name, one of its name and value. An origin has a row for
    # its path, one for its cell id and one for both. Each row has copies of the columns of the
    # execution by which lists of a label or an origin are narrowed and ordered.
    "exec_label_terms",
    metadata,
    _execution_id(primary_key=True),
    Column("term", Text, primary_key=True),
    Column("server_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_time", BigInteger, nullable=False),
    Index(
        "exec_label_terms_by_kind",
        *("server_id", "term", "type", "state", "created_time", "execution_id"),
    ),
    *(
        Index(
            f"exec_label_terms_by_{column}",
            *("server_id", "term", column, "created_time", "execution_id"),
        )
        for column in ("session_id", "path", "owner")
    ),
)

results = Table(
    "exec_results",
    metadata,
    _execution_id(primary_key=True),
    Column("result", _Bytes, nullable=False),
)

notebooks = Table(
    "exec_notebooks",
    metadata,
    _execution_id(primary_key=True),
    Column("source", _Bytes, nullable=False),
    Column("signature", _Bytes),
)

events = Table(
    "exec_events",
    metadata,
    _execution_id(primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("payload", _Bytes, nullable=False),
)


def insert_into(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """Return an insert for *table* in the dialect of *connection*, which knows ``ON CONFLICT``."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
