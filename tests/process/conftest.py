"""Jupyter Servers as processes of their own, to be stopped and killed."""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

START_SECONDS = 30
STOP_SECONDS = 20


class ServerProcess:
    """A Jupyter Server with the extension, in a process of its own."""

    def __init__(
        self, home: Path, root: Path, *arguments: str, base_url: str = "/user/ada%40example.org/"
    ) -> None:
        self.root = root
        self.token = secrets.token_hex()
        self.log_path = home / f"server-{secrets.token_hex(4)}.log"
        runtime = home / "runtime"
        for folder in (root, runtime):
            folder.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "HOME": str(home),
            "JUPYTER_TOKEN": self.token,
            "JUPYTER_DATA_DIR": str(home / "data"),
            "JUPYTER_RUNTIME_DIR": str(runtime),
            "JUPYTER_CONFIG_DIR": str(home / "config"),
            "PYTHONWARNINGS": "default",
        }
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyter_server",
                    "--no-browser",
                    "--allow-root",
                    "--ServerApp.ip=127.0.0.1",
                    "--ServerApp.port=0",
                    f"--ServerApp.base_url={base_url}",
                    f"--ServerApp.root_dir={root}",
                    *arguments,
                ],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = self._wait_for_url(runtime / f"jpserver-{self.process.pid}.json")
        self.http = httpx.Client(
            base_url=f"{self.url}exec/",
            headers={"Authorization": f"token {self.token}"},
            timeout=60,
        )

    def _wait_for_url(self, info_path: Path) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, ValueError, httpx.TransportError):
                url: str = json.loads(info_path.read_text())["url"]
                httpx.get(f"{url}api", timeout=5)
                return url
            time.sleep(0.05)
        raise AssertionError(f"the server did not start:\n{self.log}")

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def write_notebook(self, name: str, *sources: str, kernel_name: str = "python3") -> str:
        cells: list[dict[str, Any]] = [
            {
                "cell_type": "code",
                "id": f"c{number}",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
                "source": source,
            }
            for number, source in enumerate(sources)
        ]
        metadata = {"kernelspec": {"name": kernel_name, "display_name": kernel_name}}
        model = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
        (self.root / name).write_text(json.dumps(model))
        return name

    def start(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = self.http.post("executions", json={"notebook": {"path": path}, **fields})
        assert answer.status_code == 202, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def get(self, execution_id: str, **params: Any) -> dict[str, Any]:
        answer = self.http.get(f"executions/{execution_id}", params=params)
        assert answer.status_code == 200, answer.text
        record: dict[str, Any] = answer.json()
        return record

    def events(self, execution_id: str, **params: Any) -> list[dict[str, Any]]:
        headers = {"Accept": "application/x-ndjson"}
        path = f"executions/{execution_id}/events"
        answer = self.http.get(path, params=params, headers=headers)
        assert answer.status_code == 200, answer.text
        return [json.loads(line) for line in answer.text.splitlines()]

    def until(self, execution_id: str, is_true: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        record: dict[str, Any] = {}
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            record = self.get(execution_id)
            if is_true(record):
                return record
            time.sleep(0.05)
        raise AssertionError(f"it never came true: {record}")

    def kernels(self) -> list[psutil.Process]:
        """Return the kernel processes that live."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return [
                child
                for child in psutil.Process(self.process.pid).children(recursive=True)
                if "ipykernel_launcher" in " ".join(child.cmdline())
            ]
        return []

    def kill(self) -> None:
        """End the process as a crash or a power cut does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """Stop it as a hub does; return how many seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(STOP_SECONDS)
        return time.monotonic() - began

    def close(self) -> None:
        self.http.close()
        kernels = self.kernels()
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        for kernel in kernels:
            with contextlib.suppress(psutil.NoSuchProcess):
                kernel.kill()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Start a server; all servers of a test share one home, as those of one user do."""
    started: list[ServerProcess] = []

    def start(*arguments: str, root: str = "root") -> ServerProcess:
        server = ServerProcess(tmp_path / "home", tmp_path / root, *arguments)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
