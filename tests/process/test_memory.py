"""How much memory and time a server spends on code that prints far too much.

The server's own account of a kernel's activity reads all its output as well, so what counts is how
much more a server with the extension takes than one without for the same code.
"""

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient

from tests.process.conftest import ServerProcess

pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif(sys.platform != "linux", reason="resident memory, as Linux counts it"),
]

Start = Callable[..., ServerProcess]

ONE_PRINT = "import time\ntime.sleep(1)\nprint('x' * 200_000_000)"
ENDLESS = "while True:\n    print('x' * 1000)"
ENDLESS_SECONDS = 5

MAX_PEAK_BYTES = 250_000_000
MAX_SETTLED_BYTES = 64_000_000
MAX_SETTLING_SECONDS = 10
MAX_ANSWER_SECONDS = 1.0
MAX_CANCEL_SECONDS = 15

WAIT_SECONDS = 60


@dataclass
class Use:
    """What a server used in some time: memory beyond what it had, and its slowest answer."""

    base_bytes: int
    peak_bytes: int = 0
    answer_seconds: float = 0.0


@contextlib.contextmanager
def watching(server: ServerProcess, url: str) -> Iterator[Use]:
    """Watch the memory of *server*, and how fast it answers ``GET`` *url*."""
    use = Use(base_bytes=psutil.Process(server.process.pid).memory_info().rss)
    is_over = threading.Event()

    def watch_answers() -> None:
        with httpx.Client(headers=server.http.headers, timeout=WAIT_SECONDS) as http:
            while not is_over.wait(0.02):
                began = time.monotonic()
                http.get(url).raise_for_status()
                use.answer_seconds = max(use.answer_seconds, time.monotonic() - began)

    thread = threading.Thread(target=watch_answers)
    thread.start()
    try:
        yield use
    finally:
        is_over.set()
        thread.join()
        use.peak_bytes = peak_bytes(server) - use.base_bytes


def peak_bytes(server: ServerProcess) -> int:
    """Return the most memory that the process ever had, of which no moment is missed."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return int(kilobytes) * 1024


def settled_bytes(server: ServerProcess, use: Use) -> int:
    """Wait until memory is about as it was, but not for long; return how much more it is."""
    process = psutil.Process(server.process.pid)
    deadline = time.monotonic() + MAX_SETTLING_SECONDS
    while True:
        growth = int(process.memory_info().rss) - use.base_bytes
        if growth < MAX_SETTLED_BYTES or time.monotonic() > deadline:
            return growth
        time.sleep(0.1)


def use_of_plain_server(server: ServerProcess, code: str, *, seconds: float | None) -> Use:
    """Run *code* in a kernel of a server without the extension, as any client does.

    Args:
        seconds: How long; ``None`` waits until the server knows that it is over.
    """
    url = f"{server.url}api/kernels"
    kernel_id = server.http.post(url, json={"name": "python3"}).json()["id"]
    runtime = server.log_path.parent / "runtime"
    client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel_id}.json"))
    client.load_connection_file()
    client.start_channels()

    def is_in(state: str) -> bool:
        model = server.http.get(f"{url}/{kernel_id}").json()
        return bool(model["execution_state"] == state)

    def says_idle() -> bool:
        # A server that listens too late hears nothing of a kernel that nobody asks.
        client.kernel_info()
        return is_in("idle")

    try:
        client.wait_for_ready(timeout=WAIT_SECONDS)
        until(says_idle)
        with watching(server, f"{server.url}api/status") as use:
            client.execute(code)
            until(lambda: is_in("busy"))
            if seconds is not None:
                time.sleep(seconds)
            else:
                until(lambda: is_in("idle"))
    finally:
        client.stop_channels()
    server.http.delete(f"{url}/{kernel_id}").raise_for_status()
    return use


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def started_pair(start_server: Start) -> tuple[ServerProcess, ServerProcess]:
    """Start a server without the extension, and one with it that has run a notebook before."""
    plain = start_server("--ServerApp.jpserver_extensions={'jupyter_exec_ext': False}")
    server = start_server()
    warm = server.start(server.write_notebook("warm.ipynb", "print(1)"))
    server.until(warm["id"], lambda record: record["state"] == "succeeded")
    return plain, server


def check(use: Use, plain: Use, server: ServerProcess) -> None:
    assert use.peak_bytes - plain.peak_bytes < MAX_PEAK_BYTES
    assert use.answer_seconds < plain.answer_seconds + MAX_ANSWER_SECONDS
    assert settled_bytes(server, use) < MAX_SETTLED_BYTES


def test_one_huge_print_takes_little_memory(start_server: Start) -> None:
    """A print of 200 MB is received, but never there as a text; afterwards its memory is free."""
    plain, server = started_pair(start_server)
    plain_use = use_of_plain_server(plain, ONE_PRINT, seconds=None)

    with watching(server, f"{server.url}exec/") as use:
        record = server.start(server.write_notebook("big.ipynb", ONE_PRINT))
        record = server.get(record["id"], wait=WAIT_SECONDS, view="basic")

    assert record["state"] == "succeeded"
    check(use, plain_use, server)


def test_an_endless_print_takes_little_memory_and_can_be_cancelled(start_server: Start) -> None:
    """However long it goes on: what is kept is bounded, and so is what is on its way."""
    plain, server = started_pair(start_server)
    plain_use = use_of_plain_server(plain, ENDLESS, seconds=ENDLESS_SECONDS)

    with watching(server, f"{server.url}exec/") as use:
        record = server.start(server.write_notebook("endless.ipynb", ENDLESS))
        until(lambda: bool(server.get(record["id"], view="basic")["started"]))
        time.sleep(ENDLESS_SECONDS)
        began = time.monotonic()
        server.http.post(f"executions/{record['id']}/cancel").raise_for_status()
        record = server.get(record["id"], wait=WAIT_SECONDS, view="basic")
        cancel_seconds = time.monotonic() - began

    assert record["state"] == "cancelled"
    assert cancel_seconds < MAX_CANCEL_SECONDS
    check(use, plain_use, server)
