"""How much a session's log keeps, and what its readers get."""

import tracemalloc
from typing import Any

import pytest

from jupyter_exec_ext.core.models import Event, EventType
from jupyter_exec_ext.services.session_log import MAX_REQUESTS, SessionLog, SessionLogReader

MAX_BYTES = 200_000


def printed(text: str, *, parent_id: str = "", name: str = "stdout", **fields: Any) -> Any:
    """Return a message as the kernel sends it."""
    return {
        "header": {"msg_type": "stream"},
        "parent_header": {"msg_id": parent_id},
        "content": {"name": name, "text": text},
        **fields,
    }


async def read_all(log: SessionLog, *, after: int = 0) -> list[Event]:
    """Return what a reader gets that does not follow."""
    reader = SessionLogReader(log, after=after, is_following=False)
    events = []
    while not reader.has_ended:
        events += await reader.read(seconds=0)
    return events


def text_of(events: list[Event]) -> str:
    return "".join(event.content.get("text", "") for event in events)


@pytest.mark.serial
@pytest.mark.parametrize("text", ["x", "☃" * 1_000, "x" * 3_000_000])
async def test_memory_is_bounded(text: str) -> None:
    """However the text comes: in many short entries of two streams, or at once."""
    log = SessionLog(max_bytes=MAX_BYTES)
    count = 20_000 if text == "x" else max(3, 3_000_000 // len(text.encode()))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]

    for number in range(count):
        log.take("iopub", printed(text, name=("stdout", "stderr")[number % 2]))
        log.expect(f"execution {number}", [f"request {number}"])
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert after - before < 3 * MAX_BYTES + 500 * MAX_REQUESTS
    assert len(text_of(await read_all(log)).encode()) < 2 * MAX_BYTES


async def test_the_beginning_and_the_end_are_kept() -> None:
    """In order; a gap says how many entries are missing, and a reader goes on where it was."""
    log = SessionLog(max_bytes=2_000)
    for number in range(100):
        name = ("stdout", "stderr")[number % 2]
        log.take("iopub", printed(f"{number:03}" * 10, name=name))

    events = await read_all(log)

    kinds = [event.type for event in events]
    (place,) = [place for place, kind in enumerate(kinds) if kind is EventType.GAP]
    gap = events[place]
    assert events[0].content["text"] == "000" * 10
    assert events[-1].content["text"] == "099" * 10
    assert gap.content["lost"] == events[place + 1].number - events[place - 1].number - 1
    assert await read_all(log, after=gap.number) == events[place + 1 :]
    assert await read_all(log, after=log.last_number) == []


async def test_what_was_read_does_not_change() -> None:
    """Text that comes later is an entry of its own, and belongs to what the kernel names."""
    log = SessionLog(max_bytes=MAX_BYTES)
    log.expect("e1", ["r1", "r2"])
    log.take("iopub", printed("a", parent_id="r1"))
    log.take("iopub", printed("b", parent_id="r2"))
    first = await read_all(log)
    log.take("iopub", printed("c", parent_id="r2"))
    log.take("iopub", printed("d", parent_id="unknown"))
    log.take("shell", printed("a reply"))
    log.take("iopub", {**printed(""), "header": {"msg_type": "display_data"}})

    events = await read_all(log)

    assert [event.content["text"] for event in first] == ["ab"]
    assert [(event.content["text"], event.content.get("execution_id")) for event in events] == [
        ("ab", "e1"),
        ("c", "e1"),
        ("d", None),
    ]


async def test_a_part_that_was_cut_is_a_gap() -> None:
    """Of a huge message the connection hands on the beginning and the end."""
    log = SessionLog(max_bytes=MAX_BYTES)
    log.take("iopub", printed("head"))
    log.take("iopub", printed("tail", left_out_bytes=9_000_000))

    events = await read_all(log)

    assert [event.type for event in events] == [
        EventType.STREAM,
        EventType.GAP,
        EventType.STREAM,
    ]
