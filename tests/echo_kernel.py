"""A kernel that runs nothing: it prints the code that it gets and shows it as the result, at once.

For tests whose code is made at random or does not matter. It needs pyzmq alone, so it is there in
a twentieth of a second.
"""

import hashlib
import hmac
import json
import os
import signal
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zmq

NAME = "tiny-echo"
DELIMITER = b"<IDS|MSG>"
ORPHAN_CHECK_MILLISECONDS = 1000

INFO = {
    "status": "ok",
    "protocol_version": "5.3",
    "implementation": NAME,
    "implementation_version": "1",
    "language_info": {
        "name": "echo",
        "version": "1",
        "mimetype": "text/plain",
        "file_extension": ".txt",
    },
    "banner": "Says what it is told.",
    "help_links": [],
}


def install(data_dir: Path) -> str:
    """Write the kernelspec into a Jupyter data directory and return its name."""
    folder = data_dir / "kernels" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [sys.executable, str(Path(__file__).resolve()), "{connection_file}"],
        "display_name": "Tiny echo",
        "language": "echo",
        "interrupt_mode": "message",
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    return NAME


class EchoKernel:
    """The kernel: its five sockets and what it answers."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self._key = connection["key"].encode()
        self._msg_session = uuid.uuid4().hex
        self._count = 0
        context = zmq.Context()

        def bind(kind: int, name: str) -> zmq.Socket[bytes]:
            socket = context.socket(kind)
            socket.linger = 1000
            socket.bind(f"{connection['transport']}://{connection['ip']}:{connection[name]}")
            return socket

        self._iopub = bind(zmq.PUB, "iopub_port")
        self._heartbeat = bind(zmq.REP, "hb_port")
        self._stdin = bind(zmq.ROUTER, "stdin_port")
        self._requests = [bind(zmq.ROUTER, "control_port"), bind(zmq.ROUTER, "shell_port")]

    def run(self) -> None:
        """Answer until a shutdown is asked for, or the server is gone."""
        parent = os.getppid()
        poller = zmq.Poller()
        for socket in (self._heartbeat, *self._requests):
            poller.register(socket, zmq.POLLIN)
        while os.getppid() == parent:
            ready = dict(poller.poll(ORPHAN_CHECK_MILLISECONDS))
            if self._heartbeat in ready:
                self._heartbeat.send(self._heartbeat.recv())
            for socket in self._requests:
                if socket in ready and self._answer(socket) == "shutdown_request":
                    return

    def _answer(self, socket: zmq.Socket[bytes]) -> str:
        """Answer one request and return its type."""
        frames = socket.recv_multipart()
        start = frames.index(DELIMITER)
        header, content = json.loads(frames[start + 2]), json.loads(frames[start + 5])
        kind: str = header["msg_type"]
        self._publish("status", {"execution_state": "busy"}, header)
        reply = self._reply(kind, content, header)
        reply_kind = kind.removesuffix("_request") + "_reply"
        socket.send_multipart([*frames[:start], *self._message(reply_kind, reply, header)])
        self._publish("status", {"execution_state": "idle"}, header)
        return kind

    def _reply(self, kind: str, content: dict[str, Any], header: dict[str, Any]) -> dict[str, Any]:
        if kind == "kernel_info_request":
            return INFO
        if kind != "execute_request":
            return {"status": "ok", **content}
        code, silent = content["code"], content.get("silent", False)
        if not silent:
            self._count += 1
            self._publish("execute_input", {"code": code, "execution_count": self._count}, header)
            self._publish("stream", {"name": "stdout", "text": f"{code}\n"}, header)
            shown = {"data": {"text/plain": code}, "metadata": {}}
            self._publish("execute_result", {**shown, "execution_count": self._count}, header)
        return {"status": "ok", "execution_count": self._count, "user_expressions": {}}

    def _publish(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> None:
        self._iopub.send_multipart([kind.encode(), *self._message(kind, content, parent)])

    def _message(self, kind: str, content: dict[str, Any], parent: dict[str, Any]) -> list[bytes]:
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": self._msg_session,
            "username": "echo",
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        }
        parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
        signature = hmac.new(self._key, b"".join(parts), hashlib.sha256).hexdigest()
        return [DELIMITER, signature.encode(), *parts]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    EchoKernel(json.loads(Path(sys.argv[1]).read_text())).run()
