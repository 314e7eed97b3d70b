"""Lists: filters, order, and pages while records come and go."""

import asyncio
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_exec_ext.core.errors import InvalidArgumentError
from jupyter_exec_ext.core.models import Origin
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.store.store import Filters, ListQuery, Store

from .builders import START, ended, new_execution, new_instance, running


def at(minutes: int) -> Any:
    return START + timedelta(minutes=minutes)


async def ids(store: Store, **filters: Any) -> list[str]:
    page = await store.list(ListQuery(filters=Filters(**filters), order_by="created_time"))
    return [execution.id for execution in page.executions]


async def test_filters_narrow_the_list(store: Store) -> None:
    """Each filter chooses by one field, and several must all hold."""
    one = new_execution("a.ipynb", session_id="s1", owner="ann", created_time=at(1))
    two = new_execution(
        "b.ipynb", owner="bob", created_time=at(2), labels={"team": "x", "kind": "y"}
    )
    three = new_execution(
        "a.ipynb", owner="ann", created_time=at(3), labels={"team": "z"},
        origin=Origin(path="team", cell_id="z"),
    )  # fmt: skip
    for execution in (one, two, three):
        await store.insert(execution, notebook=b"")
    await store.update(running(two))
    await store.finish(ended(three), result=b"")

    assert await ids(store) == [one.id, two.id, three.id]
    assert await ids(store, path="a.ipynb") == [one.id, three.id]
    assert await ids(store, path="a") == []
    assert await ids(store, session_id="s1") == [one.id]
    assert await ids(store, owner="ann", created_after=at(2)) == [three.id]
    assert await ids(store, type="notebook") == [one.id, two.id, three.id]
    assert await ids(store, type="code") == []
    assert await ids(store, label=("team", None)) == [two.id, three.id]
    assert await ids(store, label=("team", "z")) == [three.id]
    assert await ids(store, label=("x", None)) == []
    assert await ids(store, origin_path="team") == [three.id]
    assert await ids(store, origin_path="team", origin_cell_id="z") == [three.id]
    assert await ids(store, origin_cell_id="z", label=("team", "z")) == [three.id]
    assert await ids(store, origin_cell_id="z", label=("team", "x")) == []
    assert await ids(store, origin_path="z") == await ids(store, origin_cell_id="team") == []
    assert await ids(store, state=(State.PENDING, State.RUNNING)) == [one.id, two.id]
    assert await ids(store, state=(State.CANCELLED,)) == []
    assert await ids(store, created_after=at(2), created_before=at(3)) == [two.id]
    assert await store.counts(Filters()) == {"a.ipynb": 2, "b.ipynb": 1}
    assert await store.counts(Filters(owner="bob")) == {"b.ipynb": 1}
    assert await store.counts(Filters(owner="nobody")) == {}


async def test_the_newest_come_first_unless_asked(store: Store) -> None:
    """Without an order the newest is on top."""
    old, new = new_execution(created_time=at(1)), new_execution(created_time=at(2))
    for execution in (new, old):
        await store.insert(execution, notebook=b"")

    assert (await store.list(ListQuery())).executions == [new, old]
    assert (await store.list(ListQuery(order_by="created_time"))).executions == [old, new]


async def test_a_full_last_page_has_no_token(store: Store) -> None:
    """A token is given only when something follows; an empty list is one empty page."""
    assert (await store.list(ListQuery())).next_page_token is None
    for _ in range(4):
        await store.insert(new_execution(), notebook=b"")

    first = await store.list(ListQuery(page_size=2))
    second = await store.list(ListQuery(page_size=2, page_token=first.next_page_token))

    assert first.next_page_token is not None
    assert (len(second.executions), second.next_page_token) == (2, None)


async def test_a_token_belongs_to_its_list(store: Store) -> None:
    """With other filters, another order or another server a token is refused by name."""
    for _ in range(3):
        await store.insert(new_execution(owner="ann"), notebook=b"")
    query = ListQuery(filters=Filters(owner="ann"), page_size=1)
    token = (await store.list(query)).next_page_token

    for other in (
        ListQuery(page_token=token),
        ListQuery(filters=Filters(owner="bob"), page_token=token),
        ListQuery(filters=Filters(session_id="ann"), page_token=token),
        ListQuery(filters=Filters(owner="ann"), order_by="created_time", page_token=token),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            await store.list(other)
        assert caught.value.target == "page_token"
    resized = await store.list(replace(query, page_size=5, page_token=token))
    assert len(resized.executions) == 2


async def test_a_forged_token_is_refused(store: Store) -> None:
    """Any text that is not a token of ours is a wrong argument, never a failure."""
    for _ in range(2):
        await store.insert(new_execution(), notebook=b"")
    token = (await store.list(ListQuery(page_size=1))).next_page_token or ""
    changed = [token[:n] + ("A" if token[n] != "A" else "B") + token[n + 1 :] for n in (0, 30, 50)]

    for bad in ("", "x", "%%%", "ü", "\ud800", "A" * 22, "A" * 64, token[:-4], *changed):
        with pytest.raises(InvalidArgumentError) as caught:
            await store.list(ListQuery(page_token=bad))
        assert caught.value.target == "page_token"


async def test_size_and_order_are_checked(store: Store) -> None:
    """A page of nothing and an order by an unknown field are refused by name."""
    for query, target in (
        (ListQuery(page_size=0), "page_size"),
        (ListQuery(order_by="owner"), "order_by"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            await store.list(query)
        assert caught.value.target == target


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    minutes=st.lists(st.integers(0, 5), max_size=12),
    page_sizes=st.lists(st.integers(1, 4), min_size=1),
    added=st.lists(st.integers(-1, 6), max_size=6),
    deleted=st.sets(st.integers(0, 11), max_size=3),
    descending=st.booleans(),
)
def test_paging_shows_each_record_once(
    url: str,
    jp_asyncio_loop: asyncio.AbstractEventLoop,
    minutes: list[int],
    page_sizes: list[int],
    added: list[int],
    deleted: set[int],
    descending: bool,
) -> None:
    """What is there from the first page to the last is shown exactly once and in order."""

    async def scenario() -> None:
        store = Store(url, new_instance(f"server-{uuid.uuid4()}"))
        first = [new_execution(created_time=at(minute)) for minute in minutes]
        for execution in first:
            await store.insert(execution, notebook=b"")
            await store.finish(ended(execution), result=b"")
        gone = {first[n].id for n in deleted if n < len(first)}
        to_add, to_delete, sizes = list(added), sorted(gone), list(page_sizes)
        query = ListQuery(order_by="-created_time" if descending else "created_time")
        shown = []
        while True:
            size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
            page = await store.list(replace(query, page_size=size))
            assert len(page.executions) <= size
            shown.extend(page.executions)
            if page.next_page_token is None:
                break
            query = replace(query, page_token=page.next_page_token)
            if to_add:
                await store.insert(new_execution(created_time=at(to_add.pop())), notebook=b"")
            if to_delete:
                await store.delete(to_delete.pop())
        await store.close()

        shown_ids = [execution.id for execution in shown]
        assert len(shown_ids) == len(set(shown_ids))
        assert {execution.id for execution in first} - gone <= set(shown_ids)
        moments = [(execution.created_time, execution.id) for execution in shown]
        assert moments == sorted(moments, reverse=descending)

    jp_asyncio_loop.run_until_complete(scenario())
