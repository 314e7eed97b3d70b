"""The calls that are measured: what the service does, and the same done without it."""

import subprocess
from typing import Any

import nbformat
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel
from nbclient import NotebookClient

from bench.server import Server

CODE = "1+1"
ANSWER_SECONDS = 120
NOTEBOOK = "cells.ipynb"


class Calls:
    """Calls on one server and one warm kernel of it, and on kernels of this process.

    Each returns when the answer is there whole, and raises when it is not the right one.
    """

    def __init__(self, server: Server, *, cell_count: int, printed_bytes: int) -> None:
        self._server = server
        self._prints = _prints(printed_bytes)
        self._printed_bytes = printed_bytes
        self._notebook = _notebook(cell_count)
        nbformat.write(self._notebook, server.root / NOTEBOOK)
        self._session_id = server.ask("POST", "exec/sessions", {}, expect=201)["id"]
        self.run_code()
        session = server.ask("GET", f"exec/sessions/{self._session_id}")
        self._kernel_id = session["kernel_id"]
        self._client = BlockingKernelClient()
        self._client.load_connection_file(str(server.connection_file(self._kernel_id)))
        self._client.start_channels()
        self._client.wait_for_ready(timeout=ANSWER_SECONDS)
        self._own = NotebookClient(self._notebook)
        self._own_printer: tuple[KernelManager, BlockingKernelClient] | None = None

    def close(self) -> None:
        """End this process's kernels and connections; the rest ends with the server."""
        self._client.stop_channels()
        if self._own.km is not None:
            self._own._cleanup_kernel()
        if self._own_printer is not None:
            manager, client = self._own_printer
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    def skip_news(self) -> None:
        """Drop what the raw client heard of others' requests, so that it need not when timed."""
        while self._client.iopub_channel.msg_ready():
            self._client.iopub_channel.get_msg()

    def run_code(self, code: str = CODE) -> dict[str, Any]:
        """Run code in the session, and wait for its final record."""
        record: dict[str, Any] = self._server.ask(
            "POST",
            f"exec/executions?wait={ANSWER_SECONDS}",
            {"code": code, "session_id": self._session_id},
        )
        assert record["state"] == "succeeded", record
        return record

    def run_code_raw(self) -> None:
        """Run code in the session's kernel by `jupyter_client` alone."""
        run_raw(self._client, CODE)

    def run_code_nbmodel(self) -> None:
        """Run code in the session's kernel by jupyter-server-nbmodel, and poll for the result."""
        path = f"api/kernels/{self._kernel_id}"
        accepted = self._server.ask("POST", f"{path}/execute", {"code": CODE}, expect=202)
        while True:
            status, body = self._server.request("GET", f"{path}/requests/{accepted['request_id']}")
            if status != 202:
                assert status == 200, body
                return

    def submit(self) -> None:
        """Submit code to the session, and wait for nothing."""
        self._submitted = self._server.ask(
            "POST",
            "exec/executions",
            {"code": CODE, "session_id": self._session_id},
            expect=202,
        )["id"]

    def await_submitted(self) -> None:
        """Wait until what was submitted last has run."""
        path = f"exec/executions/{self._submitted}?wait={ANSWER_SECONDS}"
        assert self._server.ask("GET", path)["state"] == "succeeded"

    def get_me(self) -> None:
        """Ask the server who I am: its own smallest authenticated request."""
        self._server.ask("GET", "api/me")

    def run_notebook(self, *, session_id: str | None = None) -> None:
        """Run the notebook in a kernel of its own, or in the session, and wait for its record."""
        body: dict[str, Any] = {"notebook": {"path": NOTEBOOK}}
        if session_id is not None:
            body["session_id"] = session_id
        record = self._server.ask("POST", f"exec/executions?wait={ANSWER_SECONDS}", body)
        assert record["state"] == "succeeded", record

    def run_notebook_warm(self) -> None:
        """Run the notebook in the session, and wait for its record."""
        self.run_notebook(session_id=self._session_id)

    def run_notebook_nbclient(self) -> None:
        """Run the notebook by nbclient in this process, in a kernel of its own."""
        NotebookClient(nbformat.from_dict(self._notebook)).execute(stderr=subprocess.DEVNULL)

    def run_notebook_nbclient_warm(self) -> None:
        """Run the notebook by nbclient in this process, in a kernel that is there."""
        self._own.nb = nbformat.from_dict(self._notebook)
        self._own.execute(cleanup_kc=False, stderr=subprocess.DEVNULL)

    def run_prints(self) -> None:
        """Let the session print, and wait for the record with what is kept of it."""
        result = self.run_code(self._prints)["result"]
        kept = {"total_bytes": len(result["stdout"])}
        assert result.get("truncated", kept)["total_bytes"] == self._printed_bytes

    def run_prints_raw(self) -> None:
        """Let a kernel of this process print, and read all of it by `jupyter_client` alone."""
        if self._own_printer is None:
            self._own_printer = start_new_kernel(stderr=subprocess.DEVNULL)
        printed = run_raw(self._own_printer[1], self._prints)
        assert printed == self._printed_bytes, printed


def run_raw(client: BlockingKernelClient, code: str) -> int:
    """Run *code*, read all that it publishes, and return how many characters it printed."""
    msg_id = client.execute(code)
    printed = 0
    while True:
        message = client.iopub_channel.get_msg(timeout=ANSWER_SECONDS)
        if message["parent_header"].get("msg_id") != msg_id:
            continue
        if message["msg_type"] == "stream":
            printed += len(message["content"]["text"])
        elif message["content"].get("execution_state") == "idle":
            break
    while True:
        reply = client.shell_channel.get_msg(timeout=ANSWER_SECONDS)
        if reply["parent_header"].get("msg_id") == msg_id:
            assert reply["content"]["status"] == "ok", reply["content"]
            return printed


def _prints(size_bytes: int) -> str:
    """Return code that prints so much, a line of a thousand bytes at a time."""
    return f"for _ in range({size_bytes // 1000}): print('x' * 999)"


def _notebook(cell_count: int) -> nbformat.NotebookNode:
    notebook: nbformat.NotebookNode = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        cells=[nbformat.v4.new_code_cell(f"print({number})") for number in range(cell_count)],
    )
    return notebook
