"""Those who follow a run, on a journal and a store, whatever happens to both."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from jupyter_exec_ext.core.errors import (
    ExecutionNotFoundError,
    ServerStoppingError,
    StoreUnavailableError,
    TooManyError,
)
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import Event, EventType
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.engine.outputs import OutputFold
from jupyter_exec_ext.services.events import closing_events, encode_event, encode_events
from jupyter_exec_ext.services.following import Follower, Following, LogFold
from jupyter_exec_ext.services.journal import Journal, rows_of
from jupyter_exec_ext.services.live import Live
from jupyter_exec_ext.services.log_reader import BATCH_BYTES
from jupyter_exec_ext.store.store import Store
from tests.store.builders import eventually, locked, new_execution, new_instance, running


class Run:
    """A run of this process, without a kernel."""

    def __init__(self, store: Store, **limits: Any) -> None:
        self.store = store
        self.live: Live | None = Live(execution=running(new_execution()), on_state=lambda _: None)
        self.id = self.live.execution.id
        self.journal = self.live.journal = Journal(
            self.id,
            store=store,
            fold=OutputFold(2, max_stream_bytes=10_000_000),
            limits=Limits(**limits),
        )
        self.following = Following(store=store, live_of=lambda _: self.live, max_streams=4)

    def print(self, text: str, *, cell: int = 0) -> None:
        content = {"name": "stdout", "text": text}
        self.journal.emit(EventType.STREAM, content, cell_index=cell)

    async def end(self) -> None:
        """Store the end, as the run service does."""
        assert self.live is not None
        final = advance(self.live.execution, State.SUCCEEDED)
        entries, drop = self.journal.take()
        closing = closing_events(final, after=self.journal.last_number)
        events = [*await rows_of(entries), *encode_events(closing)]
        await self.store.finish(final, result=b"{}", events=events, drop=drop)
        live, self.live = self.live, None
        live.change_to(final)

    async def read_all(self, follower: Follower, *, pause: float = 0) -> list[Event]:
        events: list[Event] = []
        with anyio.fail_after(30):
            while not follower.has_ended:
                events += await follower.read(seconds=5)
                await anyio.sleep(pause)
        return events


NewRun = Callable[..., Awaitable[Run]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "executions.db"


@pytest.fixture
def new_run(path: Path, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[NewRun]:
    """Make stored runs; limits come as keyword arguments."""
    store = Store(f"sqlite:///{path}", new_instance(), busy_timeout_seconds=0.1)

    async def make(**limits: Any) -> Run:
        run = Run(store, **limits)
        assert run.live is not None
        await store.insert(run.live.execution, notebook=b"{}")
        return run

    yield make
    jp_asyncio_loop.run_until_complete(store.close())


def text_of(events: list[Event]) -> str:
    return LogFold().add(events).decode()


@pytest.mark.parametrize("seed", range(5))
async def test_all_who_follow_read_the_same(new_run: NewRun, seed: int) -> None:
    """Fast or slow, from memory or from the store, from the start or again and again."""
    run, chance = await new_run(), random.Random(seed)
    printed = []

    async def publish() -> None:
        for number in range(150):
            printed.append(f"{number};" * chance.choice([1, 10, 10_000]))
            run.print(printed[-1], cell=chance.randrange(2))
            match chance.randrange(8):
                case 0:
                    await run.journal.flush()
                case 1:
                    run.journal.put_back(*run.journal.take())
                case 2:
                    run.journal.tell(EventType.PROGRESS, {"done": number})
                case 3:
                    content = {"comm_id": "c", "data": {}, "buffers": [], "msg_type": "comm_msg"}
                    run.journal.emit(EventType.COMM, content, cell_index=0)
                case 4:
                    await anyio.sleep(chance.random() / 20)
        await run.end()

    async def follow(events: list[Event], pause: float) -> None:
        with run.following.follow(run.id) as follower:
            events += await run.read_all(follower, pause=pause)

    async def come_again(events: list[Event]) -> None:
        while not events or events[-1].type is not EventType.END:
            follower = run.following._follower(
                run.id, after=events[-1].number if events else None, is_following=True
            )
            events += await follower.read(seconds=5)

    fast, slow, again = [], [], []  # type: ignore[var-annotated]
    async with anyio.create_task_group() as group:
        group.start_soon(follow, fast, 0)
        group.start_soon(follow, slow, 0.1)
        group.start_soon(come_again, again)
        group.start_soon(publish)

    stored = await run.read_all(run.following.so_far(run.id))
    for events in (fast, slow, again):
        assert (events[0].number, events[0].content) == (0, {"state": "pending"})
        assert [replace(event, published_bytes=0) for event in events[1:]] == [
            replace(event, published_bytes=0) for event in stored
        ]
    assert text_of(stored) == "".join(printed)
    assert {EventType.GAP, EventType.COMM} & {event.type for event in stored} == set()


async def test_one_who_is_slow_finds_a_gap_where_retention_cut(new_run: NewRun) -> None:
    """Who was fast has read what is lost; nobody waits for what does not come."""
    run = await new_run(max_stream_bytes=4_000)
    with run.following.follow(run.id) as fast, run.following.follow(run.id) as slow:
        seen = await slow.read(seconds=0)
        read = []
        for number in range(200):
            run.print(f"{number:099}\n", cell=number % 2)
            await run.journal.flush()
            read += await fast.read(seconds=0)
        with anyio.fail_after(10):
            seen += await slow.read(seconds=5)
            while text_of(seen)[-4:] != "199\n":
                seen += await slow.read(seconds=5)
        await run.end()
        seen += await run.read_all(slow)

    gaps = [event.content["lost"] for event in seen if event.type is EventType.GAP]
    assert sum(gaps) + len([e for e in seen if e.type is EventType.STREAM]) == 200
    assert EventType.GAP not in [event.type for event in read]
    assert "output left out" in text_of(seen)


async def test_what_is_not_written_yet_may_all_be_dropped(new_run: NewRun) -> None:
    """A reader behind what memory holds goes on there, when the store has nothing in between."""
    run = await new_run()
    run.journal.tell(EventType.STATE, {"state": "running"})
    run.journal.discard()
    run.journal.tell(EventType.PROGRESS, {"done": 1})

    with run.following.follow(run.id) as follower, anyio.fail_after(5):
        events = await follower.read(seconds=5)

    assert [(event.number, event.type) for event in events[1:]] == [
        (1, EventType.GAP),
        (2, EventType.PROGRESS),
    ]


async def test_a_read_holds_a_batch(new_run: NewRun) -> None:
    """From the store and from memory."""
    run = await new_run()
    for number in range(3):
        for _ in range(60):
            run.print("x" * 50_000, cell=number % 2)
        if number < 2:
            await run.journal.flush()

    follower, count = run.following.so_far(run.id), 0
    while not follower.has_ended:
        events = await follower.read(seconds=0)
        count += len(text_of(events))
        assert sum(len(e.content.get("text", "")) for e in events) < BATCH_BYTES + 150_000
    assert count == 180 * 50_000


async def test_following_survives_a_store_that_fails(new_run: NewRun, path: Path) -> None:
    """News come from memory; what is only in the store comes when it is back."""
    run = await new_run()
    run.print("a" * 2_000_000)
    await run.journal.flush()
    with run.following.follow(run.id) as old, run.following.follow(run.id) as new:
        assert len(await run.read_all(run.following.so_far(run.id))) > 30
        old_events = await old.read(seconds=0)
        while await new.read(seconds=0):
            pass
        with locked(path):
            run.print("b")
            with pytest.raises(StoreUnavailableError):
                await run.journal.flush()
            assert text_of(await new.read(seconds=1)) == "b"
        await eventually(run.journal.flush, StoreUnavailableError)
        await run.end()
        old_events += await run.read_all(old)
    assert text_of(old_events) == "a" * 2_000_000 + "b"


@pytest.mark.parametrize("has_journal", [True, False])
async def test_an_end_that_cannot_be_stored_is_told(new_run: NewRun, has_journal: bool) -> None:
    """It is final all the same, and everybody who looks sees that."""
    run = await new_run()
    assert run.live is not None
    if not has_journal:
        run.live.journal = None
    with run.following.follow(run.id) as follower:
        await follower.read(seconds=0)
        run.journal.tell(EventType.PROGRESS, {"done": 1})
        run.live.change_to(advance(run.live.execution, State.CANCELLED))
        events = await run.read_all(follower)

    number = 2 if has_journal else 1
    assert events[-1].content == {"state": "cancelled"}
    assert events[-1].number == number
    with run.following.follow(run.id, after=number) as follower:
        assert await follower.read(seconds=0) == []
        assert follower.has_ended


async def test_a_gap_before_an_end_does_not_say_how_much(new_run: NewRun) -> None:
    """Nobody knows what a server that was killed had in memory."""
    run = await new_run()
    assert run.live is not None
    final = advance(run.live.execution, State.CANCELLED)
    closing = closing_events(final, after=1_000)
    await run.store.finish(final, result=b"{}", events=[*map(encode_event, closing)])
    run.live = None

    events = await run.read_all(run.following.so_far(run.id))

    assert [(event.number, event.content) for event in events] == [
        (1_000, {}),
        (1_001, {"state": "cancelled"}),
    ]


async def test_following_what_is_not_there(new_run: NewRun, path: Path) -> None:
    """The first read tells, and so does a store that cannot be asked."""
    run = await new_run()
    run.live = None
    with run.following.follow("x") as follower, pytest.raises(ExecutionNotFoundError):
        await follower.read(seconds=0)
    with run.following.follow(run.id) as follower:
        await run.store.close()
        with pytest.raises(StoreUnavailableError):
            await follower.read(seconds=0)


async def test_closing_ends_all_in_time(new_run: NewRun) -> None:
    """Those who wait at once, those who are busy after the time; nobody comes anew."""
    run = await new_run()
    ended = []

    async def follow(name: str) -> None:
        with run.following.follow(run.id) as follower:
            await follower.read(seconds=0)
            if name == "busy":
                await anyio.sleep_forever()
            await follower.read(seconds=60)
        ended.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(follow, "busy")
        group.start_soon(follow, "waiting")
        await anyio.sleep(0.1)
        with pytest.raises(TooManyError), run.following.follow(run.id):
            pass
        start = time.monotonic()
        await run.following.close(timeout_seconds=0.5)
        assert time.monotonic() - start < 1
    assert ended == ["waiting", "busy"]
    with pytest.raises(ServerStoppingError), run.following.follow(run.id):
        pass


async def test_idle_readers_ask_no_database(
    new_run: NewRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has read all of a run of this process waits, and reads news from memory."""
    run = await new_run()
    with run.following.follow(run.id) as follower:
        await follower.read(seconds=0)
        monkeypatch.setattr(run.store, "events", None)
        assert await follower.read(seconds=0.2) == []
        run.print("a")
        assert text_of(await follower.read(seconds=1)) == "a"
