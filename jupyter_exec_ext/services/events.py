"""Events as they are stored: their form and size, how large ones are cut, how the end is told."""

from collections.abc import Iterable
from typing import Any

import msgspec

from jupyter_exec_ext.core.models import Event, EventType, Execution
from jupyter_exec_ext.engine.contents import as_json
from jupyter_exec_ext.engine.sizes import Measured, counted_bytes_of, size_as_json, sizes_of
from jupyter_exec_ext.engine.streams import size_of
from jupyter_exec_ext.store.store import EventRow

PUBLISHED_TYPES = frozenset(
    {
        EventType.STREAM,
        EventType.OUTPUT,
        EventType.UPDATE,
        EventType.CLEAR,
        EventType.COMM,
        EventType.PAYLOAD,
    }
)
"""What a kernel published that counts as output; limits apply to it."""

FOLDED_TYPES = PUBLISHED_TYPES | {EventType.EXECUTION_COUNT}
"""What adds up to the outputs of cells; all other events report on the execution itself."""


def published_bytes_of(event: Event) -> int:
    """Return how much of what the run published *event* holds."""
    if event.type not in PUBLISHED_TYPES:
        return 0
    if event.type is EventType.STREAM:
        return size_of(event.content["text"])
    return size_as_json(event.content)


def closing_events(final: Execution, *, after: int) -> list[Event]:
    """Return the events that tell how *final* ended: they are stored together with it.

    Args:
        after: The number of the last event before them.
    """
    told: list[tuple[EventType, dict[str, Any]]] = []
    if final.error is not None:
        told.append((EventType.ERROR, facts_of(final.error)))
    end = {"state": final.state.value, "duration_seconds": final.duration_seconds}
    told.append((EventType.END, {key: value for key, value in end.items() if value is not None}))
    return [
        Event(number=number, type=event_type, cell_index=0, content=content, time=final.end_time)
        for number, (event_type, content) in enumerate(told, after + 1)
    ]


def facts_of(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are known, as the content of an event."""
    fields = msgspec.to_builtins(value)
    facts: dict[str, Any] = as_json({k: v for k, v in fields.items() if v is not None})
    return facts


def encode_event(event: Event) -> EventRow:
    """Return *event* as it is stored."""
    return event.number, msgspec.json.encode(event)


def encode_events(events: Iterable[Event]) -> list[EventRow]:
    """Return *events* as they are stored."""
    return [encode_event(event) for event in events]


def decode_event(row: EventRow) -> Event:
    """Return the event of a stored row; a gap of one event where the row is damaged."""
    number, payload = row
    try:
        event = msgspec.json.decode(payload, type=Event)
        is_whole = event.number == number and event.type is not EventType.GAP
        if is_whole and event.type is EventType.STREAM:
            is_whole = isinstance(event.content.get("text"), str)
    except (ValueError, RecursionError):
        is_whole = False
    if is_whole:
        return event
    return Event(number=number, type=EventType.GAP, cell_index=0, content={"lost": 1})


def without_large_parts(content: dict[str, Any], max_bytes: int) -> dict[str, Any] | None:
    """Return *content* within *max_bytes*; ``None`` when nothing sensible is left of it.

    Lists and objects count for more than their JSON (see `engine.sizes`).

    Parts of a display are left out whole, the largest first, and named: a picture is never cut.
    """
    changed = dict(content)
    match content["msg_type"]:
        case "display_data" | "execute_result" | "update_display_data":
            changed["data"], left_out = _smaller_bundle(content["data"], max_bytes // 2)
            metadata = content["metadata"]
            if counted_bytes_of(metadata) > max_bytes // 4:
                metadata = {}
            known = {**sizes_of(metadata)}
            known.pop("jupyter_exec_ext", None)
            note = {"jupyter_exec_ext": {"left_out": left_out}}
            changed["metadata"] = Measured({**metadata, **note}, known)
        case "error":
            # A character has at most six bytes in JSON.
            changed["ename"] = content["ename"][: max_bytes // 32]
            changed["evalue"] = content["evalue"][: max_bytes // 32]
            changed["traceback"] = ["[traceback left out]"]
        case _:
            return None
    smaller = Measured(changed)
    return smaller if counted_bytes_of(smaller) <= max_bytes else None


def _smaller_bundle(data: dict[str, Any], max_bytes: int) -> tuple[dict[str, Any], list[str]]:
    """Return what of *data* fits into *max_bytes*, and the types that do not, largest first."""
    sizes = sizes_of(data)
    kept = dict(data)
    left_out = []
    for key in sorted(sizes, key=lambda key: -sizes[key].counted_bytes):
        if sum(sizes[key].counted_bytes for key in kept) <= max_bytes:
            break
        left_out.append(key)
        del kept[key]
    note = "".join(f"[{key}, {sizes[key].json_bytes} bytes, left out]" for key in left_out)
    shown = {**kept, "text/plain": kept.get("text/plain", note)}
    return Measured(shown, {key: sizes[key] for key in kept}), left_out
