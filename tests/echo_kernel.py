"""A kernel that runs nothing: it prints the code that it gets and shows it as the result, at once.

For tests whose code is made at random or does not matter. It needs pyzmq alone, so it is there in
a twentieth of a second. A few words, after the print, let it take its time or fail as kernels do:

    !sleep SECONDS    until it is interrupted
    !ignore SECONDS   whatever is sent to it meanwhile
    !ask PROMPT       a question, whose answer is printed
    !show COUNT       so many displays, as fast as it can
    !fail WORDS       with an exception
    !die              at once

With the option ``late-stdin`` it can be asked to execute before it can ask.
"""

import hashlib
import hmac
import json
import os
import signal
import sys
import time
import uuid
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import zmq

NAME = "tiny-echo"
DELIMITER = b"<IDS|MSG>"
ORPHAN_CHECK_SECONDS = 1.0

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


def install(data_dir: Path, name: str = NAME, *options: str) -> str:
    """Write the kernelspec into a Jupyter data directory and return its name."""
    folder = data_dir / "kernels" / name
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "argv": [sys.executable, str(Path(__file__).resolve()), "{connection_file}", *options],
        "display_name": "Tiny echo",
        "language": "echo",
        "interrupt_mode": "message",
    }
    (folder / "kernel.json").write_text(json.dumps(spec))
    return name


class EchoKernel:
    """The kernel: its five sockets and what it answers."""

    def __init__(self, connection: dict[str, Any], *options: str) -> None:
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
        self._bind_stdin = partial(bind, zmq.ROUTER, "stdin_port")
        self._stdin = None if "late-stdin" in options else self._bind_stdin()
        self._control = bind(zmq.ROUTER, "control_port")
        self._shell = bind(zmq.ROUTER, "shell_port")
        self._is_interrupted = False
        self._parent = os.getppid()

    def run(self) -> None:
        """Answer until a shutdown is asked for, or the server is gone."""
        while True:
            if self._shell in self._poll(ORPHAN_CHECK_SECONDS, self._shell):
                self._answer(self._shell)
                self._stdin = self._stdin or self._bind_stdin()

    def _poll(self, seconds: float, *sockets: zmq.Socket[bytes]) -> set[zmq.Socket[bytes]]:
        """Return which of *sockets* have something; serve the two that never wait meanwhile."""
        if os.getppid() != self._parent:
            raise SystemExit
        poller = zmq.Poller()
        for socket in (self._heartbeat, self._control, *sockets):
            poller.register(socket, zmq.POLLIN)
        ready = {socket for socket, _ in poller.poll(int(1000 * seconds))}
        if self._heartbeat in ready:
            self._heartbeat.send(self._heartbeat.recv())
        if self._control in ready and self._answer(self._control) == "shutdown_request":
            raise SystemExit
        return ready

    def _answer(self, socket: zmq.Socket[bytes]) -> str:
        """Answer one request and return its type."""
        frames = socket.recv_multipart()
        start = frames.index(DELIMITER)
        header, content = json.loads(frames[start + 2]), json.loads(frames[start + 5])
        kind: str = header["msg_type"]
        self._publish("status", {"execution_state": "busy"}, header)
        if kind == "execute_request":
            reply = self._execute(content, header, frames[:start])
        else:
            self._is_interrupted |= kind == "interrupt_request"
            reply = INFO if kind == "kernel_info_request" else {"status": "ok", **content}
        reply_kind = kind.removesuffix("_request") + "_reply"
        socket.send_multipart([*frames[:start], *self._message(reply_kind, reply, header)])
        self._publish("status", {"execution_state": "idle"}, header)
        return kind

    def _execute(
        self, content: dict[str, Any], header: dict[str, Any], identities: list[bytes]
    ) -> dict[str, Any]:
        code = content["code"]
        if not content.get("silent", False):
            self._count += 1
            self._is_interrupted = False
            self._publish("execute_input", {"code": code, "execution_count": self._count}, header)
            self._print(code, header)
            try:
                self._obey(code, header, identities)
            except (KeyboardInterrupt, RuntimeError) as error:
                return self._error(error, header)
            shown = {"data": {"text/plain": code}, "metadata": {}}
            self._publish("execute_result", {**shown, "execution_count": self._count}, header)
        return {"status": "ok", "execution_count": self._count, "user_expressions": {}}

    def _obey(self, code: str, header: dict[str, Any], identities: list[bytes]) -> None:
        word, _, argument = code.partition(" ")
        match word:
            case "!sleep":
                self._wait(float(argument))
            case "!ignore":
                time.sleep(float(argument))
            case "!ask":
                assert self._stdin is not None
                question = {"prompt": argument, "password": False}
                message = self._message("input_request", question, header)
                self._stdin.send_multipart([*identities, *message])
                self._wait(float("inf"), self._stdin)
                self._print(json.loads(self._stdin.recv_multipart()[-1])["value"], header)
            case "!show":
                for number in range(int(argument)):
                    shown = {"data": {"text/plain": f"{number}"}, "metadata": {}}
                    self._publish("display_data", {**shown, "transient": {}}, header)
            case "!fail":
                raise RuntimeError(argument)
            case "!die":
                os._exit(1)

    def _wait(self, seconds: float, *sockets: zmq.Socket[bytes]) -> None:
        """Wait so long, or until one of *sockets* has something.

        Raises:
            KeyboardInterrupt: It was interrupted meanwhile.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            ready = self._poll(min(left, ORPHAN_CHECK_SECONDS), *sockets)
            if not ready.isdisjoint(sockets):
                return
            if self._is_interrupted:
                raise KeyboardInterrupt

    def _error(self, error: BaseException, header: dict[str, Any]) -> dict[str, Any]:
        facts = {"ename": type(error).__name__, "evalue": str(error), "traceback": []}
        self._publish("error", facts, header)
        return {"status": "error", "execution_count": self._count, **facts}

    def _print(self, text: str, parent: dict[str, Any]) -> None:
        self._publish("stream", {"name": "stdout", "text": f"{text}\n"}, parent)

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
    EchoKernel(json.loads(Path(sys.argv[1]).read_text()), *sys.argv[2:]).run()
