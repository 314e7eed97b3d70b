"""Folds what a kernel publishes into the outputs of a notebook's cells.

The meaning of the messages (display ids, ``clear_output``, widgets, Output areas) is nbclient's
`process_message`; this adds JupyterLab's rule for streams and limits. Each message is first made
an event (`engine.events`), so that the same fold works on live kernels and on stored events.
"""

import logging
from collections.abc import Callable, Hashable, Iterable
from types import SimpleNamespace
from typing import Any, cast

from jupyter_client.client import KernelClient
from jupyter_client.session import Session
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal
from nbclient.output_widget import OutputWidget
from nbformat import NotebookNode, ValidationError, from_dict

from jupyter_exec_ext.core.models import CellResult, Event, EventType, Output
from jupyter_exec_ext.engine.areas import (
    PART_BYTES,
    VALUE_BYTES,
    OutputArea,
    ShownBytes,
    StreamLimits,
    StreamOutputs,
    output_of,
    shown_bytes_of,
)
from jupyter_exec_ext.engine.channels import Message
from jupyter_exec_ext.engine.sizes import Measured, counted_bytes_of, sizes_of
from jupyter_exec_ext.engine.streams import size_of

# nbclient logs the content of messages, which must not be logged. A logger of the registry would
# be enabled again whenever the server configures its own logging.
_silent = logging.Logger(f"{__name__}.silent", logging.CRITICAL + 1)  # noqa: LOG001

MAX_PLACES = 200
"""How many outputs may show one display, since each update of it changes all of them."""

_MALFORMED = (
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    ValueError,
    AssertionError,
    ValidationError,
)
"""What nbclient raises over a message that is not as the protocol says."""


class _NoKernel:
    """What Output widgets send to when there is no kernel."""

    shell_channel = SimpleNamespace(send=lambda _: None)

    @property
    def session(self) -> Session:
        """What makes messages. Few need it, and it takes longer to make than all else here."""
        return Session()


