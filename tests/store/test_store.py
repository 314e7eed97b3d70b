"""What every database keeps: the record, its result, its notebook and its events."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from jupyter_exec_ext.core.errors import (
    ConflictError,
    ExecutionNotFoundError,
    NotFinalError,
    StoreUnavailableError,
)
from jupyter_exec_ext.core.models import Execution, ExecutionError, NotebookSource, Progress
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.store.store import Filters, ListQuery, Store

from .builders import START, connected, ended, new_execution, new_instance, running
from .conftest import NewStore

UNKNOWN = "00000000-0000-0000-0000-000000000000"
NASTY = "nul \0, lone \ud83d and \udc80, back\\slash, emoji 🦉, escape \\x00"


def path_of(execution: Execution) -> str:
    assert isinstance(execution.source, NotebookSource)
    return execution.source.path


async def test_what_was_inserted_is_read_back(store: Store) -> None:
    """A record comes back equal, with its notebook, and has no result yet."""
    execution = new_execution(labels={"team": "a", "empty": ""}, timeout_seconds=1.5)

    await store.insert(execution, notebook=b"source")

    assert await store.get(execution.id) == execution
    assert await store.get_result(execution.id) is None
    assert await store.get_notebook(execution.id) == b"source"


async def test_an_id_is_taken_once(store: Store) -> None:
    """A second execution with the same id is refused and changes nothing."""
    execution = new_execution()
    await store.insert(execution, notebook=b"first")

    with pytest.raises(ConflictError):
        await store.insert(replace(execution, description="2"), notebook=b"second")

    assert await store.get(execution.id) == execution
    assert await store.get_notebook(execution.id) == b"first"


async def test_an_update_replaces_the_record(store: Store) -> None:
    """What a run changes is stored, and the filters see it."""
    execution = new_execution()
    await store.insert(execution, notebook=b"")
    changed = replace(running(execution), progress=Progress(done=1, total=3))

    assert await store.update(changed)

    assert await store.get(execution.id) == changed
    page = await store.list(ListQuery(filters=Filters(state=(State.RUNNING,))))
    assert page.executions == [changed]


async def test_the_end_is_stored_whole(store: Store) -> None:
    """Final record, result, notebook and last events come together."""
    execution = new_execution()
    await store.insert(execution, notebook=b"source")
    await store.append_events(execution.id, [(1, b"one"), (2, b"two")])
    final = ended(execution)

    assert await store.finish(final, result=b"result", events=[(3, b"three")], drop=[1])

    assert await store.get(execution.id) == final
    assert await store.get_result(execution.id) == b"result"
    assert await store.events(execution.id) == [(2, b"two"), (3, b"three")]


async def test_a_final_execution_never_changes(store: Store) -> None:
    """After the end no change, no second end and no event is taken."""
    execution = new_execution()
    final = ended(execution)
    await store.insert(execution, notebook=b"source")
    await store.finish(final, result=b"first", events=[(1, b"one")])

    assert not await store.update(running(execution))
    assert not await store.finish(
        replace(final, state=State.FAILED), result=b"2", events=[(2, b"two")]
    )
    await store.append_events(execution.id, [(3, b"three")], drop=[1])

    assert await store.get(execution.id) == final
    assert await store.get_result(execution.id) == b"first"
    assert await store.events(execution.id) == [(1, b"one")]


async def test_a_failed_end_leaves_nothing_behind(store: Store) -> None:
    """When any part of the end cannot be stored, no part of it is."""
    execution = new_execution()
    await store.insert(execution, notebook=b"source")

    with pytest.raises(Exception, match=r".+"):
        await store.finish(
            ended(execution),
            result=b"result",
            events=[(1, b"one"), (2, None)],  # type: ignore[list-item]
        )

    assert await store.get(execution.id) == execution
    assert await store.get_result(execution.id) is None
    assert await store.events(execution.id) == []
    assert await store.finish(ended(execution), result=b"result")


async def test_states_go_through_the_right_door(store: Store) -> None:
    """`update` takes no final state and `finish` no other."""
    execution = new_execution()
    await store.insert(execution, notebook=b"")

    with pytest.raises(ValueError, match="finish"):
        await store.update(ended(execution))
    with pytest.raises(ValueError, match="final"):
        await store.finish(execution, result=b"")


async def test_events_come_in_pages(store: Store) -> None:
    """A reader gets the events above a number, in order and at most as many as it asked for."""
    execution = new_execution()
    await store.insert(execution, notebook=b"")
    await store.append_events(execution.id, [(n, b"%d" % n) for n in (3, 1, 2)])
    await store.append_events(execution.id, [(4, b"4")])

    assert await store.events(execution.id, limit=2) == [(1, b"1"), (2, b"2")]
    assert await store.events(execution.id, after=2) == [(3, b"3"), (4, b"4")]
    assert await store.events(execution.id, after=10**30) == []
    assert await store.events(execution.id, after=-(10**30), limit=1) == [(1, b"1")]
    assert await store.events(execution.id, limit=0) == []


async def test_the_same_events_can_be_appended_again(store: Store) -> None:
    """A call whose answer was lost can be repeated; a dropped number can be given anew."""
    execution = new_execution()
    await store.insert(execution, notebook=b"")
    await store.append_events(execution.id, [(n, b"event") for n in range(1, 1001)])

    for _ in range(2):
        await store.append_events(execution.id, [(600, b"gap"), (1001, b"new")], drop=range(1, 601))

    rows = await store.events(execution.id)
    assert [number for number, _ in rows] == list(range(600, 1002))
    assert rows[0] == (600, b"gap")


async def test_deleting_removes_every_trace(store: Store, url: str) -> None:
    """Only a final execution is deleted, once, and no row of any table remains."""
    execution = new_execution(labels={"a": "b"})
    await store.insert(execution, notebook=b"")
    with pytest.raises(NotFinalError):
        await store.delete(execution.id)
    await store.finish(ended(execution), result=b"", events=[(1, b"")])

    await store.delete(execution.id)

    with pytest.raises(ExecutionNotFoundError):
        await store.delete(execution.id)
    tables = ("executions", "label_terms", "results", "notebooks", "events")
    with connected(url) as connection:
        for table in tables:
            assert connection.scalar(text(f"SELECT count(*) FROM exec_{table}")) == 0


async def test_an_unknown_id_is_not_found(store: Store) -> None:
    """Every method says so, also for an id that no database could hold."""
    for execution_id in (UNKNOWN, "", "a\0b", "\ud800", "x" * 10_000):
        for attempt in (
            store.get,
            store.get_result,
            store.get_notebook,
            store.events,
            store.delete,
            store.adopt,
        ):
            with pytest.raises(ExecutionNotFoundError):
                await attempt(execution_id)
        with pytest.raises(ExecutionNotFoundError):
            await store.append_events(execution_id, [(1, b"")])
        with pytest.raises(ExecutionNotFoundError):
            await store.update(new_execution(id=execution_id))
        with pytest.raises(ExecutionNotFoundError):
            await store.finish(ended(new_execution(id=execution_id)), result=b"")


async def test_servers_see_nothing_of_each_other(url: str, new_store: NewStore) -> None:
    """Whatever one server stores in a shared database, another neither reads nor changes."""
    mine, other = new_store(url), new_store(url, new_instance("other"))
    execution = new_execution(labels={"a": "b"})
    await mine.insert(execution, notebook=b"")
    final = new_execution()
    await mine.insert(final, notebook=b"")
    await mine.finish(ended(final, expire_time=START), result=b"")
    await mine.close()

    assert (await other.list(ListQuery())).executions == []
    assert await other.lost() == []
    for attempt in (other.get, other.get_result, other.get_notebook, other.events, other.adopt):
        with pytest.raises(ExecutionNotFoundError):
            await attempt(execution.id)
    with pytest.raises(ExecutionNotFoundError):
        await other.update(execution)
    with pytest.raises(ExecutionNotFoundError):
        await other.delete(final.id)
    assert await other.delete_where(Filters()) == 0
    later = START + timedelta(days=100)
    assert await other.purge(now=later, max_records=0, min_age=timedelta()) == 0
    third = new_store(url)
    assert len((await third.list(ListQuery())).executions) == 2


async def test_any_text_is_kept(store: Store) -> None:
    """NUL, lone surrogates and long text survive in records, and filters find them."""
    execution = new_execution(
        NASTY,
        session_id=NASTY,
        owner=NASTY,
        description=NASTY,
        labels={NASTY: NASTY, "long": "ü" * 10_000},
        error=ExecutionError(code="CodeError", message=NASTY, traceback=[NASTY]),
    )
    await store.insert(execution, notebook=b"\0\xff")
    await store.insert(new_execution("ü" * 10_000), notebook=b"")

    assert await store.get(execution.id) == execution
    assert await store.get_notebook(execution.id) == b"\0\xff"
    for filters in (
        Filters(path=NASTY),
        Filters(session_id=NASTY),
        Filters(owner=NASTY),
        Filters(label=(NASTY, NASTY)),
        Filters(label=("long", "ü" * 10_000)),
    ):
        assert (await store.list(ListQuery(filters=filters))).executions == [execution]
    for path in (NASTY.replace("\0", "\\x00"), "ü" * 9_999):
        assert (await store.list(ListQuery(filters=Filters(path=path)))).executions == []


async def test_a_closed_store_says_so(store: Store) -> None:
    """After `close` everything is refused, and closing again does nothing."""
    await store.open()
    await store.open()

    await store.close()
    await store.close()

    with pytest.raises(StoreUnavailableError, match="closed"):
        await store.list(ListQuery())


async def test_a_record_that_cannot_be_read_hides_no_other(
    store: Store, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A list leaves a broken record out, and no message repeats what it holds."""
    broken, whole = new_execution(), new_execution()
    for execution in (broken, whole):
        await store.insert(execution, notebook=b"")
    with connected(url) as connection:
        connection.execute(
            text("UPDATE exec_executions SET record = :record WHERE id = :id"),
            {"record": b'{"id": "secret-content"}', "id": broken.id},
        )

    assert (await store.list(ListQuery())).executions == [whole]
    with pytest.raises(StoreUnavailableError) as caught:
        await store.get(broken.id)

    assert "secret-content" not in caplog.text + str(caught.value)


