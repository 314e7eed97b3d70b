"""Leases: whose executions may be taken over, and whose must not be touched."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from jupyter_exec_ext.core.models import Execution
from jupyter_exec_ext.store.leases import Instance, Leases, is_running
from jupyter_exec_ext.store.store import ListQuery, Store

from .builders import connected, ended, gone_process, new_execution, new_instance, running
from .conftest import NewStore

Age = Callable[[Instance, float], None]
FAR: dict[str, Any] = {"host": "another-host", "pid": 1, "process_start_time": 0.0}


async def stored(store: Store, **fields: Any) -> Execution:
    execution = new_execution(**fields)
    await store.insert(execution, notebook=b"")
    return execution


async def test_a_living_server_is_never_touched(url: str, new_store: NewStore) -> None:
    """What another live instance of the same server runs is not lost, adopted or changed."""
    first, second = new_store(url), new_store(url)
    execution = await stored(first)

    assert await second.lost() == []
    assert not await second.adopt(execution.id)
    assert not await second.update(running(execution))
    assert not await second.finish(ended(execution), result=b"")
    await second.append_events(execution.id, [(1, b"")])
    await second.drop_dead_leases()

    assert await first.events(execution.id) == []
    assert await first.update(running(execution))
    assert await first.lost() == []


async def test_a_closed_store_leaves_its_executions(url: str, new_store: NewStore) -> None:
    """Without a lease what is not final is lost, what is final is not."""
    first, second = new_store(url), new_store(url)
    waiting = await stored(first)
    finished = await stored(first)
    await first.finish(ended(finished), result=b"")

    await first.close()

    assert await second.lost() == [waiting.id]
    assert await second.finish(ended(waiting), result=b"")
    assert await second.lost() == []


async def test_a_gone_process_is_noticed_at_once(url: str, new_store: NewStore) -> None:
    """On the same host the end of the process counts, however fresh its heartbeat is."""
    pid, start = gone_process()
    dead = new_store(url, new_instance(pid=pid, process_start_time=start))
    execution = await stored(dead)

    assert await new_store(url).lost() == [execution.id]


async def test_a_reused_process_id_is_no_sign_of_life(url: str, new_store: NewStore) -> None:
    """A process with the same id that started at another time is another process."""
    dead = new_store(url, new_instance(process_start_time=1_000_000.0))
    execution = await stored(dead)

    assert await new_store(url).lost() == [execution.id]


async def test_a_suspended_server_of_the_same_host_lives(
    url: str, new_store: NewStore, age: Age
) -> None:
    """After a laptop slept all heartbeats are old; the process itself tells that it lives."""
    instance = new_instance()
    await stored(new_store(url, instance))
    age(instance, 7_200)

    assert await new_store(url).lost() == []


async def test_another_host_is_known_by_its_heartbeat(
    url: str, new_store: NewStore, age: Age
) -> None:
    """Where the process cannot be asked, a heartbeat of more than a minute ago means death."""
    instance = new_instance(**FAR)
    remote = new_store(url, instance)
    execution = await stored(remote)
    store = new_store(url)
    assert await store.lost() == []
    age(instance, 45)
    assert await store.lost() == []

    age(instance, 30)
    assert await store.lost() == [execution.id]

    await remote.heartbeat()
    assert await store.lost() == []


async def test_a_heartbeat_from_the_future_counts_for_a_minute(
    url: str, new_store: NewStore, age: Age
) -> None:
    """A lease whose clock was ahead dies when its heartbeat stands still by our clock."""
    instance = new_instance(**FAR)
    await new_store(url, instance).open()
    age(instance, -7_200)
    moment = 0.0
    leases = Leases(new_instance(), monotonic=lambda: moment)

    for moment, lives in ((0.0, True), (59.0, True), (61.0, False)):  # noqa: B007
        with connected(url) as connection:
            assert (instance.id in leases.living(connection)) is lives
    age(instance, -1)
    with connected(url) as connection:
        assert instance.id in leases.living(connection)


async def test_exactly_one_adopts(url: str, new_store: NewStore) -> None:
    """Of several servers that want a lost execution one gets it, and the others see it live."""
    first = new_store(url)
    execution = await stored(first)
    await first.close()
    others = [new_store(url) for _ in range(5)]
    for other in others:
        await other.open()

    answers = await asyncio.gather(*(other.adopt(execution.id) for other in others))

    (winner,) = [other for other, answer in zip(others, answers, strict=True) if answer]
    for other in others:
        assert await other.lost() == []
        assert await other.update(running(execution)) is (other is winner)


async def test_who_was_taken_for_dead_changes_nothing_any_more(
    url: str, new_store: NewStore, age: Age
) -> None:
    """An instance that comes back after its execution was adopted is refused."""
    instance = new_instance(**FAR)
    slow, other = new_store(url, instance), new_store(url)
    execution = await stored(slow)
    age(instance, 61)
    assert await other.adopt(execution.id)

    await slow.heartbeat()

    assert not await slow.update(running(execution))
    assert not await slow.finish(ended(execution), result=b"")
    assert await other.update(running(execution))


async def test_only_what_is_not_final_is_adopted(url: str, new_store: NewStore) -> None:
    """The end of an execution is its end, whoever wants it."""
    first, second = new_store(url), new_store(url)
    execution = await stored(first)
    await first.finish(ended(execution), result=b"")
    await first.close()

    assert not await second.adopt(execution.id)


async def test_dead_leases_are_dropped(url: str, new_store: NewStore) -> None:
    """Leases of the dead go, those of the living and of other servers stay."""
    pid, start = gone_process()
    dead: dict[str, Any] = {"pid": pid, "process_start_time": start}
    other_dead = new_instance("other", **dead)
    living, asking = new_instance(), new_instance()
    for instance in (new_instance(**dead), other_dead, living):
        await new_store(url, instance).open()
    store = new_store(url, asking)

    await store.drop_dead_leases()

    with connected(url) as connection:
        left = set(connection.scalars(text("SELECT instance_id FROM exec_leases")))
    assert left == {other_dead.id, living.id, asking.id}


async def test_a_dropped_lease_comes_back_with_the_next_heartbeat(
    url: str, new_store: NewStore
) -> None:
    """An instance that others took for dead is alive again once it says so."""
    first, second = new_store(url), new_store(url)
    execution = await stored(first)
    with connected(url) as connection:
        connection.execute(text("DELETE FROM exec_leases"))
    assert await second.lost() == [execution.id]

    await first.heartbeat()

    assert await second.lost() == []


async def test_opening_alone_takes_the_lease(url: str, new_store: NewStore) -> None:
    """An instance is known from the moment its store is open."""
    instance = Instance.of_this_process("server")
    await new_store(url, instance).open()

    with connected(url) as connection:
        row = connection.execute(text("SELECT * FROM exec_leases")).one()
    assert (row.instance_id, row.pid, row.host) == (instance.id, instance.pid, instance.host)
    assert is_running(row.pid, row.process_start_time)


@pytest.mark.parametrize("offset", [-1.5, 0, 1.5])
def test_small_differences_of_clocks_do_not_kill(offset: float) -> None:
    """The start time of a process is read with an error of a second or so."""
    instance = new_instance()

    assert is_running(instance.pid, instance.process_start_time + offset)


async def test_reading_needs_no_lease_of_its_own(url: str, new_store: NewStore) -> None:
    """What an instance runs is never lost to itself, even when somebody removed its lease."""
    store = new_store(url)
    await stored(store)
    with connected(url) as connection:
        connection.execute(text("DELETE FROM exec_leases"))

    assert await store.lost() == []
    assert len((await store.list(ListQuery())).executions) == 1
