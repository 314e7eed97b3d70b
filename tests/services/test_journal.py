"""The account of a run while it runs, on a real store in an SQLite file."""

import asyncio
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_exec_ext.core.errors import StoreUnavailableError
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.models import Event, EventType, ExecutionError, Truncation
from jupyter_exec_ext.engine.areas import PART_BYTES
from jupyter_exec_ext.engine.events import event_of
from jupyter_exec_ext.engine.outputs import MAX_PLACES, OutputFold
from jupyter_exec_ext.engine.sizes import counted_bytes_of
from jupyter_exec_ext.services.events import (
    closing_events,
    decode_event,
    encode_events,
    published_bytes_of,
)
from jupyter_exec_ext.services.journal import (
    CLOSE_SECONDS,
    MERGE_BYTES,
    RECENT_BYTES,
    Journal,
    rows_of,
)
from jupyter_exec_ext.store.store import Store
from tests.store.builders import (
    ended,
    eventually,
    locked,
    new_execution,
    new_instance,
    running,
)

CELLS = 4


class Account:
    """A journal with what it writes to."""

    def __init__(self, store: Store, **limits: Any) -> None:
        self.store = store
        self.limits = Limits(**limits)
        self.execution = running(new_execution())
        self.fold = OutputFold(CELLS, max_stream_bytes=self.limits.max_stream_bytes)
        self.journal = Journal(self.execution.id, store=store, fold=self.fold, limits=self.limits)

    def print(self, *texts: str, cell: int = 0, name: str = "stdout", **fields: str) -> None:
        for text in texts:
            content = {"name": name, "text": text, **fields}
            self.journal.emit(EventType.STREAM, content, cell_index=cell)

    def show(self, data: dict[str, Any], *, display_id: str | None = None, cell: int = 0) -> None:
        """Display *data*; its size is that of `shown_size`."""
        self.journal.emit(EventType.OUTPUT, display(data, display_id), cell_index=cell)

    def update(self, data: dict[str, Any], display_id: str) -> None:
        content = {**display(data, display_id), "msg_type": "update_display_data"}
        self.journal.emit(EventType.UPDATE, content, cell_index=0)

    def clear(self, *, wait: bool = False, cell: int = 0) -> None:
        content = {"msg_type": "clear_output", "wait": wait}
        self.journal.emit(EventType.CLEAR, content, cell_index=cell)

    def outputs(self, cell: int = 0) -> list[dict[str, Any]]:
        return [dict(output) for output in self.journal.cells([cell])[0].outputs]

    async def stored(self) -> list[Event]:
        rows = await self.store.events(self.execution.id, limit=1_000_000)
        events = [decode_event(row) for row in rows]
        assert [event.number for event in events] == [number for number, _ in rows]
        return events

    async def stored_text(self) -> list[str]:
        return [event.content["text"] for event in await self.stored()]


def display(data: dict[str, Any], display_id: str | None = None) -> dict[str, Any]:
    transient = {"transient": {"display_id": display_id}} if display_id else {}
    return {"data": data, "metadata": {}, **transient, "msg_type": "display_data"}


def size_of(content: dict[str, Any]) -> int:
    return len(msgspec.json.encode(content))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "executions.db"


NewAccount = Callable[..., Awaitable[Account]]


