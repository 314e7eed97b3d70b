"""The parts of an output fold: the streams of one list of outputs, an Output widget, the sizes."""

from collections.abc import Hashable
from typing import Any

from jupyter_client.client import KernelClient
from nbclient.output_widget import OutputWidget
from nbformat import NotebookNode, from_dict

from jupyter_exec_ext.engine.messages import Message
from jupyter_exec_ext.engine.sizes import Measured, Size, counted_bytes_of, size_as_json, sizes_of
from jupyter_exec_ext.engine.streams import StreamBudget, StreamText, size_of

MAX_STREAM_OUTPUTS = 20_000
"""How many stream outputs a run may have, since each costs more memory than its text."""

PART_BYTES = 1_000
"""What an output, a widget or a display id counts for in addition to its JSON: the memory that it
takes in Python."""

VALUE_BYTES = 200
"""What a value or a buffer of a widget counts for in addition to its JSON."""


class ShownBytes:
    """How many bytes each part of the outputs has that is shown now, streams left aside."""

    def __init__(self) -> None:
        self._sizes: dict[Hashable, int] = {}
        self.total = 0

    def set(self, key: Hashable, size: int) -> None:
        """Note that part *key* has *size* bytes now; 0 when it is gone."""
        self.total += size - self._sizes.pop(key, 0)
        if size:
            self._sizes[key] = size

    def get(self, key: Hashable) -> int:
        """Return how many bytes part *key* has."""
        return self._sizes.get(key, 0)


def shown_bytes_of(output: dict[str, Any]) -> int:
    """Return how many bytes an output, or the content of the message that makes it, counts for."""
    if output.get("output_type") == "stream":
        return 0
    if "data" in output:
        brackets = len("[,]")
        sizes = map(counted_bytes_of, (output["data"], output.get("metadata")))
        return PART_BYTES + brackets + sum(sizes)
    return PART_BYTES + counted_bytes_of(output)


_FIELDS = {
    "stream": ("name", "text"),
    "display_data": ("metadata", "data"),
    "execute_result": ("metadata", "data", "execution_count"),
    "error": ("ename", "evalue", "traceback"),
}


def output_of(msg: Message) -> NotebookNode:
    """Return the output that *msg* makes, as nbformat does, but for its validation.

    That takes longer than all else here, and `engine.contents` lets nothing through that is not
    valid.

    Raises:
        KeyError: It makes none, or something of it is missing.
    """
    content = msg["content"]
    node = NotebookNode(output_type=msg["msg_type"])
    # `NotebookNode` would copy the values, which are never changed.
    dict.update(node, {name: content[name] for name in _FIELDS[msg["msg_type"]]})
    return node


class StreamLimits:
    """What all stream outputs of a run share."""

    def __init__(self, max_bytes: int) -> None:
        self.budget = StreamBudget(max_bytes)
        self.output_count = 0
        self.refused_bytes = 0


class StreamOutputs:
    """The stream outputs among the outputs of a cell or an Output widget."""

    def __init__(self, limits: StreamLimits) -> None:
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

    def leave_out(self, size: int) -> None:
        """Count *size* bytes of text that follow the newest, but are not there."""
        if self._texts:
            self._texts[-1][1].leave_out(size)
        else:
            self._refused_bytes += size
            self._limits.refused_bytes += size

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


class OutputArea(OutputWidget):
    """What an Output widget captured, within the limits of all streams.

    The kernel is told when what is captured grew by an eighth and when capturing ends, since each
    time it gets all of it.
    """

    def __init__(
        self, comm_id: str, state: dict[str, Any], kernel_client: KernelClient, executor: Any
    ) -> None:
        super().__init__(comm_id, {**state, "outputs": []}, kernel_client, executor)
        self.parent_header: dict[str, Any] = {}
        self.msg_id = ""
        self.stream_outputs = StreamOutputs(executor.streams)
        self._size = 0
        self._told_size = 0
        self._shown_size = 0
        self._adopt(state)

    def _adopt(self, state: dict[str, Any]) -> None:
        """Show the outputs that the kernel set in *state*."""
        outputs = state.get("outputs", [])
        self.stream_outputs.release()
        # Copies, since they are changed here: an event's content never is.
        self.outputs = []
        self._shown_size = 0
        for output in outputs if _are_outputs(outputs) else ():
            # Neighbouring chunks of one stream merge, as in JupyterLab.
            if self.stream_outputs.extend(
                self.outputs, {"msg_type": output["output_type"], "content": output}
            ):
                continue
            node = from_dict(output)
            self.outputs.append(node)
            self.stream_outputs.note(node)
            self._shown_size += shown_bytes_of(node)
        self._size = self._told_size = sizes_of(state).get("outputs", Size(0, 0)).json_bytes
        self.show()

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
            node = output_of(msg)
            self.outputs.append(node)
            self.stream_outputs.note(node)
            if msg["msg_type"] != "stream":
                self._shown_size += shown_bytes_of(Measured(node, sizes_of(msg["content"])))
        self._size += _size_as_json(msg["content"])
        self.show()
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
        self.show()
        self.sync_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Take what the kernel changed: the outputs, or whether this widget captures."""
        if "outputs" in state:
            self._adopt(state)
        if state.get("msg_id"):
            # nbclient would keep every request that this widget ever captured.
            self._stop_capturing()
        super().set_state(state)
        if "msg_id" in state and not state["msg_id"] and self._size != self._told_size:
            self.sync_state()

    def sync_state(self) -> None:
        """Tell the kernel all that was captured."""
        self.stream_outputs.settle()
        self._told_size = self._size
        super().sync_state()

    def _stop_capturing(self) -> None:
        if self.msg_id:
            self.executor.remove_output_hook(self.msg_id, self)
            self.msg_id = ""

    def close(self) -> None:
        """Capture nothing more, and give back what was captured: another widget has its id."""
        self._stop_capturing()
        self._clear()

    def _clear(self) -> None:
        self.outputs = []
        self.stream_outputs.release()
        self._size = self._told_size = self._shown_size = 0

    def show(self) -> None:
        """Put what was captured in the state of the widget."""
        self.executor.widget_state[self.comm_id]["outputs"] = self.outputs
        self.executor.shown.set((self.comm_id, "outputs"), self._shown_size)


def _size_as_json(content: dict[str, Any]) -> int:
    text = content.get("text")
    return size_of(text) if isinstance(text, str) else size_as_json(content)


def _are_outputs(outputs: Any) -> bool:
    return isinstance(outputs, list) and all(map(_is_output, outputs))


def _is_output(output: Any) -> bool:
    if not isinstance(output, dict) or not isinstance(output.get("output_type"), str):
        return False
    return output["output_type"] != "stream" or all(
        isinstance(output.get(key), str) for key in ("name", "text")
    )
