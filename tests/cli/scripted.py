"""A server that answers what a test says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Scripted:
    """A server; its answers are taken in order, its requests are kept.

    An answer *to* an end of a path is for requests of such paths, which come in any order.
    """

    url: str = ""
    answers: list[tuple[str, int, dict[str, str], bytes]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, list[str]], Any, str | None]] = field(
        default_factory=list
    )

    def answer(self, status: int, body: Any = None, *, to: str = "", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers.append((to, status, headers, b"" if status == 204 else content))


@contextmanager
def scripted_server() -> Iterator[Scripted]:
    scripted = Scripted()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            content = self._content()
            is_json = self.headers.get("Content-Type") == "application/json"
            body = json.loads(content) if is_json else content or None
            scripted.requests.append(
                (
                    self.command,
                    parts.path,
                    parse_qs(parts.query),
                    body,
                    self.headers["Authorization"],
                )
            )
            answer = next(one for one in scripted.answers if parts.path.endswith(one[0]))
            scripted.answers.remove(answer)
            _, status, headers, content = answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            # With X-Cut the connection ends before all is there.
            cut = int(headers.get("X_Cut", 0))
            self.send_header("Content-Length", str(len(content) + cut))
            self.end_headers()
            self.wfile.write(content)
            self.close_connection = bool(cut)

        def _content(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        do_GET = do_POST = do_DELETE = do_PUT = _answer  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = False
    thread = threading.Thread(target=http.serve_forever, args=(0.01,))
    thread.start()
    scripted.url = f"http://127.0.0.1:{http.server_port}/user/a%40b"
    try:
        yield scripted
    finally:
        http.shutdown()
        thread.join()
        http.server_close()
