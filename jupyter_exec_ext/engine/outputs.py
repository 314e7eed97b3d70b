"""Folds what a kernel publishes into the outputs of a notebook's cells.

The meaning of the messages (display ids, ``clear_output``, widgets, Output areas) is nbclient's
`process_message`; this adds JupyterLab's rule for streams and limits. Each message is first made
an event (`event_of`), so that the same fold works on live kernels and on stored events.
"""

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from jupyter_client.client import KernelClient
from jupyter_client.session import Session
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal
from nbformat import NotebookNode, from_dict

from jupyter_exec_ext.core.models import Event, EventType, Output
from jupyter_exec_ext.engine.channels import Message
from jupyter_exec_ext.engine.streams import StreamBudget, StreamText

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

_MALFORMED = (KeyError, TypeError, AttributeError, IndexError, ValueError, AssertionError)
"""What nbclient raises over a message that is not as the protocol says."""


def event_of(message: Message) -> tuple[EventType, dict[str, Any]] | None:
    """Return what *message* means for the outputs of its cell; ``None`` when nothing.

    The content can be encoded as JSON in UTF-8, whatever the kernel sent: lone surrogates are
    replaced, too deep nesting is cut. ``msg_type`` and, for widgets, ``msg_id`` of
    the parent and base64 ``buffers`` stand in the content.
    """
    msg_type = message["header"]["msg_type"]
    event_type = _TYPE_OF.get(msg_type)
    if event_type is None or not _is_well_formed(msg_type, message["content"]):
        return None
    content: dict[str, Any] = message["content"]
    if event_type is EventType.STREAM:
        text = content["text"]
        if not text.isascii():
            text = text.encode("utf-8", "replace").decode()
        return event_type, {"name": content["name"], "text": text}
    content = _encodable({**content, "msg_type": msg_type})
    if event_type is EventType.COMM:
        content["buffers"] = [base64.b64encode(buffer).decode() for buffer in message["buffers"]]
    content["parent_id"] = message["parent_header"].get("msg_id")
    return event_type, content


def _is_well_formed(msg_type: str, content: Any) -> bool:
    if not isinstance(content, Mapping):
        return False
    match msg_type:
        case "stream":
            return content.get("name") in ("stdout", "stderr") and isinstance(
                content.get("text"), str
            )
        case "display_data" | "execute_result" | "update_display_data":
            return isinstance(content.get("data"), Mapping)
        case "error":
            return all(isinstance(content.get(key), str) for key in ("ename", "evalue"))
        case "comm_open" | "comm_msg":
            return isinstance(content.get("data"), Mapping) and isinstance(
                content.get("comm_id"), str
            )
    return True


def _encodable(value: Any) -> Any:
    """Return *value* changed as little as makes it JSON; the same object where it already is."""
    try:
        msgspec.json.encode(value)
    except (UnicodeEncodeError, OverflowError, TypeError, ValueError, RecursionError):
        return _cleaned(value, depth=200)
    return value


def _cleaned(value: Any, *, depth: int) -> Any:
    if depth == 0:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, Mapping):
        return {
            _cleaned(str(key), depth=1): _cleaned(item, depth=depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, Sequence):
        return [_cleaned(item, depth=depth - 1) for item in value]
    return value


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
        notebook = from_dict(  # type: ignore[no-untyped-call]
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
        self.budget = StreamBudget(max_stream_bytes)
        self._texts: dict[int, list[tuple[NotebookNode, StreamText]]] = {}
        self._text_count = 0
        self._cell_waiting_to_clear: set[int] = set()

    def apply(self, event: Event) -> None:
        """Fold one event in; a malformed one changes nothing."""
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
        self.clear_before_next_output = event.cell_index in self._cell_waiting_to_clear
        try:
            self.process_message(message, self.nb.cells[event.cell_index], event.cell_index)
        except CellControlSignal:
            pass
        except _MALFORMED as error:
            _silent.debug("left out: %s", type(error).__name__)
        if self.clear_before_next_output:
            self._cell_waiting_to_clear.add(event.cell_index)
        else:
            self._cell_waiting_to_clear.discard(event.cell_index)

    def set_execution_count(self, cell_index: int, count: int | None) -> None:
        """Note the kernel's prompt number of a cell."""
        self.nb.cells[cell_index]["execution_count"] = count

    def execution_count(self, cell_index: int) -> int | None:
        """Return the kernel's prompt number of a cell; ``None`` before it ran."""
        count: int | None = self.nb.cells[cell_index]["execution_count"]
        return count

    def outputs(self, cell_index: int) -> list[Output]:
        """Return the outputs of a cell as they are now; they must not be changed."""
        for node, text in self._texts.get(cell_index, ()):
            node["text"] = text.value
        outputs: list[Output] = self.nb.cells[cell_index]["outputs"]
        return outputs

    def measure(self) -> int:
        """Return how many bytes the outputs, streams left aside, and the widgets have as JSON."""
        outputs = [
            output
            for cell in self.nb["cells"]
            for output in cell["outputs"]
            if output["output_type"] != "stream"
        ]
        return len(msgspec.json.encode([outputs, self.widget_state]))

    def widget_metadata(self) -> dict[str, Any]:
        """Return the ``widgets`` entry of the notebook's metadata, empty without widgets."""
        self.set_widgets_metadata()
        widgets: dict[str, Any] = self.nb.metadata.get("widgets", {})
        return widgets

    def output(
        self, outs: list[NotebookNode], msg: Message, display_id: str | None, cell_index: int
    ) -> NotebookNode | None:
        """Take an output; neighbouring chunks of one stream merge, as in JupyterLab."""
        is_cleared = self.clear_before_next_output
        hooked = self.output_hook_stack[msg["parent_header"].get("msg_id")]
        texts = self._texts.setdefault(cell_index, [])
        if msg["msg_type"] == "stream" and not hooked and outs and not is_cleared and texts:
            node, text = texts[-1]
            if outs[-1] is node and node["name"] == msg["content"]["name"]:
                text.append(msg["content"]["text"])
                return node
        if is_cleared and not hooked:
            self._release(cell_index)
        if msg["msg_type"] == "stream" and self._text_count >= MAX_STREAM_OUTPUTS:
            self.budget.lost_bytes += len(msg["content"]["text"])
            return None
        out: NotebookNode | None = super().output(outs, msg, display_id, cell_index)
        if out is not None and out["output_type"] == "stream":
            text = StreamText(self.budget)
            self._text_count += 1
            text.append(out["text"])
            out["text"] = ""
            self._texts.setdefault(cell_index, []).append((out, text))
        return out

    def clear_output(self, outs: list[NotebookNode], msg: Message, cell_index: int) -> None:
        """Clear the outputs of a cell, at once or before its next output."""
        super().clear_output(outs, msg, cell_index)
        if not outs:
            self._release(cell_index)

    def _release(self, cell_index: int) -> None:
        for _, text in self._texts.pop(cell_index, ()):
            self.budget.release(text)
            self._text_count -= 1
