"""Measures the service beside what does the same without it, and prints the ratios.

Both sides of a comparison take turns on one warm server, so that a busy machine hurts both.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.calls import Calls
from bench.server import Server

PACKAGES = (
    "jupyter_exec_ext",
    "jupyter_server",
    "jupyter_client",
    "ipykernel",
    "nbclient",
    "jupyter-server-nbmodel",
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two calls, and how their times should compare.

    Attributes:
        aim: How many times as long as `other` the service may take.
        rounds: How often each is measured, after a tenth of it, or one, that is not counted.
        settle: Called after each call, outside the measured time.
    """

    name: str
    ours: Callable[[], Any]
    other_name: str
    other: Callable[[], Any]
    aim: float
    rounds: int
    settle: Callable[[], Any] = lambda: None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The times of one call, in milliseconds."""

    median: float
    p95: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Figures":
        """Summarize times in seconds."""
        ordered = sorted(seconds)
        p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
        return cls(median=statistics.median(ordered) * 1000, p95=p95 * 1000)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a comparison gave."""

    name: str
    other_name: str
    n: int
    ours: Figures
    other: Figures
    ratio: float
    aim: float
    is_met: bool


def comparisons(calls: Calls, *, is_quick: bool) -> list[Comparison]:
    """Return all comparisons."""
    short, long, longest = (10, 1, 1) if is_quick else (200, 10, 5)
    return [
        Comparison(
            name="1+1 with a waiting answer",
            ours=calls.run_code,
            other_name="jupyter_client",
            other=calls.run_code_raw,
            aim=1.3,
            rounds=short,
            settle=calls.skip_news,
        ),
        Comparison(
            name="1+1 with a waiting answer",
            ours=calls.run_code,
            other_name="jupyter-server-nbmodel",
            other=calls.run_code_nbmodel,
            aim=0.6,
            rounds=short,
        ),
        Comparison(
            name="202 for 1+1",
            ours=calls.submit,
            other_name="GET /api/me",
            other=calls.get_me,
            aim=2.0,
            rounds=short,
            settle=calls.await_submitted,
        ),
        Comparison(
            name="notebook and kernel start",
            ours=calls.run_notebook,
            other_name="nbclient",
            other=calls.run_notebook_nbclient,
            aim=1.15,
            rounds=long,
        ),
        Comparison(
            name="notebook, warm kernel",
            ours=calls.run_notebook_warm,
            other_name="nbclient",
            other=calls.run_notebook_nbclient_warm,
            aim=1.15,
            rounds=long,
        ),
        Comparison(
            name="prints",
            ours=calls.run_prints,
            other_name="jupyter_client",
            other=calls.run_prints_raw,
            aim=1.3,
            rounds=longest,
        ),
    ]


def measure(comparison: Comparison) -> Outcome:
    """Let both sides take turns, and whoever begins too."""
    ours: list[float] = []
    other: list[float] = []
    warm_up = max(1, comparison.rounds // 10)
    turns = [(comparison.ours, ours), (comparison.other, other)]
    for _ in range(warm_up + comparison.rounds):
        for call, seconds in turns:
            begin = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begin)
            comparison.settle()
        turns.reverse()
    ours_figures, other_figures = Figures.of(ours[warm_up:]), Figures.of(other[warm_up:])
    ratio = round(ours_figures.median / other_figures.median, 2)
    return Outcome(
        name=comparison.name,
        other_name=comparison.other_name,
        n=comparison.rounds,
        ours=ours_figures,
        other=other_figures,
        ratio=ratio,
        aim=comparison.aim,
        is_met=ratio <= comparison.aim,
    )


def environment() -> dict[str, str]:
    """Return what the figures depend on."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def table_of(outcomes: list[Outcome]) -> Table:
    """Return the outcomes for people."""
    table = Table(caption="milliseconds: median (95th percentile); the ratio is that of medians")
    for heading in ("the service", "beside", "n", "ours", "other", "ratio", "aim", ""):
        table.add_column(heading, justify="right" if heading in ("n", "ours", "other") else "left")
    for outcome in outcomes:
        table.add_row(
            outcome.name,
            outcome.other_name,
            str(outcome.n),
            *(f"{side.median:.1f} ({side.p95:.1f})" for side in (outcome.ours, outcome.other)),
            f"{outcome.ratio:.2f}",
            f"≤ {outcome.aim:g}",
            "[green]met[/]" if outcome.is_met else "[red]not met[/]",
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only look whether all of it works")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", metavar="TEXT", default="", help="only what has TEXT in its name")
    arguments = parser.parse_args()
    progress = Console(stderr=True)
    sizes = (10, 1_000_000) if arguments.quick else (100, 100_000_000)
    outcomes = []
    with tempfile.TemporaryDirectory() as home, closing(Server(Path(home))) as server:
        calls = Calls(server, cell_count=sizes[0], printed_bytes=sizes[1])
        with closing(calls):
            for comparison in comparisons(calls, is_quick=arguments.quick):
                if arguments.only in comparison.name:
                    progress.print(f"{comparison.name}, beside {comparison.other_name} ...")
                    outcomes.append(measure(comparison))
    if arguments.json:
        shown = {**environment(), "outcomes": [asdict(outcome) for outcome in outcomes]}
        json.dump(shown, sys.stdout, indent=2)
        print()
        return
    print(", ".join(f"{name} {value}" for name, value in environment().items()))
    Console(width=None if sys.stdout.isatty() else 120).print(table_of(outcomes))


if __name__ == "__main__":
    main()
