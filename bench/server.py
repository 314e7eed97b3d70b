"""A Jupyter Server in a process of its own, and a client that keeps its connection open."""

import contextlib
import http.client
import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

START_SECONDS = 60
STOP_SECONDS = 20


class Server:
    """A Jupyter Server with all extensions that are installed and *extensions*, until `close`.

    Args:
        without: An installed extension that is switched off.
    """

    def __init__(self, home: Path, *extensions: str, without: str | None = None) -> None:
        self.root = home / "root"
        runtime = home / "runtime"
        for folder in (self.root, runtime):
            folder.mkdir()
        self._token = secrets.token_hex()
        self._log = home / "server.log"
        environment = {
            **os.environ,
            "JUPYTER_TOKEN": self._token,
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyter_server",
                    "--no-browser",
                    "--allow-root",
                    "--ServerApp.ip=127.0.0.1",
                    "--ServerApp.port=0",
                    f"--ServerApp.root_dir={self.root}",
                    *(f"--ServerApp.jpserver_extensions={name}=True" for name in extensions),
                    *([f"--ServerApp.jpserver_extensions={without}=False"] if without else []),
                ],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._runtime = runtime
        self._url = urlsplit(self._wait_for_url(runtime / f"jpserver-{self._process.pid}.json"))
        self._connection = http.client.HTTPConnection(f"{self._url.hostname}:{self._url.port}")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it is, with a slash at the end."""
        return self._url.geturl()

    @property
    def headers(self) -> dict[str, str]:
        """What authorizes a request."""
        return {"Authorization": f"token {self._token}"}

    def _wait_for_url(self, info: Path) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                url: str = json.loads(info.read_text())["url"]
                connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
                connection.request("GET", f"{urlsplit(url).path}api")
                connection.getresponse()
                connection.close()
                return url
            time.sleep(0.05)
        raise RuntimeError(f"the server did not start:\n{self._log.read_text()}")

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Return status and body of the answer, over the one connection."""
        self._connection.request(
            method,
            self._url.path + path,
            body=None if body is None else json.dumps(body).encode(),
            headers=self.headers,
        )
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def ask(self, method: str, path: str, body: Any = None, *, expect: int = 200) -> Any:
        """Return the body of the answer; another status than *expect* is an error."""
        status, text = self.request(method, path, body)
        if status != expect:
            raise RuntimeError(f"{method} {path}: {status} {text[:500]!r}")
        return json.loads(text)

    def connection_file(self, kernel_id: str) -> Path:
        """Return where a kernel's ports are told."""
        return self._runtime / f"kernel-{kernel_id}.json"

    def close(self) -> None:
        """Stop the process, and with it its kernels."""
        self._connection.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
