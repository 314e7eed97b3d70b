"""Folds what a kernel publishes into the outputs of a notebook's cells.

The meaning of the messages (display ids, ``clear_output``, widgets, Output areas) is nbclient's
`process_message`; this adds JupyterLab's rule for streams and limits. Each message is first made
an event (`event_of`), so that the same fold works on live kernels and on stored events.
"""

import base64
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from jupyter_client.client import KernelClient
from jupyter_client.session import Session
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal
from nbclient.output_widget import OutputWidget
from nbformat import NotebookNode, ValidationError, from_dict
from nbformat.v4 import output_from_msg

from jupyter_exec_ext.core.models import Event, EventType, Output
from jupyter_exec_ext.engine.channels import Message
from jupyter_exec_ext.engine.contents import checked_content
from jupyter_exec_ext.engine.streams import StreamBudget, StreamText, size_of

MAX_STREAM_OUTPUTS = 100_000
"""How many stream outputs a run may have, since each costs more memory than its text."""

# nbclient logs the content of messages, which must not be logged.
_silent = logging.getLogger(f"{__name__}.silent")
_silent.disabled = True

_TYPE_OF = {
    "stream": EventType.STREAM,
    "display_data": EventType.OUTPUT,
    "execute_result": EventType.OUTPUT,
    "error": EventType.OUTPUT,
    "update_display_data": EventType.UPDATE,
    "clear_output": EventType.CLEAR,
    "comm_open": EventType.COMM,
    "comm_msg": EventType.COMM,
}

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


def event_of(message: Message) -> tuple[EventType, dict[str, Any]] | None:
    """Return what *message* means for the outputs of its cell; ``None`` when nothing.

    The content can be encoded as JSON in UTF-8, whatever the kernel sent (`engine.contents`).
    Beside what the message says it has ``msg_type`` (but for streams), ``parent_id``, the message
    id of the parent, where there is one, and for widgets base64 ``buffers``.
    """
    header, parent = message.get("header"), message.get("parent_header")
    msg_type = header.get("msg_type") if isinstance(header, dict) else None
    event_type = _TYPE_OF.get(msg_type) if isinstance(msg_type, str) else None
    if event_type is None:
        return None
    content = checked_content(str(msg_type), message.get("content"))
    if content is None:
        return None
    if event_type is not EventType.STREAM:
        content["msg_type"] = msg_type
    if event_type is EventType.COMM:
        buffers = message.get("buffers") or ()
        content["buffers"] = [base64.b64encode(buffer).decode() for buffer in buffers]
    parent_id = parent.get("msg_id") if isinstance(parent, dict) else None
    if isinstance(parent_id, str):
        content["parent_id"] = parent_id
    return event_type, content


