"""How many bytes values have as JSON: what is large is measured once, and the size kept with it."""

from collections.abc import Mapping
from typing import Any

import msgspec


class Measured(dict[str, Any]):
    """A JSON object with its size, so that it need not be encoded to be measured.

    It must not be changed.

    Args:
        known: Sizes of values, by key; the others are measured.

    Attributes:
        sizes: How many bytes each value has as JSON, by key.
    """

    __slots__ = ("sizes",)

    def __init__(self, value: Mapping[str, Any], known: Mapping[str, int] | None = None) -> None:
        super().__init__(value)
        known = known or {}
        self.sizes = {
            key: known[key] if key in known else size_as_json(item) for key, item in value.items()
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


def sizes_of(value: Mapping[str, Any]) -> Mapping[str, int]:
    """Return how many bytes each value of a JSON object has as JSON, by key."""
    return value.sizes if isinstance(value, Measured) else Measured(value).sizes


def size_as_json(value: Any) -> int:
    """Return how many bytes *value* has as JSON."""
    if isinstance(value, Measured):
        keys = len(msgspec.json.encode(dict.fromkeys(value, 0)))
        return keys - len(value) + sum(value.sizes.values())
    return len(msgspec.json.encode(value))
