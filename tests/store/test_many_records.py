"""Lists and bulk deletes in stores of very different size."""

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import combinations, product
from typing import Any, get_args

import pytest
from sqlalchemy import Connection, Select, text

from jupyter_exec_ext.core.models import CodeSource, Origin
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.store import tables
from jupyter_exec_ext.store.listing import (
    OrderBy,
    SessionFilters,
    SessionQuery,
    page_statement,
    session_page_statement,
)
from jupyter_exec_ext.store.store import Filters, ListQuery, Store

from .builders import START, connected, ended, new_execution, new_instance, running
from .conftest import NewStore, Postgresql
from .test_session_store import ended as session_ended
from .test_session_store import new_session

SMALL, LARGE = 1_000, 8_000
STEPS_AT_ONCE = 10

HALVES: dict[str, tuple[Any, ...]] = {
    "state": ((State.SUCCEEDED,), (State.RUNNING,), (State.SUCCEEDED, State.RUNNING)),
    "session_id": ("s0", "s1"),
    "type": ("code", "notebook"),
    "path": ("", "n1.ipynb"),
    "label": (("team", "a"), ("team", "b"), ("team", None)),
    "origin_path": ("a.ipynb", "b.ipynb"),
    "origin_cell_id": ("c1", "c2"),
    "owner": ("ann", "bob"),
    "created_after": (START,),
    "created_before": (START + timedelta(days=1_000),),
}
"""Values of each filter that match half of the records, or all of them."""

RARE: dict[str, Any] = {
    "state": (State.CANCELLED, State.PENDING),
    "session_id": "none",
    "type": "command",
    "path": "none.ipynb",
    "label": ("none", None),
    "origin_path": "none.ipynb",
    "origin_cell_id": "none",
    "owner": "nobody",
    "created_after": START + timedelta(days=1_000),
    "created_before": START,
}
"""A value of each filter that matches nothing."""


async def fill(store: Store, url: str, count: int) -> None:
    """Store *count* records: in one half every column is another one than in the other half."""
    labels = ({"team": "a"}, {"team": "b"})
    one = new_execution(
        type="code", source=CodeSource(code="1"), session_id="s0", owner="ann", labels=labels[0],
        origin=Origin(path="a.ipynb", cell_id="c1"),
    )  # fmt: skip
    two = new_execution(
        "n1.ipynb", session_id="s1", owner="bob", labels=labels[1],
        origin=Origin(path="b.ipynb", cell_id="c2"), created_time=START + timedelta(seconds=1),
    )  # fmt: skip
    for execution in (one, two):
        await store.insert(execution, notebook=None)
    await store.finish(ended(one), result=b"{}", events=[(1, b"{}")])
    await store.update(running(two))
    series = f"SELECT generate_series(1, {count // 2 - 1}) AS n"
    if url.startswith("sqlite"):
        last = count // 2 - 1
        series = f"SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}"
    record = "CAST(replace(CAST(record AS TEXT), id, id || '-' || n) AS BLOB)"
    if not url.startswith("sqlite"):
        record = "convert_to(replace(convert_from(record, 'UTF8'), id, id || '-' || n), 'UTF8')"
    with connected(url) as connection:
        for table in (tables.executions, tables.labels, tables.results, tables.events):
            key = "id" if table is tables.executions else "execution_id"
            changed = {
                key: f"{key} || '-' || n",
                "record": record,
                "created_time": "created_time + CAST(2000000 AS BIGINT) * n",
            }
            names = ", ".join(table.columns.keys())
            values = ", ".join(changed.get(column.name, column.name) for column in table.columns)
            connection.execute(
                text(
                    f"INSERT INTO {table.name} ({names}) SELECT {values} FROM {table.name},"
                    f" (WITH RECURSIVE numbers AS ({series}) SELECT n FROM numbers) AS numbers"
                )
            )
        connection.execute(text("ANALYZE" if not url.startswith("sqlite") else "SELECT 1"))


def questions() -> Iterator[dict[str, Any]]:
    """Yield each filter and each pair of filters, with values that match many and none."""
    for names in (*combinations(HALVES, 1), *combinations(HALVES, 2)):
        if "label" in names and set(names) & {"origin_path", "origin_cell_id"}:
            continue  # The label is looked up for each execution of the origin.
        many = [HALVES[name] for name in names]
        yield {name: values[0] for name, values in zip(names, many, strict=True)}
        yield {name: values[-1] for name, values in zip(names, many, strict=True)}
        for rare in names:
            yield {name: RARE[name] if name == rare else HALVES[name][0] for name in names}
        if len(names) == 2:
            # Half of the records have the one, and the other half has the other.
            yield {names[0]: many[0][0], names[1]: many[1][min(1, len(many[1]) - 1)]}