class OutputFold(NotebookClient):
    """The outputs of a notebook, built up event by event.

    Args:
        cell_count: How many cells the notebook has.
        max_stream_bytes: How much stream text is kept in all, head and tail.
        send_comm: Sends a message to the kernel, for Output widgets; ``None`` for a replay.
    """

    def __init__(
        self,
        cell_count: int,
        *,
        max_stream_bytes: int,
        msg_session: Session | None = None,
        send_comm: Callable[[Message], None] | None = None,
    ) -> None:
        notebook = from_dict(
            {
                "cells": [{"outputs": [], "execution_count": None} for _ in range(cell_count)],
                "metadata": {},
            }
        )
        super().__init__(notebook, record_timing=False, log=_silent)
        # All that an Output widget uses of a client.
        self.kc = cast(
            "KernelClient",
            SimpleNamespace(
                session=msg_session or Session(),
                shell_channel=SimpleNamespace(send=send_comm or (lambda _: None)),
            ),
        )
        self.widget_registry = {"@jupyter-widgets/output": {"OutputModel": _OutputArea}}
        self.streams = _StreamLimits(max_stream_bytes)
        self._stream_outputs: dict[int, _StreamOutputs] = {}
        self._display_ids: dict[int, set[str]] = {}
        self._cells_waiting_to_clear: set[int] = set()

    def apply(self, event: Event) -> None:
        """Fold one event in, whose content is not changed; a malformed one changes nothing."""
        content = dict(event.content)
        if event.type is EventType.STREAM:
            content["msg_type"] = "stream"
        msg_type = content.pop("msg_type")
        message = {
            "msg_type": msg_type,
            "header": {"msg_type": msg_type},
            "parent_header": {"msg_id": content.pop("parent_id", None)},
            "metadata": {},
            "buffers": [base64.b64decode(item) for item in content.pop("buffers", ())],
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

    def set_execution_count(self, cell_index: int, count: int | None) -> None:
        """Note the kernel's prompt number of a cell."""
        self.nb.cells[cell_index]["execution_count"] = count

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

    @property
    def lost_bytes(self) -> int:
        """How many bytes of the stream text that the outputs have were not kept."""
        return self.streams.budget.lost_bytes + self.streams.refused_bytes

    def display_count(self, display_id: str) -> int:
        """Return how many outputs show the display with this id."""
        return sum(map(len, self._display_id_map.get(display_id, {}).values()))

    def measure(self) -> int:
        """Return how many bytes the outputs, streams left aside, and the widgets have as JSON."""
        outputs = [
            output
            for cell in self.nb["cells"]
            for output in cell["outputs"]
            if output["output_type"] != "stream"
        ]
        buffers = [list(buffers.values()) for buffers in self.widget_buffers.values()]
        return len(msgspec.json.encode([outputs, self.widget_state, buffers]))

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
        streams = self._stream_outputs.setdefault(cell_index, _StreamOutputs(self.streams))
        if self.clear_before_next_output:
            streams.release()
        elif streams.extend(outs, msg):
            return None
        out = super().output(outs, msg, display_id, cell_index)
        if out is not None:
            streams.note(out)
        if display_id is not None:
            self._display_ids.setdefault(cell_index, set()).add(display_id)
        return out

    def clear_output(self, outs: list[NotebookNode], msg: Message, cell_index: int) -> None:
        """Clear the outputs of a cell, at once or before its next output."""
        super().clear_output(outs, msg, cell_index)
        if not outs and cell_index in self._stream_outputs:
            self._stream_outputs[cell_index].release()

    def clear_display_id_mapping(self, cell_index: int) -> None:
        """Forget which displays a cell shows; those of other cells are not looked at."""
        for display_id in self._display_ids.pop(cell_index, ()):
            cells = self._display_id_map[display_id]
            del cells[cell_index]
            if not cells:
                del self._display_id_map[display_id]

    def remove_output_hook(self, msg_id: str, hook: OutputWidget) -> None:
        """Let *hook* take no more output, whatever hooks were set after it."""
        self.output_hook_stack[msg_id].remove(hook)


class _StreamLimits:
    """What all stream outputs of a run share."""

    def __init__(self, max_bytes: int) -> None:
        self.budget = StreamBudget(max_bytes)
        self.output_count = 0
        self.refused_bytes = 0


class _StreamOutputs:
    """The stream outputs among the outputs of a cell or an Output widget."""

    def __init__(self, limits: _StreamLimits) -> None:
        self._limits = limits
        self._texts: list[tuple[NotebookNode, StreamText]] = []
        self._refused_bytes = 0

    def extend(self, outs: list[NotebookNode], msg: Message) -> bool:
        """Take a stream message that needs no output of its own; return whether it was one."""
        if msg["msg_type"] != "stream":
            return False
        name, text = msg["content"]["name"], msg["content"]["text"]
        if self._texts and outs and outs[-1] is self._texts[-1][0] and outs[-1]["name"] == name:
            self._texts[-1][1].append(text)
            return True
        if self._limits.output_count >= MAX_STREAM_OUTPUTS:
            self._refused_bytes += size_of(text)
            self._limits.refused_bytes += size_of(text)
            return True
        return False

    def note(self, out: NotebookNode) -> None:
        """Note that *out* is the last output now; if it is a stream, its text is kept here."""
        if self._texts:
            # Nothing is ever appended to an output that is not the last one.
            self._texts[-1][1].finish_line()
        if out["output_type"] == "stream":
            text = StreamText(self._limits.budget)
            text.append(out["text"])
            out["text"] = ""
            self._texts.append((out, text))
            self._limits.output_count += 1

    def settle(self) -> None:
        """Put the texts as they are now in the outputs."""
        for node, text in self._texts:
            node["text"] = text.value

    def release(self) -> None:
        """Forget all: the outputs were cleared."""
        for _, text in self._texts:
            self._limits.budget.release(text)
        self._limits.output_count -= len(self._texts)
        self._limits.refused_bytes -= self._refused_bytes
        self._texts, self._refused_bytes = [], 0


class _OutputArea(OutputWidget):
    """What an Output widget captured, within the limits of all streams.

    The kernel is told when what is captured grew by an eighth and when capturing ends, since each
    time it gets all of it.
    """

    def __init__(
        self, comm_id: str, state: dict[str, Any], kernel_client: KernelClient, executor: OutputFold
    ) -> None:
        super().__init__(comm_id, {**state, "outputs": []}, kernel_client, executor)
        self.parent_header: dict[str, Any] = {}
        self.stream_outputs = _StreamOutputs(executor.streams)
        self._size = 0
        self._told_size = 0
        self._adopt(state.get("outputs", []))

    def _adopt(self, outputs: Any) -> None:
        """Show *outputs*, which the kernel set."""
        self.stream_outputs.release()
        # Copies, since they are changed here: an event's content never is.
        self.outputs = []
        for output in outputs:
            node = from_dict(output)
            self.outputs.append(node)
            self.stream_outputs.note(node)
        self._size = self._told_size = len(msgspec.json.encode(outputs))
        self._show()

    def output(
        self,
        outs: list[NotebookNode],  # noqa: ARG002 - all three are nbclient's signature
        msg: Message,
        display_id: str | None,  # noqa: ARG002
        cell_index: int,  # noqa: ARG002
    ) -> None:
        """Take an output that a cell published while this widget captured."""
        self.parent_header = msg["parent_header"]
        if self.clear_before_next_output:
            self.clear_before_next_output = False
            self._clear()
        if not self.stream_outputs.extend(self.outputs, msg):
            node = output_from_msg(msg)
            self.outputs.append(node)
            self.stream_outputs.note(node)
        self._size += _size_as_json(msg["content"])
        self._show()
        if self._size - self._told_size >= self._told_size // 8:
            self.sync_state()

    def clear_output(
        self,
        outs: list[NotebookNode],  # noqa: ARG002 - both are nbclient's signature
        msg: Message,
        cell_index: int,  # noqa: ARG002
    ) -> None:
        """Clear what was captured, at once or before the next output."""
        self.parent_header = msg["parent_header"]
        if msg["content"].get("wait"):
            self.clear_before_next_output = True
            return
        self._clear()
        self._show()
        self.sync_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what the kernel changed: the outputs, or whether this widget captures."""
        if "outputs" in state:
            self._adopt(state["outputs"])
        super().set_state(state)
        if "msg_id" in state and not state["msg_id"] and self._size != self._told_size:
            self.sync_state()

    def sync_state(self) -> None:
        """Tell the kernel all that was captured."""
        self.stream_outputs.settle()
        self._told_size = self._size
        super().sync_state()

    def _clear(self) -> None:
        self.outputs = []
        self.stream_outputs.release()
        self._size = self._told_size = 0

    def _show(self) -> None:
        self.executor.widget_state[self.comm_id]["outputs"] = self.outputs


def _size_as_json(content: dict[str, Any]) -> int:
    text = content.get("text")
    return size_of(text) if isinstance(text, str) else len(msgspec.json.encode(content))
