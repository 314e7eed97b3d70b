"""What the payloads of a reply mean, whatever a kernel sent."""

from typing import Any

import pytest

from jupyter_exec_ext.core.models import Event, EventType
from jupyter_exec_ext.engine.outputs import OutputFold
from jupyter_exec_ext.engine.payloads import MAX_PAYLOADS, payload_events
from jupyter_exec_ext.services.events import decode_event, encode_event


def deep(depth: int) -> Any:
    return [deep(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            {"source": "page", "data": {"text/plain": "a\ud800"}, "start": 0},
            {"msg_type": "display_data", "data": {"text/plain": "a?"}, "metadata": {}},
        ),
        ({"source": "page", "text": "old"}, None),
        (
            {"source": "edit\ud800", "line": float("nan")},
            {"msg_type": "payload", "payload": {"source": "edit?", "line": None}},
        ),
        (
            {"source": "x", "deep": deep(200)},
            {"msg_type": "payload", "payload": {"source": "x"}},
        ),
        ({"text": "no source"}, None),
        ({"source": 1}, None),
        ("page", None),
    ],
)
def test_each_payload_becomes_an_event_or_nothing(
    payload: object, expected: dict[str, Any] | None
) -> None:
    """It can be stored and folded."""
    events = payload_events({"payload": [payload]})

    assert len(events) == (expected is not None)
    for event_type, content in events:
        content.get("payload", {}).pop("deep", None)
        assert content == expected
        event = Event(number=1, type=event_type, cell_index=0, content=content)
        assert decode_event(encode_event(event)) == event
        fold = OutputFold(1, max_stream_bytes=1_000)
        fold.apply(event)
        (cell,) = fold.cells([0])
        assert len(cell.payloads) == (event_type is EventType.PAYLOAD)
        assert len(cell.outputs) == (event_type is EventType.OUTPUT)


@pytest.mark.parametrize("payload", [None, "text", {"source": "page"}, 3])
def test_a_reply_may_have_no_payloads(payload: object) -> None:
    """Newer kernels leave them out."""
    assert payload_events({"payload": payload}) == []
    assert payload_events({}) == []


def test_only_so_many_payloads_of_a_reply_are_kept() -> None:
    """IPython has one for each source."""
    events = payload_events({"payload": [{"source": f"{number}"} for number in range(1_000)]})

    assert len(events) == MAX_PAYLOADS
