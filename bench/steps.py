"""Prints where the time of a warm `1+1` with a waiting answer goes, step by step."""

import json
import os
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench.calls import Calls
from bench.server import Server
from bench.stamps import FILE_VARIABLE

ROUNDS = 300


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as home:
        stamps = Path(home) / "stamps"
        os.environ[FILE_VARIABLE] = str(stamps)
        with closing(Server(Path(home), "bench.stamps")) as server:
            calls = Calls(server, cell_count=1, printed_bytes=0)
            with closing(calls):
                times = [_timed(calls) for _ in range(ROUNDS)]
        lines = [json.loads(line) for line in stamps.read_text().splitlines()[-ROUNDS:]]
    whole = sorted(
        [("request sent", begin), *map(tuple, line), ("answer read", end)]
        for line, (begin, end) in zip(lines, times, strict=True)
    )
    usual = list(map(_names, whole))
    names = max(set(usual), key=usual.count)
    chosen = [line for line in whole if _names(line) == names]
    for number in range(1, len(names)):
        step = [line[number][1] - line[number - 1][1] for line in chosen]
        print(f"{statistics.median(step) * 1000:8.2f} ms  {names[number - 1]} -> {names[number]}")
    total = [line[-1][1] - line[0][1] for line in chosen]
    print(f"{statistics.median(total) * 1000:8.2f} ms  in all (median of {len(chosen)})")


def _names(line: list[tuple[str, float]]) -> tuple[str, ...]:
    return tuple(name for name, _ in line)


def _timed(calls: Calls) -> tuple[float, float]:
    begin = time.perf_counter()
    calls.run_code()
    return begin, time.perf_counter()


if __name__ == "__main__":
    main()
