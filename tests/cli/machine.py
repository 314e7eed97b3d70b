"""A machine of its own for the command line: home, Jupyter folders, notebooks and processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

COMMAND = Path(sys.executable).with_name("jupyter-exec")
PATIENCE_SECONDS = 90

_WITH_DEFAULT_SIGNALS = (
    "import os, signal, sys;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""A test run in the background ignores SIGINT, or under ``nohup`` SIGHUP; so would its children."""


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Return the first true value of *condition*."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


def descendants(pid: int) -> list[psutil.Process]:
    """Return all processes below *pid* that are there now."""
    with suppress(psutil.NoSuchProcess):
        return list(psutil.Process(pid).children(recursive=True))
    return []


def assert_gone(processes: Sequence[psutil.Process]) -> None:
    """Fail when one of them is still there after a moment in which a kill may take effect."""
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert [process.cmdline() for process in alive if process.is_running()] == []


@dataclass
class Machine:
    """Where commands run: everything that they leave is below one folder."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def runtime(self) -> Path:
        """The folder with the files of running servers."""
        return Path(self.environment["JUPYTER_RUNTIME_DIR"])

    def notebook(self, name: str, *sources: str, **metadata: Any) -> Path:
        """Write a notebook with one code cell for each source."""
        path = self.folder / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cells: list[dict[str, Any]] = [
            {
                "id": f"cell-{number}",
                "cell_type": "code",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": source,
            }
            for number, source in enumerate(sources)
        ]
        content = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
        path.write_text(json.dumps(content))
        return path

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run the command to its end; return its exit code and both its streams."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=PATIENCE_SECONDS)
            return process.returncode, out, err

    @contextmanager
    def start(self, *arguments: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
        """Start the command; nothing of it is left afterwards."""
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        process = subprocess.Popen(
            [sys.executable, "-c", _WITH_DEFAULT_SIGNALS, str(COMMAND), *arguments],
            env=self.environment,
            cwd=self.folder / "work",
            text=True,
            **given,
        )
        try:
            yield process
        finally:
            left = descendants(process.pid)
            process.kill()
            process.wait()
            for child in left:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def make_machine(folder: Path) -> Machine:
    """Return a machine below *folder*."""
    (folder / "work").mkdir()
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "JPY_")) and name not in ("COLUMNS", "LINES")
    }
    own = {
        "HOME": "home",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    return Machine(
        folder=folder,
        environment={
            **kept,
            **{name: str(folder / value) for name, value in own.items()},
            "TERM": "xterm-256color",
        },
    )


@dataclass(frozen=True)
class RunningServer:
    """A Jupyter Server with the extension, as somebody else would run it."""

    url: str
    token: str
    root: Path
    process: subprocess.Popen[bytes]


@contextmanager
def running_server(machine: Machine, root: Path) -> Iterator[RunningServer]:
    """Run a server with an odd base URL; its runtime file is on the machine."""
    root.mkdir(exist_ok=True)
    log = (machine.folder / "server.log").open("wb")
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": 0,
        "ServerApp.base_url": "/user/a%40b/",
        "ServerApp.root_dir": root,
        "ServerApp.open_browser": False,
        "ServerApp.allow_root": True,
        "ServerApp.allow_unauthenticated_access": False,
        "ServerApp.reraise_server_extension_failures": True,
    }
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "jupyter_server"),
            *(f"--{name}={value}" for name, value in settings.items()),
        ],
        env={**machine.environment, "JUPYTER_TOKEN": "secret-of-the-server"},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    info_file = machine.runtime / f"jpserver-{process.pid}.json"
    try:

        def read_info() -> Any:
            assert process.poll() is None, (machine.folder / "server.log").read_text()
            with suppress(OSError, ValueError):
                return json.loads(info_file.read_text())

        info = wait_until(read_info, "the server")
        yield RunningServer(info["url"], info["token"], root, process)
    finally:
        left = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        finally:
            for child in left:
                with suppress(psutil.NoSuchProcess):
                    child.kill()
            process.kill()
            process.wait()
            log.close()
