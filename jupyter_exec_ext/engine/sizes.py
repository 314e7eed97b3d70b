"""The sizes of values: what is large is measured once, and its size is kept with it."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

CONTAINER_BYTES = 60
"""What a list or an object counts for in addition to its JSON. ``[]`` has two bytes as JSON and 56
in Python."""


class Size(NamedTuple):
    """The size of a value.

    Attributes:
        json_bytes: How many bytes the value has as JSON.
        counted_bytes: How many bytes the value counts for where memory is limited: its JSON, and
            `CONTAINER_BYTES` for each list and object in it, itself included.
    """

    json_bytes: int
    counted_bytes: int


class Measured(dict[str, Any]):
    """A JSON object with its size, so that it need not be encoded to be measured.

    It must not be changed.

    Args:
        known: Sizes of values, by key; the others are measured.

    Attributes:
        sizes: The size of each value, by key.
    """

    __slots__ = ("sizes",)

    def __init__(self, value: Mapping[str, Any], known: Mapping[str, Size] | None = None) -> None:
        super().__init__(value)
        known = known or {}
        self.sizes = {
            key: known[key] if key in known else measure(item) for key, item in value.items()
        }


def measured(content: Mapping[str, Any]) -> Measured:
    """Return the content of an event, measured: its data, its metadata, a widget's state."""
    parts = {
        key: Measured(value)
        for key in ("data", "metadata")
        if isinstance(value := content.get(key), dict)
    }
    state = parts["data"].get("state") if "comm_id" in content else None
    if isinstance(state, dict):
        parts["data"] = Measured({**parts["data"], "state": Measured(state)}, parts["data"].sizes)
    return Measured({**content, **parts})


def sizes_of(value: Mapping[str, Any]) -> Mapping[str, Size]:
    """Return the size of each value of a JSON object, by key."""
    return value.sizes if isinstance(value, Measured) else Measured(value).sizes


def measure(value: Any) -> Size:
    """Return the size of a JSON value."""
    if isinstance(value, Measured):
        keys = len(msgspec.json.encode(dict.fromkeys(value, 0))) - len(value)
        return Size(
            keys + sum(size.json_bytes for size in value.sizes.values()),
            keys + sum(size.counted_bytes for size in value.sizes.values()) + CONTAINER_BYTES,
        )
    json_bytes = len(msgspec.json.encode(value))
    if not isinstance(value, (dict, list)):
        return Size(json_bytes, json_bytes)
    container_count = sum(map(len, container_levels(value)))
    return Size(json_bytes, json_bytes + CONTAINER_BYTES * container_count)


def size_as_json(value: Any) -> int:
    """Return how many bytes *value* has as JSON."""
    return (
        measure(value).json_bytes
        if isinstance(value, Measured)
        else len(msgspec.json.encode(value))
    )


def counted_bytes_of(value: Any) -> int:
    """Return how many bytes *value* counts for where memory is limited."""
    return measure(value).counted_bytes


def container_levels(value: dict[str, Any] | list[Any]) -> Iterator[list[Any]]:
    """Yield the lists and objects of each level of nesting: first *value*, then those in it."""
    level: list[Any] = [value]
    while level:
        yield level
        level = [
            child
            for item in level
            for child in (item.values() if isinstance(item, dict) else item)
            if isinstance(child, (dict, list))
        ]