def work_of(connection: Connection, statement: Select[Any]) -> int:
    """Return how much a database does for a list: steps of SQLite, pages that PostgreSQL reads."""
    if connection.dialect.name == "sqlite":
        raw: Any = connection.connection.driver_connection
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += STEPS_AT_ONCE

        raw.set_progress_handler(count, STEPS_AT_ONCE)
        connection.execute(statement).all()
        raw.set_progress_handler(None, 0)
        return steps
    literal = statement.compile(connection, compile_kwargs={"literal_binds": True})
    explained = connection.exec_driver_sql(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {literal}".replace("%", "%%")
    )
    plan = explained.scalar_one()[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


async def test_a_list_takes_the_same_work_however_many_records_there_are(
    url: str, new_store: NewStore, request: pytest.FixtureRequest
) -> None:
    """Each filter and each pair has an index, also where half of the records match, or none."""
    large_url = f"{url}.large"
    if not url.startswith("sqlite"):
        postgresql: Postgresql = request.getfixturevalue("postgresql")
        large_url = postgresql.new_database()
    for its_url, count in ((url, SMALL), (large_url, LARGE)):
        await fill(new_store(its_url, new_instance()), its_url, count)

    with connected(url) as small, connected(large_url) as large:
        for question in questions():
            orders: list[OrderBy] = ["-created_time", "created_time"]
            for order_by in orders[: 3 - len(question)]:
                query = ListQuery(filters=Filters(**question), order_by=order_by)
                statement = page_statement(query, "server")
                few, many = work_of(small, statement), work_of(large, statement)
                # PostgreSQL reads a small table whole, and else some pages for each record shown.
                enough = 1.5 * few + 60 if url.startswith("sqlite") else 700
                assert many <= enough, (question, order_by, few, many)


async def fill_sessions(store: Store, url: str, count: int) -> None:
    """Store *count* sessions that have ended, half of each owner, and ten that live."""
    for number in range(10):
        owner = ("ann", "bob")[number % 2]
        await store.sessions.insert(new_session(owner=owner, name=f"n{number}"))
    for owner in ("ann", "bob"):
        await store.sessions.insert(session_ended(new_session(owner=owner)))
    last = count // 2 - 1
    series = f"SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < {last}"
    columns = [column.name for column in tables.sessions.columns]
    changed = {"id": "id || '-' || n", "created_time": "created_time + n", "name": "NULL"}
    with connected(url) as connection:
        connection.execute(
            text(
                f"INSERT INTO exec_sessions ({', '.join(columns)})"
                f" WITH RECURSIVE numbers AS ({series})"
                f" SELECT {', '.join(changed.get(name, name) for name in columns)}"
                " FROM exec_sessions, numbers WHERE end_time IS NOT NULL"
            )
        )
        connection.execute(text("ANALYZE" if not url.startswith("sqlite") else "SELECT 1"))


async def test_a_list_of_sessions_takes_the_same_work_however_many_there_are(
    url: str, new_store: NewStore, request: pytest.FixtureRequest
) -> None:
    """Each filter and each pair has an index, also where half of the sessions match, or none."""
    large_url = f"{url}.large"
    if not url.startswith("sqlite"):
        postgresql: Postgresql = request.getfixturevalue("postgresql")
        large_url = postgresql.new_database()
    for its_url, count in ((url, SMALL), (large_url, LARGE)):
        await fill_sessions(new_store(its_url, new_instance()), its_url, count)

    with connected(url) as small, connected(large_url) as large:
        for owner, has_ended, name in product(
            (None, "ann", "nobody"), (None, True, False), (None, "n1", "none")
        ):
            filters = SessionFilters(owner=owner, has_ended=has_ended, name=name)
            for order_by in get_args(OrderBy):
                query = SessionQuery(filters=filters, order_by=order_by)
                statement = session_page_statement(query, "server")
                few, many = work_of(small, statement), work_of(large, statement)
                enough = 1.5 * few + 60 if url.startswith("sqlite") else 300
                assert many <= enough, (filters, order_by, few, many)


async def test_lists_of_each_kind_are_whole_and_in_order(store: Store, url: str) -> None:
    """What is put together from several lists has all pages, each record once."""
    await fill(store, url, 60)

    for question, expected in (
        ({"owner": "ann"}, 30),
        ({"type": "notebook"}, 30),
        ({"label": ("team", None)}, 60),
        ({"label": ("team", "b"), "state": (State.RUNNING, State.FAILED)}, 30),
        ({"state": (State.RUNNING, State.SUCCEEDED)}, 60),
        ({"path": "n1.ipynb", "owner": "bob", "type": "notebook"}, 30),
        ({"path": "n1.ipynb", "owner": "bob", "type": "code"}, 0),
        ({"label": ("team", "a"), "session_id": "s0", "state": (State.SUCCEEDED,)}, 30),
        ({"label": ("team", "a"), "origin_path": "a.ipynb"}, 30),
        ({"label": ("team", "a"), "origin_path": "b.ipynb"}, 0),
        ({"origin_cell_id": "c2", "state": (State.RUNNING,)}, 30),
    ):
        for order_by in ("created_time", "-created_time"):
            filters = Filters(**question)
            found, token = [], None
            while True:
                page = await store.list(
                    ListQuery(filters=filters, order_by=order_by, page_size=7, page_token=token)
                )
                found += page.executions
                token = page.next_page_token
                if token is None:
                    break
            assert len(found) == expected, question


async def test_a_change_of_state_shows_in_lists_of_a_label(store: Store) -> None:
    """The copies of the state in the rows of the labels follow it."""
    execution = new_execution(labels={"a": "b", "c": "d"})
    await store.insert(execution, notebook=b"")

    async def states() -> list[str]:
        found = []
        for state in State:
            filters = Filters(label=("a", "b"), state=(state,))
            found += [
                state.value for _ in (await store.list(ListQuery(filters=filters))).executions
            ]
        return found

    seen = [await states()]
    await store.update(running(execution))
    seen.append(await states())
    await store.finish(ended(execution), result=b"")
    seen.append(await states())
    await store.delete(execution.id)

    assert seen == [["pending"], ["running"], ["succeeded"]]
    assert await states() == []


async def insert_until(store: Store, is_over: Callable[[], bool]) -> list[float]:
    """Insert one record after the other; return how long each took, in seconds."""
    waits = []
    while not is_over():
        before = time.perf_counter()
        await store.insert(new_execution(), notebook=None)
        waits.append(time.perf_counter() - before)
        await asyncio.sleep(0.002)
    return waits


@pytest.mark.serial
async def test_others_can_write_during_a_bulk_delete(
    store: Store, url: str, new_store: NewStore
) -> None:
    """No write waits for long: neither for many records, nor for one with many events.

    It does not matter whether the write comes from the process that deletes or from another one,
    which has connections of its own.
    """
    await fill(store, url, 4_000)
    with connected(url) as connection:
        key = connection.scalar(
            text("SELECT id FROM exec_executions WHERE owner = 'ann' ORDER BY created_time LIMIT 1")
        )
        series = "SELECT 2 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 60000"
        connection.execute(
            text(
                "INSERT INTO exec_events (execution_id, number, payload) SELECT execution_id, n,"
                f" payload FROM exec_events, (WITH RECURSIVE numbers AS ({series})"
                " SELECT n FROM numbers) AS numbers WHERE execution_id = :key"
            ),
            {"key": key},
        )
    other = new_store(url)
    calm_until = time.perf_counter() + 1
    calm = await asyncio.gather(
        *(insert_until(each, lambda: time.perf_counter() > calm_until) for each in (store, other))
    )
    slowest_calm = max(map(max, calm))
    began = time.perf_counter()

    deletion = asyncio.create_task(store.delete_where(Filters(owner="ann")))
    waits_of_both = await asyncio.gather(
        *(insert_until(writer, deletion.done) for writer in (store, other))
    )
    seconds = time.perf_counter() - began

    assert await deletion == 2_000
    for waits in waits_of_both:
        ordered = sorted(waits)
        figures = (ordered[len(waits) // 2], ordered[-1], slowest_calm, seconds, len(waits))
        assert len(waits) >= 20, figures
        assert ordered[len(waits) * 95 // 100] < max(0.1, 2 * slowest_calm), figures
        # A busy machine can stop a process while it holds the lock, but not in step after step.
        assert ordered[-1] < max(0.1, seconds / 5, 3 * slowest_calm), figures
    assert await store.list(ListQuery(filters=Filters(owner="ann"))) == await store.list(
        ListQuery(filters=Filters(owner="nobody"))
    )