async def test_delete_where_removes_only_final_ones(store: Store) -> None:
    """A bulk delete takes what its filters choose and leaves what still runs."""
    for path in ("a", "a", "b"):
        execution = new_execution(path)
        await store.insert(execution, notebook=b"")
        await store.finish(ended(execution), result=b"")
    await store.insert(new_execution("a"), notebook=b"")

    assert await store.delete_where(Filters(path="a")) == 2

    left = (await store.list(ListQuery())).executions
    assert sorted(path_of(execution) for execution in left) == ["a", "b"]
    assert await store.delete_where(Filters()) == 1


async def test_purge_removes_what_expired(store: Store) -> None:
    """Expired executions go, but none that is not final or ended less than the minimum ago."""
    old = new_execution()
    fresh = new_execution()
    kept = new_execution()
    for execution, end, expire in (
        (old, START, START + timedelta(hours=30)),
        (fresh, START + timedelta(hours=20), START + timedelta(hours=30)),
        (kept, START, START + timedelta(hours=50)),
    ):
        await store.insert(execution, notebook=b"")
        await store.finish(ended(execution, at=end, expire_time=expire), result=b"")
    alive = new_execution()
    await store.insert(alive, notebook=b"")
    day = timedelta(hours=24)

    now = START + timedelta(hours=40)
    assert await store.purge(now=now, max_records=100, min_age=day) == 1

    left = {execution.id for execution in (await store.list(ListQuery())).executions}
    assert left == {fresh.id, kept.id, alive.id}


async def test_purge_removes_the_oldest_above_the_limit(store: Store) -> None:
    """Above the limit those that ended first go, but none younger than the minimum."""
    executions = [new_execution() for _ in range(5)]
    for hours, execution in enumerate(executions):
        await store.insert(execution, notebook=b"")
        end = START + timedelta(hours=hours)
        await store.finish(ended(execution, at=end), result=b"")

    now = START + timedelta(hours=10)
    assert await store.purge(now=now, max_records=3, min_age=timedelta(hours=1)) == 2
    left = {execution.id for execution in (await store.list(ListQuery())).executions}
    assert left == {execution.id for execution in executions[2:]}

    assert await store.purge(now=now, max_records=0, min_age=timedelta(hours=7)) == 2


async def test_many_are_deleted_at_once(store: Store) -> None:
    """A bulk delete is not limited by how many values a statement takes."""
    for _ in range(450):
        execution = new_execution()
        await store.insert(execution, notebook=b"")
        await store.finish(ended(execution), result=b"")

    assert await store.delete_where(Filters()) == 450