@pytest.fixture
def new_account(path: Path, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[NewAccount]:
    """Make accounts of stored executions; limits come as keyword arguments."""
    store = Store(f"sqlite:///{path}", new_instance(), busy_timeout_seconds=0.1)

    async def make(**limits: Any) -> Account:
        account = Account(store, **limits)
        await store.insert(account.execution, notebook=b"{}")
        return account

    yield make
    jp_asyncio_loop.run_until_complete(store.close())


@pytest.fixture
def account(new_account: NewAccount, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Account:
    """An account with the default limits."""
    return jp_asyncio_loop.run_until_complete(new_account())


@pytest.fixture
def small(new_account: NewAccount, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Account:
    """An account that keeps little."""
    making = new_account(max_stream_bytes=1_000, max_output_bytes=8_000, max_display_bytes=2_000)
    return jp_asyncio_loop.run_until_complete(making)


# Numbers, merging, grouping.


async def test_events_are_numbered_and_stored_as_they_came(account: Account) -> None:
    """Numbers count up from 1 without a hole, over several writes."""
    account.print("a", cell=0)
    account.show({"text/plain": "b"}, cell=1)
    await account.journal.flush()
    account.clear(cell=1)
    account.print("c", cell=2)
    await account.journal.flush()

    stored = await account.stored()
    assert [(event.number, event.type, event.cell_index) for event in stored] == [
        (1, EventType.STREAM, 0),
        (2, EventType.OUTPUT, 1),
        (3, EventType.CLEAR, 1),
        (4, EventType.STREAM, 2),
    ]
    assert stored[1].content == display({"text/plain": "b"})


async def test_nothing_is_written_before_a_flush_and_then_all_at_once(account: Account) -> None:
    """Taking events never waits for the store, and a flush of nothing writes nothing."""
    for number in range(1_000):
        account.print(f"{number}\n", cell=number % CELLS)
    assert await account.stored() == []

    await account.journal.flush()
    await account.journal.flush()

    assert await account.stored_text() == [f"{number}\n" for number in range(1_000)]


async def test_neighbouring_chunks_become_one_event(account: Account) -> None:
    """Of the same cell, stream and request; else each begins an event of its own."""
    account.print("a", "b\r", "c")
    account.print("d", name="stderr")
    account.print("e", "f", cell=1)
    account.print("g", cell=1, parent_id="other")
    account.show({})
    account.print("h", cell=1, parent_id="other")
    await account.journal.flush()

    stored = await account.stored()
    assert [event.content.get("text") for event in stored] == [
        "ab\rc",
        "d",
        "ef",
        "g",
        None,
        "h",
    ]


async def test_an_event_that_may_be_written_never_grows(account: Account) -> None:
    """A chunk after a write begins a new event, also when that write failed."""
    account.print("a")
    await account.journal.flush()
    account.print("b")
    account.journal.put_back(*account.journal.take())
    account.print("c")
    await account.journal.flush()

    assert await account.stored_text() == ["a", "b", "c"]


async def test_events_stay_below_a_size_whatever_the_chunks(account: Account) -> None:
    """Small chunks are merged up to it, and a huge chunk is divided, losing nothing."""
    account.print(*("0123456789" for _ in range(20_000)))
    huge = "☃" * 200_000
    account.print(huge, cell=1)
    await account.journal.flush()

    stored = await account.stored()
    texts = [event.content["text"] for event in stored if event.cell_index == 0]
    assert "".join(texts) == "0123456789" * 20_000
    assert MERGE_BYTES <= max(map(len, texts)) <= MERGE_BYTES + 10
    assert len(texts) == 4
    texts = [event.content["text"] for event in stored if event.cell_index == 1]
    assert "".join(texts) == huge
    assert max(map(len, texts)) == MERGE_BYTES


async def test_the_content_given_is_not_changed(account: Account) -> None:
    """What a caller emitted stays as it was, when more is merged to it."""
    content = {"name": "stdout", "text": "a"}
    account.journal.emit(EventType.STREAM, content, cell_index=0)
    account.print("b")
    await account.journal.flush()

    assert content == {"name": "stdout", "text": "a"}


async def test_events_are_written_soon_after_they_come(account: Account) -> None:
    """`keep_written` writes what comes, group by group, until it is cancelled."""
    async with anyio.create_task_group() as group:
        group.start_soon(account.journal.keep_written)
        for count in range(1, 4):
            account.print("x", cell=count)

            async def is_stored(count: int = count) -> None:
                assert len(await account.stored()) == count

            await eventually(is_stored, AssertionError)
        group.cancel_scope.cancel()


# What is kept.


@pytest.mark.parametrize("is_flushed", [False, True])
async def test_of_much_text_the_head_and_the_tail_are_stored(
    small: Account, is_flushed: bool
) -> None:
    """Events between are forgotten, written or not; the numbers show the hole."""
    for number in range(200):
        small.print(f"{number:099}\n", cell=number % 2)
        if is_flushed:
            await small.journal.flush()
    await small.journal.flush()

    stored = await small.stored()
    assert [event.number for event in stored[:4]] == [1, 2, 3, 4]
    assert stored[4].number > 5
    texts = [event.content["text"] for event in stored]
    assert texts == [f"{number:099}\n" for number in (0, 1, 2, 3, 196, 197, 198, 199)]
    assert small.journal.truncated == Truncation(kept_bytes=1_000, total_bytes=20_000)


async def test_text_that_comes_faster_than_it_is_written_is_counted_and_its_end_kept(
    new_account: NewAccount,
) -> None:
    """A flood is not folded piece by piece: what is held of it is bounded, the count exact."""
    account = await new_account()
    line = "é" * 4_999 + "\n"
    tracemalloc.start()
    try:
        for number in range(3_000):
            account.print(f"{number:05}{line}", cell=number % 2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 50_000_000
    size = 5 + len(line.encode())
    truncated = account.journal.truncated
    assert truncated is not None
    assert truncated.total_bytes == 3_000 * size
    kept = account.journal.cells([0, 1])
    assert truncated.kept_bytes == pytest.approx(account.limits.max_stream_bytes, abs=10)
    for cell, last in zip(kept, (2_998, 2_999), strict=True):
        text = cell.outputs[0]["text"]
        assert text.startswith(f"{cell.cell_index:05}é")
        assert text.endswith(f"\n{last:05}{line}")
        assert text.count("bytes left out") == 1


async def test_what_follows_a_flood_comes_after_it(account: Account) -> None:
    """A display, a progress event and a reader see all text that was published before."""
    for number in range(20):
        account.print(f"{number:02}" + "x" * 999_998)

    account.show({"text/plain": "last"})

    events = account.journal.events_after(0, max_bytes=100_000_000)
    assert events is not None
    assert events[-1].content["data"] == {"text/plain": "last"}
    assert events[-2].content["text"].endswith("xxx")
    assert account.outputs()[-1]["data"] == {"text/plain": "last"}
    text = account.outputs()[0]["text"]
    assert text.startswith("00xx")
    assert "xx19xx" in text
    numbers = [event.number for event in events]
    assert numbers != list(range(1, len(numbers) + 1)), "no gap"


async def test_a_follower_is_woken_when_held_text_can_be_read(account: Account) -> None:
    """What is written soon after it came is news, also when nothing comes after it."""
    for _ in range(20):
        account.print("x" * 1_000_000)
    last_number = account.journal.last_number
    woken = anyio.Event()

    async def follow() -> None:
        while account.journal.last_number <= last_number:
            await account.journal.has_news.wait(10)
        woken.set()

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        group.start_soon(account.journal.keep_written)
        with anyio.fail_after(10):
            await woken.wait()
        group.cancel_scope.cancel()


async def test_a_huge_chunk_is_kept_head_and_tail_too(new_account: NewAccount) -> None:
    """One chunk above the limit does not fill the store, nor is it dropped whole."""
    account = await new_account(max_stream_bytes=4 * MERGE_BYTES)
    account.print("".join(f"{number:09}\n" for number in range(1_000_000)))
    await account.journal.flush()

    texts = await account.stored_text()
    assert texts[0].startswith("000000000\n")
    assert texts[-1].endswith("000999999\n")
    assert 2 * MERGE_BYTES <= sum(map(len, texts)) <= 5 * MERGE_BYTES
    total = 10_000_000
    assert account.journal.truncated == Truncation(kept_bytes=4 * MERGE_BYTES, total_bytes=total)


@pytest.mark.serial
def test_a_huge_chunk_needs_little_memory_beside_itself(account: Account) -> None:
    """It goes through all of this in pieces."""
    chunk = ("x" * 79 + "\n") * 2_500_000
    tracemalloc.start()
    try:
        account.print(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 50_000_000
    assert account.journal.truncated == Truncation(kept_bytes=10_000_000, total_bytes=200_000_000)


@pytest.mark.serial
def test_very_many_tiny_chunks_take_seconds(account: Account) -> None:
    """A program that prints character by character does not hold up the server."""
    start = time.perf_counter()
    for _ in range(100_000):
        account.print("x\n")
    seconds = time.perf_counter() - start

    # A hundred microseconds a chunk: ten times what it takes, for slow machines and coverage.
    assert seconds < 10


async def test_displays_are_kept_head_and_tail_in_the_store(small: Account) -> None:
    """What is cleared again and again is shown to the end, and does not fill the store."""
    for number in range(1_000):
        small.clear(wait=True)
        small.show({"text/plain": str(number)})
    await small.journal.flush()

    stored = await small.stored()
    assert stored[0].number == 1
    assert stored[-1].number == 2_000
    assert sum(size_of(event.content) for event in stored) <= 8_000
    assert small.outputs()[0]["data"] == {"text/plain": "999"}
    assert small.journal.truncated is None


async def test_the_number_of_stored_events_is_limited(new_account: NewAccount) -> None:
    """Tiny events count for more than their text, so that they do not fill the store."""
    account = await new_account(max_events=100)
    for number in range(1_000):
        account.print("x", cell=number % 2)
    await account.journal.flush()

    stored = await account.stored()
    assert 90 <= len(stored) <= 100
    assert (stored[0].number, stored[-1].number) == (1, 1_000)


# Large displays.

PNG = "iVBORw0KGgo" * 300


def test_large_parts_of_a_display_are_left_out_and_named(small: Account) -> None:
    """A picture above the limit is left out whole, never cut; small parts are shown."""
    small.show({"image/png": PNG, "text/plain": "<Figure>", "text/html": "<img>"})
    small.show({"image/png": PNG, "image/jpeg": PNG})

    first, second = small.outputs()
    assert first["data"] == {"text/plain": "<Figure>", "text/html": "<img>"}
    assert first["metadata"] == {"jupyter_exec_ext": {"left_out": ["image/png"]}}
    size = len(PNG) + 2
    assert second["data"] == {
        "text/plain": f"[image/png, {size} bytes, left out][image/jpeg, {size} bytes, left out]"
    }
    truncated = small.journal.truncated
    assert truncated is not None
    sizes = [
        size_of(display({"image/png": PNG, "text/plain": "<Figure>", "text/html": "<img>"})),
        size_of(display({"image/png": PNG, "image/jpeg": PNG})),
    ]
    assert truncated.total_bytes == sum(sizes)
    kept = [
        {"data": item["data"], "metadata": item["metadata"], "msg_type": "display_data"}
        for item in (first, second)
    ]
    assert truncated.kept_bytes == sum(map(size_of, kept))


def test_many_parts_that_are_too_much_together_leave_the_smaller_ones(small: Account) -> None:
    """Parts are left out from the largest on, until the rest fits."""
    small.show({f"text/x{number}": "y" * (200 + number) for number in range(12)})

    (output,) = small.outputs()
    left_out = [f"text/x{number}" for number in range(11, 3, -1)]
    assert output["metadata"]["jupyter_exec_ext"]["left_out"] == left_out
    assert list(output["data"]) == ["text/x0", "text/x1", "text/x2", "text/x3", "text/plain"]


def test_metadata_stays_beside_what_is_left_out_unless_it_is_large(small: Account) -> None:
    """The metadata of the other parts is theirs."""
    for metadata in ({"text/html": {"isolated": True}}, {"x": "y" * 3_000}):
        content = {**display({"image/png": PNG, "text/html": "h"}), "metadata": metadata}
        small.journal.emit(EventType.OUTPUT, content, cell_index=0)

    assert [output["metadata"] for output in small.outputs()] == [
        {"text/html": {"isolated": True}, "jupyter_exec_ext": {"left_out": ["image/png"]}},
        {"jupyter_exec_ext": {"left_out": ["image/png"]}},
    ]


def test_a_large_error_keeps_its_name_and_the_beginning_of_its_text(small: Account) -> None:
    """Whatever is in it, what is left is within the limit."""
    content = {
        "ename": "E" * 9_000,
        "evalue": "\x00" * 9_000,
        "traceback": ["t" * 9_000],
        "msg_type": "error",
    }
    small.journal.emit(EventType.OUTPUT, content, cell_index=0)

    (output,) = small.outputs()
    assert output["ename"] == "E" * 62
    assert output["evalue"] == "\x00" * 62
    assert output["traceback"] == ["[traceback left out]"]


def test_a_large_widget_message_is_left_out_whole(small: Account) -> None:
    """A part of a widget's state is no state; the loss is counted."""
    content = {
        "comm_id": "w",
        "data": {"state": {"_model_name": "X", "value": "v" * 3_000}},
        "buffers": [],
        "msg_type": "comm_open",
    }
    small.journal.emit(EventType.COMM, content, cell_index=0)

    assert small.journal.widget_metadata() == {}
    assert small.journal.truncated == Truncation(kept_bytes=0, total_bytes=size_of(content))


@pytest.mark.parametrize("part", ["data", "metadata"])
def test_a_display_of_many_small_lists_is_left_out(small: Account, part: str) -> None:
    """Its lists take more memory than their JSON, which alone would be within the limit."""
    lists: list[Any] = [[] for _ in range(100)]
    assert size_of(display({"application/json": lists})) < small.limits.max_display_bytes // 4
    content = display({"text/plain": "shown"})
    content[part] = {**content[part], "application/json": lists}

    small.journal.emit(EventType.OUTPUT, content, cell_index=0)

    (output,) = small.outputs()
    assert output["data"] == {"text/plain": "shown"}
    left_out = ["application/json"] if part == "data" else []
    assert output["metadata"] == {"jupyter_exec_ext": {"left_out": left_out}}
    assert small.journal.truncated is not None


def test_updates_of_many_small_lists_are_kept_within_the_limit(small: Account) -> None:
    """An update replaces what is shown, but its event stays in memory until it is written."""
    for _ in range(100):
        small.update({"application/json": [[]] * 20}, "shown nowhere")

    events = small.journal.events_after(0, max_bytes=1_000_000)
    assert events
    assert sum(counted_bytes_of(event.content) for event in events) <= 8_000


# How much is shown.


def test_outputs_above_the_limit_are_refused_and_counted(small: Account) -> None:
    """The first ones stay; later ones that fit no more are counted."""
    content = display({"text/plain": "x" * 1_000})
    for _ in range(20):
        small.show({"text/plain": "x" * 1_000})

    shown = len(small.outputs())
    assert shown == 8_000 // (PART_BYTES + 1_025) == 3
    assert small.journal.truncated == Truncation(
        kept_bytes=shown * size_of(content), total_bytes=20 * size_of(content)
    )


def test_room_comes_back_when_outputs_are_cleared(small: Account) -> None:
    """What was cleared is not shown any more; any number of outputs can follow each other."""
    for number in range(100):
        small.clear(wait=True)
        small.show({"text/plain": f"{number:01500}"})

    assert small.outputs()[0]["data"]["text/plain"].endswith("99")
    assert small.journal.truncated is None


def test_room_comes_back_when_an_output_is_replaced(small: Account) -> None:
    """A display that is updated a hundred times is as large as it is now."""
    small.show({"text/plain": ""}, display_id="id")
    for number in range(100):
        small.update({"text/plain": f"{number:01500}"}, "id")

    assert small.outputs()[0]["data"]["text/plain"].endswith("99")
    assert small.journal.truncated is None


def test_an_update_counts_for_each_output_that_shows_it(small: Account) -> None:
    """A hundred small displays with one id do not become a hundred large ones."""
    for _ in range(100):
        small.show({"text/plain": ""}, display_id="id")
    small.update({"text/plain": "x" * 1_500}, "id")

    assert {output["data"]["text/plain"] for output in small.outputs()} == {""}
    assert small.journal.truncated is not None
    small.update({"text/plain": "y"}, "id")
    assert {output["data"]["text/plain"] for output in small.outputs()} == {"y"}


def test_what_does_not_grow_is_always_taken(small: Account) -> None:
    """When no more fits, displays and widgets can still be replaced and outputs be cleared."""
    small.show({"text/plain": "step 1"}, display_id="id")
    while small.journal.truncated is None:
        small.show({"text/plain": "x" * 100}, cell=1)
    small.update({"text/plain": "step 2"}, "id")
    small.clear(wait=True, cell=1)
    small.show({"text/plain": "small"}, cell=1)
    small.show({"text/plain": "again"}, cell=1)

    assert small.outputs(0)[0]["data"]["text/plain"] == "step 2"
    assert [output["data"]["text/plain"] for output in small.outputs(1)] == ["small", "again"]


async def test_the_counts_are_exact(small: Account) -> None:
    """Kept and lost bytes add up to all that was published, text counted in UTF-8."""
    small.print("é" * 50 + "\n", "y" * 1_999 + "\n")
    small.print("z\n", name="stderr")
    content = display({"text/plain": "d"})
    small.show({"text/plain": "d"})

    total = 101 + 2_000 + 2 + size_of(content)
    assert small.journal.truncated == Truncation(
        kept_bytes=1_000 + size_of(content), total_bytes=total
    )
    shown = "".join(output.get("text", "") for output in small.outputs())
    gap = f"\n[... {total - 1_000 - size_of(content)} bytes left out ...]\n"
    assert len(shown.encode()) == 1_000 + len(gap)


# Code that fills the memory of the server.


HOSTILE_COUNT = 1_500
HOSTILE_OUTPUT_BYTES = 300_000
LONG = "x" * 2_000


def kernel_message(msg_type: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "header": {"msg_type": msg_type},
        "parent_header": {"msg_id": "request"},
        "content": content,
    }


def shown(**transient: str) -> dict[str, Any]:
    return kernel_message("display_data", {"data": {}, "metadata": {}, "transient": transient})


def widget(comm_id: str, state: dict[str, Any], **data: Any) -> dict[str, Any]:
    content = {
        "comm_id": comm_id,
        "target_name": "jupyter.widget",
        "data": {"state": state, **data},
    }
    return kernel_message("comm_open", content)


def output_widget(comm_id: str, **state: Any) -> dict[str, Any]:
    names = {"_model_module": "@jupyter-widgets/output", "_model_name": "OutputModel"}
    return widget(comm_id, {**names, **state})


ATTACKS: dict[str, Callable[[int], dict[str, Any]]] = {
    "empty outputs": lambda _: shown(),
    "display ids": lambda number: shown(display_id=f"{number}{LONG}"),
    "one display id": lambda _: shown(display_id="id"),
    "widgets": lambda number: widget(f"w{number}", {}),
    "long comm ids": lambda number: widget(f"{number}{LONG}", {}),
    "keys of one state": lambda number: widget("w", {f"{number}{LONG}": 0}),
    "short keys of one state": lambda number: widget("w", {f"{number:0100}": 0}),
    "paths of buffers": lambda number: {
        **widget("w", {}, buffer_paths=[[str(number), LONG]]),
        "buffers": [b""],
    },
    "output widgets": lambda number: output_widget(f"w{number}"),
    "outputs in a widget": lambda number: (
        output_widget("w", msg_id="request") if number == 0 else shown()
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_all_that_is_kept_counts(new_account: NewAccount, attack: str) -> None:
    """Names and ids as well, and the memory that a part takes which shows nothing."""
    account = await new_account(max_output_bytes=HOSTILE_OUTPUT_BYTES)
    tracemalloc.start()
    try:
        for number in range(HOSTILE_COUNT):
            event = event_of(ATTACKS[attack](number))
            assert event is not None
            account.journal.emit(*event, cell_index=0)
            account.journal.take()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert account.journal.truncated is not None
    assert account.fold.shown_bytes <= HOSTILE_OUTPUT_BYTES
    assert kept < 3 * HOSTILE_OUTPUT_BYTES


@pytest.mark.parametrize("is_opened_again", [False, True])
async def test_what_replaces_itself_takes_no_more_memory(
    account: Account, is_opened_again: bool
) -> None:
    """An Output widget captures one request, the last that it was set to."""

    def capture(number: int) -> None:
        message = output_widget("w", msg_id=f"{number:04}{LONG}")
        if number and not is_opened_again:
            message["header"]["msg_type"] = "comm_msg"
        event = event_of(message)
        assert event is not None
        account.journal.emit(*event, cell_index=0)
        account.journal.take()

    capture(0)
    tracemalloc.start()
    try:
        for number in range(1, 500):
            capture(number)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 100_000
    assert account.journal.truncated is None


def test_a_display_has_so_many_places(account: Account) -> None:
    """Each update changes all of them; what is left out is named, and later ones still count."""
    for number in range(2 * MAX_PLACES):
        account.show({"text/plain": str(number)}, display_id="id", cell=number % 2)

    assert len(account.outputs(0) + account.outputs(1)) == MAX_PLACES
    assert account.journal.truncated is not None
    account.update({"text/plain": "new"}, "id")
    assert {output["data"]["text/plain"] for output in account.outputs(0)} == {"new"}
    account.clear(wait=True)
    account.show({"text/plain": "again"}, display_id="id")
    assert [output["data"]["text/plain"] for output in account.outputs(0)] == ["again"]


def test_long_ids_are_cut() -> None:
    """They name the same display and the same widget as before."""
    display_event = event_of(shown(display_id=LONG))
    comm_event = event_of(widget(LONG, {}))
    assert display_event is not None
    assert comm_event is not None

    assert display_event[1]["transient"] == {"display_id": LONG[:1_000]}
    assert comm_event[1]["comm_id"] == LONG[:1_000]


# A store that fails.


async def test_a_failing_store_loses_and_doubles_nothing(account: Account, path: Path) -> None:
    """What could not be written is written later, once, in order, with what came meanwhile."""
    account.print("a")
    await account.journal.flush()
    with locked(path):
        for text in ("b", "c"):
            account.print(text)
            account.show({"text/plain": text})
            with pytest.raises(StoreUnavailableError):
                await account.journal.flush()
        account.print("d")
    await eventually(account.journal.flush, StoreUnavailableError)

    stored = await account.stored()
    assert [event.number for event in stored] == [1, 2, 3, 4, 5, 6]
    assert [event.content.get("text") for event in stored] == ["a", "b", None, "c", None, "d"]


async def test_a_write_that_was_done_but_reported_as_failed_is_not_done_twice(
    account: Account,
) -> None:
    """The connection can break at the very moment of the commit: the same events come again."""
    account.print("a")
    account.show({"text/plain": "b"})
    entries, drop = account.journal.take()
    rows = await rows_of(entries)
    await account.store.append_events(account.execution.id, rows, drop=drop)
    account.journal.put_back(entries, drop)
    account.print("c")
    await account.journal.flush()

    stored = await account.stored()
    assert [event.content.get("text") for event in stored] == ["a", None, "c"]


async def test_retention_goes_on_while_the_store_fails(small: Account, path: Path) -> None:
    """What waits for a broken store is bounded too, and what was stored is dropped afterwards."""
    for number in range(10):
        small.print(f"{number:099}\n", cell=number % 2)
    await small.journal.flush()
    with locked(path):
        for number in range(10, 30):
            small.print(f"{number:099}\n", cell=number % 2)
            if number % 10 == 0:
                with pytest.raises(StoreUnavailableError):
                    await small.journal.flush()
        entries, drop = small.journal.take()
        assert len(entries) <= 8
        small.journal.put_back(entries, drop)
    await eventually(small.journal.flush, StoreUnavailableError)

    texts = await small.stored_text()
    assert texts == [f"{number:099}\n" for number in (0, 1, 2, 3, 26, 27, 28, 29)]


async def test_writing_is_tried_again_until_the_store_is_back(account: Account, path: Path) -> None:
    """`keep_written` survives a store that fails."""
    await account.stored()
    async with anyio.create_task_group() as group:
        with locked(path):
            account.print("a")
            with pytest.raises(StoreUnavailableError):
                await account.journal.flush()
            group.start_soon(account.journal.keep_written)
            await anyio.wait_all_tasks_blocked()

        async def is_stored() -> None:
            assert await account.stored_text() == ["a"]

        await eventually(is_stored, AssertionError)
        group.cancel_scope.cancel()


async def test_a_closed_store_keeps_the_events_in_memory(account: Account) -> None:
    """After the store was closed the outputs are still known, and the rows can be taken."""
    account.print("a")
    await account.store.close()

    with pytest.raises(StoreUnavailableError):
        await account.journal.flush()

    entries, drop = account.journal.take()
    assert [entry.event.content["text"] for entry in entries] == ["a"]
    assert drop == []
    assert account.outputs()[0]["text"] == "a"


# Telling of the execution itself, and those who follow.


def read_from(account: Account, after: int = 0) -> list[Event]:
    """Return what is in memory after a number."""
    events = account.journal.events_after(after, max_bytes=1_000_000)
    assert events is not None
    return events


async def test_what_is_told_of_the_execution_is_no_output(small: Account) -> None:
    """It is stored with the rest, whatever is cut around it, and counts for no limit."""
    small.journal.tell(EventType.STATE, {"state": "running"})
    for number in range(200):
        small.print(f"{number:099}\n", cell=number % 2)
        small.journal.tell(EventType.PROGRESS, {"done": number})
    await small.journal.flush()

    told = [event for event in await small.stored() if event.type is not EventType.STREAM]
    assert [event.content for event in told] == [
        {"state": "running"},
        *({"done": number} for number in range(200)),
    ]
    assert sum(map(published_bytes_of, told)) == 0
    truncated = small.journal.truncated
    assert truncated is not None
    assert truncated.total_bytes == 20_000


async def test_the_newest_event_is_read_once_it_takes_no_more(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number never means two texts, and a fast printer is not cut into a piece per reader."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    account.print("a", "b")
    assert [event.content["text"] for event in read_from(account)] == ["ab"]
    account.print("c")
    assert read_from(account, 1) == []
    now += 2 * CLOSE_SECONDS
    account.print("d")

    assert [event.content["text"] for event in read_from(account, 1)] == ["cd"]
    account.print("e")
    assert account.journal.settle() == 3
    assert [event.content["text"] for event in read_from(account, 2)] == ["e"]
    await account.journal.flush()
    assert await account.stored_text() == ["ab", "cd", "e"]


async def test_what_was_just_written_is_read_from_memory_if_it_is_little(account: Account) -> None:
    """Older events are in the store only, and so are many at once."""
    account.print("a")
    await account.journal.flush()
    account.print("b")
    account.journal.settle()
    assert [event.number for event in read_from(account)] == [1, 2]
    await account.journal.flush()
    account.show({})

    assert account.journal.events_after(0, max_bytes=1) is None
    assert [event.number for event in read_from(account, 1)] == [2, 3]
    account.print("x" * 2 * RECENT_BYTES)
    await account.journal.flush()
    last = account.journal.last_number
    assert account.journal.covered_number == last
    assert account.journal.events_after(last - 1, max_bytes=1) is None
    assert read_from(account, last) == []


def test_what_is_read_at_once_is_limited(account: Account) -> None:
    """But one event is read in any case."""
    for number in range(10):
        account.show({"text/plain": "x" * 1_000 * (number + 1)})

    events = account.journal.events_after(0, max_bytes=5_000)
    assert events is not None
    assert [event.number for event in events] == [1, 2, 3]
    events = account.journal.events_after(9, max_bytes=5_000)
    assert events is not None
    assert [event.number for event in events] == [10]


async def test_what_could_not_be_written_is_still_read_from_memory(
    account: Account, path: Path
) -> None:
    """While it is being written and after it failed."""
    account.print("a")
    await account.journal.flush()
    account.print("b")
    entries, drop = account.journal.take()
    assert [event.number for event in read_from(account, 1)] == [2]
    account.print("c")
    account.journal.put_back(entries, drop)
    account.journal.settle()

    assert account.journal.events_after(0, max_bytes=1) is None
    assert [event.content["text"] for event in read_from(account, 1)] == ["b", "c"]
    await account.journal.flush()
    assert [event.content["text"] for event in read_from(account, 1)] == ["b", "c"]


async def test_numbers_of_what_is_discarded_are_not_used_again(account: Account) -> None:
    """What cannot be written is forgotten, and what comes later follows it."""
    account.print("a")
    await account.journal.flush()
    account.print("b")
    account.journal.discard()
    assert read_from(account, 2) == []
    account.print("c")
    await account.journal.flush()

    assert [event.number for event in await account.stored()] == [1, 3]


def test_the_end_is_told_by_the_final_record() -> None:
    """First why it failed, without what nobody knows, and then how it ended."""
    error = ExecutionError(code="CodeError", message="m", evalue="\ud800")
    failed = replace(ended(new_execution()), error=error, duration_seconds=1.5)

    told = closing_events(failed, after=7)

    assert [(event.number, event.type, event.content) for event in told] == [
        (8, EventType.ERROR, {"code": "CodeError", "message": "m", "evalue": "?"}),
        (9, EventType.END, {"state": "succeeded", "duration_seconds": 1.5}),
    ]
    (end,) = closing_events(ended(new_execution()), after=0)
    assert end.content == {"state": "succeeded"}


# Whatever happens.

steps = st.lists(
    st.one_of(
        st.tuples(st.just("print"), st.text("ab☃\n\r", max_size=400), st.integers(0, 1)),
        st.tuples(st.just("show"), st.integers(0, 1_500), st.integers(0, 1)),
        st.tuples(st.just("clear"), st.booleans(), st.integers(0, 1)),
        st.tuples(st.just("take"), st.booleans(), st.just(0)),
    ),
    max_size=60,
)


@given(steps)
def test_rows_and_drops_add_up(actions: list[tuple[str, Any, int]]) -> None:
    """After any mix of outputs, writes and failed writes, the rows are those that are kept.

    No number is missing but dropped ones, none comes twice, and memory holds no more than the
    limits. A run that lost nothing folds from its rows to what it was live.
    """
    limits = Limits(max_stream_bytes=500, max_output_bytes=4_000, max_display_bytes=1_000)
    fold = OutputFold(CELLS, max_stream_bytes=limits.max_stream_bytes)
    journal = Journal("id", store=None, fold=fold, limits=limits)  # type: ignore[arg-type]
    rows: dict[int, bytes] = {}
    ever_dropped: set[int] = set()

    def write(*, is_successful: bool) -> None:
        taken, drop = journal.take()
        if not is_successful:
            journal.put_back(taken, drop)
            return
        ever_dropped.update(drop)
        for number in drop:
            rows.pop(number, None)
        written = dict(encode_events(entry.event for entry in taken))
        assert not rows.keys() & written.keys()
        rows.update(written)

    for action, value, cell in actions:
        match action:
            case "print":
                content = {"name": "stdout", "text": value}
                journal.emit(EventType.STREAM, content, cell_index=cell)
            case "show":
                content = display({"text/plain": "x" * value})
                journal.emit(EventType.OUTPUT, content, cell_index=cell)
            case "clear":
                content = {"msg_type": "clear_output", "wait": value}
                journal.emit(EventType.CLEAR, content, cell_index=cell)
            case "take":
                write(is_successful=value)
    write(is_successful=True)

    last = max(rows, default=0)
    assert sorted(rows) == list(rows)
    lost = set(range(1, last + 1)) - rows.keys()
    events = [decode_event(row) for row in rows.items()]
    text = [len(event.content["text"].encode()) for event in events if "text" in event.content]
    # The newest event is kept in any case.
    assert sum(text) <= 500 + max(text, default=0)
    truncated = journal.truncated
    if truncated is not None:
        assert 0 <= truncated.kept_bytes < truncated.total_bytes
    if not lost:
        replayed = OutputFold(CELLS, max_stream_bytes=limits.max_stream_bytes)
        for event in events:
            replayed.apply(event)
        assert [replayed.outputs(cell) for cell in range(CELLS)] == [
            fold.outputs(cell) for cell in range(CELLS)
        ]
