"""Prints how fast and in how much memory a server reads 300 MB that a kernel prints in pieces.

Two servers take turns: one with the extension that runs the code, and one without, where a bare
`jupyter_client` runs the same code and reads all of it. Each piece is a message, or as ipykernel
gathers them: what was printed in 0.2 seconds.
"""

import argparse
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from jupyter_client.blocking.client import BlockingKernelClient

from bench.calls import ANSWER_SECONDS, run_raw
from bench.server import Server

EXTENSION = "jupyter_exec_ext"
SIZES = (1_000, 10_000, 100_000, 5_000_000)
POLL_SECONDS = 0.02
MAX_MESSAGES = 10_000


@dataclass(frozen=True)
class Use:
    """What a run took: seconds, megabytes of memory, and how fast the server answered meanwhile."""

    seconds: float
    growth_mb: float
    answer_ms: float


def measured(server: Server, run: Callable[[], None]) -> Use:
    """Run, and return what that took of *server*; answers are the 95th percentile."""
    process = psutil.Process(server.pid)
    Path(f"/proc/{server.pid}/clear_refs").write_text("5")  # Resets VmHWM.
    base = process.memory_info().rss
    is_over = threading.Event()
    answers: list[float] = []

    def poll() -> None:
        with httpx.Client(headers=server.headers, timeout=ANSWER_SECONDS) as http:
            while not is_over.wait(POLL_SECONDS):
                begin = time.perf_counter()
                http.get(f"{server.url}api/status").raise_for_status()
                answers.append(time.perf_counter() - begin)

    poller = threading.Thread(target=poll)
    poller.start()
    begin = time.perf_counter()
    try:
        run()
    finally:
        seconds = time.perf_counter() - begin
        is_over.set()
        poller.join()
    status = Path(f"/proc/{server.pid}/status").read_text()
    (kilobytes,) = re.findall(r"VmHWM:\s*(\d+) kB", status)
    return Use(
        seconds=seconds,
        growth_mb=(int(kilobytes) * 1024 - base) / 1e6,
        answer_ms=1000 * statistics.quantiles(answers, n=20)[-1],
    )


def code_of(size: int, total_bytes: int, *, is_flushed: bool) -> tuple[str, int]:
    """Return code that prints in pieces of *size*, and how many bytes it prints."""
    count = max(1, total_bytes // size)
    if is_flushed:
        count = min(count, MAX_MESSAGES)
    code = f"for _ in range({count}): print('y' * {size - 1}, flush={is_flushed})"
    return code, count * size


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.pieces", description=__doc__)
    parser.add_argument("--bytes", type=int, default=300_000_000, help="how much is printed")
    total_bytes = parser.parse_args().bytes
    with tempfile.TemporaryDirectory() as home:
        for name in ("ours", "plain"):
            (Path(home) / name).mkdir()
        with (
            closing(Server(Path(home) / "ours")) as ours,
            closing(Server(Path(home) / "plain", without=EXTENSION)) as plain,
        ):
            _compare(ours, plain, total_bytes)


def _compare(ours: Server, plain: Server, total_bytes: int) -> None:
    session_id = ours.ask("POST", "exec/sessions", {}, expect=201)["id"]
    kernel_id = plain.ask("POST", "api/kernels", {}, expect=201)["id"]
    client = BlockingKernelClient()
    client.load_connection_file(str(plain.connection_file(kernel_id)))
    client.start_channels(hb=False)
    client.wait_for_ready(timeout=ANSWER_SECONDS)

    execution_id = [""]

    def run_ours(code: str) -> None:
        body = {"code": code, "session_id": session_id}
        path = f"exec/executions?wait={ANSWER_SECONDS}&view=basic"
        execution_id[0] = ours.ask("POST", path, body)["id"]

    def check_ours(size: int) -> None:
        result = ours.ask("GET", f"exec/executions/{execution_id[0]}")["result"]
        printed = {"total_bytes": len(result.get("stdout", ""))}
        assert result.get("truncated", printed)["total_bytes"] == size, result.get("truncated")

    def run_plain(code: str, size: int) -> None:
        printed = run_raw(client, code)
        assert printed == size, printed

    try:
        run_ours("print(1)")
        run_plain("print(1)", 2)
        print("pieces        bare s   ours s   rate  | growth MB plain  ours  | p95 ms plain  ours")
        for size in SIZES:
            for is_flushed in (False, True):
                code, printed = code_of(size, total_bytes, is_flushed=is_flushed)
                other = measured(plain, lambda c=code, n=printed: run_plain(c, n))  # type: ignore[misc]
                own = measured(ours, lambda c=code: run_ours(c))  # type: ignore[misc]
                check_ours(printed)
                print(
                    f"{size:>9}{' each' if is_flushed else '     '}{other.seconds:8.2f}"
                    f"{own.seconds:9.2f}{other.seconds / own.seconds:8.2f}"
                    f"{other.growth_mb:18.0f}{own.growth_mb:6.0f}"
                    f"{other.answer_ms:16.0f}{own.answer_ms:6.0f}",
                    flush=True,
                )
    finally:
        client.stop_channels()


if __name__ == "__main__":
    main()