class OutputFold(NotebookClient):
    """The outputs of a notebook, built up event by event.

    Args:
        cell_count: How many cells the notebook has.
        max_stream_bytes: How much stream text is kept in all, head and tail.
    """

    def __init__(self, cell_count: int, *, max_stream_bytes: int) -> None:
        notebook = from_dict(
            {
                "cells": [{"outputs": [], "execution_count": None} for _ in range(cell_count)],
                "metadata": {},
            }
        )
        super().__init__(notebook, record_timing=False, log=_silent)
        self.kc = cast("KernelClient", _NoKernel())
        self.widget_registry = {"@jupyter-widgets/output": {"OutputModel": OutputArea}}
        self.streams = StreamLimits(max_stream_bytes)
        self.shown = ShownBytes()
        self._stream_outputs: dict[int, StreamOutputs] = {}
        self._display_ids: dict[int, set[str]] = {}
        self._cells_waiting_to_clear: set[int] = set()
        self._payloads: dict[int, list[dict[str, Any]]] = {}

    def connect(self, msg_session: Session, send_comm: Callable[[Message], None]) -> None:
        """Let Output widgets that are opened from now on send to a kernel."""
        # All that an Output widget uses of a client.
        self.kc = cast(
            "KernelClient",
            SimpleNamespace(session=msg_session, shell_channel=SimpleNamespace(send=send_comm)),
        )

    def apply(self, event: Event) -> None:
        """Fold one event in, whose content is not changed; a malformed one changes nothing."""
        content = event.content
        if event.type is EventType.EXECUTION_COUNT:
            self.nb.cells[event.cell_index]["execution_count"] = content["execution_count"]
            return
        if event.type is EventType.PAYLOAD:
            payloads = self._payloads.setdefault(event.cell_index, [])
            payloads.append(content["payload"])
            self.shown.set((event.cell_index, "payload", len(payloads)), shown_bytes_of(content))
            return
        msg_type = "stream" if event.type is EventType.STREAM else content["msg_type"]
        message = {
            "msg_type": msg_type,
            "header": {"msg_type": msg_type},
            "parent_header": {"msg_id": content.get("parent_id")},
            "metadata": {},
            "buffers": content.get("buffers", ()),
            "content": content,
        }
        # One flag for all cells in nbclient; late output of an earlier cell must not meet it.
        self.clear_before_next_output = event.cell_index in self._cells_waiting_to_clear
        try:
            self.process_message(message, self.nb.cells[event.cell_index], event.cell_index)
        except CellControlSignal:
            pass
        except _MALFORMED as error:
            _silent.debug("left out: %s", type(error).__name__)
        if self.clear_before_next_output:
            self._cells_waiting_to_clear.add(event.cell_index)
        else:
            self._cells_waiting_to_clear.discard(event.cell_index)

    def execution_count(self, cell_index: int) -> int | None:
        """Return the kernel's prompt number of a cell; ``None`` before it ran."""
        count: int | None = self.nb.cells[cell_index]["execution_count"]
        return count

    def outputs(self, cell_index: int) -> list[Output]:
        """Return the outputs of a cell as they are now; they must not be changed."""
        if cell_index in self._stream_outputs:
            self._stream_outputs[cell_index].settle()
        outputs: list[Output] = self.nb.cells[cell_index]["outputs"]
        return outputs

    def cells(self, indexes: Iterable[int]) -> list[CellResult]:
        """Return what these cells show now; the outputs must not be changed."""
        return [
            CellResult(
                cell_index=index,
                execution_count=self.execution_count(index),
                outputs=self.outputs(index),
                payloads=self._payloads.get(index, []),
            )
            for index in indexes
        ]

    def leave_out(self, cell_index: int, size: int) -> None:
        """Count *size* bytes of stream text that follow the newest of a cell, but are not there."""
        if cell_index in self._stream_outputs:
            self._stream_outputs[cell_index].leave_out(size)
        else:
            self.streams.refused_bytes += size

    @property
    def is_head_full(self) -> bool:
        """Whether stream text that comes now is kept only as long as it is among the last half."""
        return self.streams.budget.is_head_full

    @property
    def lost_bytes(self) -> int:
        """How many bytes of the stream text that the outputs have were not kept."""
        return self.streams.budget.lost_bytes + self.streams.refused_bytes

    @property
    def shown_bytes(self) -> int:
        """How much the outputs, streams left aside, and the widgets count for, in bytes.

        That is their JSON and ids, `PART_BYTES` or `VALUE_BYTES` for each part, and
        `CONTAINER_BYTES` for each list and object.
        """
        return self.shown.total

    def growth_of(self, content: dict[str, Any], cell_index: int) -> int:
        """Return by how much ``shown_bytes`` grows when an event with *content* is folded in.

        It is negative when what is cleared or replaced was larger.
        """
        match content["msg_type"]:
            case "clear_output":
                return 0
            case "payload":
                return shown_bytes_of(content)
            case "comm_open" | "comm_msg":
                sizes = _comm_sizes(content)
                return sum(sizes.values()) - sum(map(self.shown.get, sizes))
        display_id = _display_id_of(content)
        size = _display_bytes_of(content, display_id)
        places = self._places_of(display_id) if display_id is not None else []
        growth = len(places) * size - sum(map(self.shown.get, places))
        if content["msg_type"] == "update_display_data":
            return growth
        if cell_index in self._cells_waiting_to_clear:
            count = len(self.nb.cells[cell_index]["outputs"])
            growth = -sum(self.shown.get((cell_index, place)) for place in range(count))
        return growth + size

    def has_place_for(self, content: dict[str, Any], cell_index: int) -> bool:
        """Whether an output with *content* is not one too many that shows the same display."""
        display_id = _display_id_of(content)
        return (
            display_id is None
            or content["msg_type"] == "update_display_data"
            or cell_index in self._cells_waiting_to_clear
            or len(self._places_of(display_id)) < MAX_PLACES
        )

    def _places_of(self, display_id: str) -> list[tuple[int, int]]:
        """Return cell and place of each output that shows the display with this id."""
        cells = self._display_id_map.get(display_id, {})
        return [(cell_index, place) for cell_index in cells for place in cells[cell_index]]

    def widget_metadata(self) -> dict[str, Any]:
        """Return the ``widgets`` entry of the notebook's metadata, empty without widgets."""
        for area in self.comm_objects.values():
            area.stream_outputs.settle()
        self.set_widgets_metadata()
        widgets: dict[str, Any] = self.nb.metadata.get("widgets", {})
        return widgets

    def output(
        self, outs: list[NotebookNode], msg: Message, display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Take an output; neighbouring chunks of one stream merge, as in JupyterLab."""
        if self.output_hook_stack[msg["parent_header"].get("msg_id")]:
            return super().output(outs, msg, display_id, cell_index)
        streams = self._stream_outputs.setdefault(cell_index, StreamOutputs(self.streams))
        if not self.clear_before_next_output and streams.extend(outs, msg):
            return None
        out = output_of(msg)
        if self.clear_before_next_output:
            self._forget(cell_index, len(outs))
            outs.clear()
            self.clear_display_id_mapping(cell_index)
            self.clear_before_next_output = False
        if display_id is not None:
            places = self._display_id_map.setdefault(display_id, {}).setdefault(cell_index, [])
            places.append(len(outs))
            self._display_ids.setdefault(cell_index, set()).add(display_id)
        outs.append(out)
        streams.note(out)
        if msg["msg_type"] != "stream":
            shown = Measured(out, sizes_of(msg["content"]))
            self.shown.set((cell_index, len(outs) - 1), _display_bytes_of(shown, display_id))
        return out

    def clear_output(self, outs: list[NotebookNode], msg: Message, cell_index: int) -> None:
        """Clear the outputs of a cell, at once or before its next output."""
        count = len(outs)
        super().clear_output(outs, msg, cell_index)
        if count and not outs:
            self._forget(cell_index, count)

    def _forget(self, cell_index: int, output_count: int) -> None:
        """Forget about the first outputs of a cell, which are cleared."""
        if cell_index in self._stream_outputs:
            self._stream_outputs[cell_index].release()
        for place in range(output_count):
            self.shown.set((cell_index, place), 0)

    def _update_display_id(self, display_id: str, msg: Message) -> None:
        """Update what shows the display; nbclient's own way copies the data for each output."""
        content = msg["content"]
        size = _display_bytes_of(content, display_id)
        for cell_index, place in self._places_of(display_id):
            output = self.nb.cells[cell_index]["outputs"][place]
            # Not by `NotebookNode`, which would copy them.
            dict.update(output, data=content["data"], metadata=content["metadata"])
            self.shown.set((cell_index, place), size)

    def handle_comm_msg(self, outs: list[NotebookNode], msg: Message, cell_index: int) -> None:
        """Take a widget's message."""
        for key, size in _comm_sizes(msg["content"]).items():
            self.shown.set(key, size)
        comm_id = msg["content"]["comm_id"]
        area = self.comm_objects.get(comm_id)
        super().handle_comm_msg(outs, msg, cell_index)
        if isinstance(area, OutputArea) and self.comm_objects[comm_id] is area:
            # Opened a second time, as something else, it still shows what it captured.
            area.show()
        elif isinstance(area, OutputArea):
            area.close()

    def _get_buffer_data(self, msg: Message) -> list[dict[str, Any]]:
        """Return the buffers of a widget's message, which are base64 in its event."""
        paths = msg["content"]["data"]["buffer_paths"]
        return [
            {"data": buffer, "encoding": "base64", "path": path}
            for path, buffer in zip(paths, msg["buffers"], strict=False)
        ]

    def clear_display_id_mapping(self, cell_index: int) -> None:
        """Forget which displays a cell shows; those of other cells are not looked at."""
        for display_id in self._display_ids.pop(cell_index, ()):
            cells = self._display_id_map[display_id]
            del cells[cell_index]
            if not cells:
                del self._display_id_map[display_id]

    def remove_output_hook(self, msg_id: str, hook: OutputWidget) -> None:
        """Let *hook* take no more output, whatever hooks were set after it."""
        hooks = self.output_hook_stack[msg_id]
        hooks.remove(hook)
        if not hooks:
            del self.output_hook_stack[msg_id]


def _display_id_of(content: dict[str, Any]) -> str | None:
    display_id: str | None = content.get("transient", {}).get("display_id")
    return display_id


def _display_bytes_of(output: dict[str, Any], display_id: str | None) -> int:
    """Return what an output counts for, together with its display id."""
    id_bytes = PART_BYTES + size_of(display_id) if display_id is not None else 0
    return shown_bytes_of(output) + id_bytes


def _comm_sizes(content: dict[str, Any]) -> dict[tuple[Hashable, ...], int]:
    """Return how many bytes each part of a widget counts for that a message sets."""
    comm_id, data = content["comm_id"], content["data"]
    if "state" not in data:
        return {}
    sizes: dict[tuple[Hashable, ...], int] = {(comm_id,): PART_BYTES + size_of(comm_id)}
    for key, size in sizes_of(data["state"]).items():
        sizes[comm_id, key] = VALUE_BYTES + size_of(key) + size.counted_bytes
    for path, buffer in zip(data.get("buffer_paths") or (), content["buffers"], strict=False):
        sizes[comm_id, tuple(path)] = VALUE_BYTES + counted_bytes_of(path) + len(buffer)
    return sizes
