"""Limits on the lines that a client, a kernel or a row can cause in the log."""

import logging
from collections.abc import Iterator

import pytest

from jupyter_exec_ext.core.logs import MAX_LINES, PERIOD_SECONDS, LogLimit


class Clock:
    """A clock that a test sets."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> logging.Logger:
    return logging.getLogger(f"{__name__}.limited")


@pytest.fixture
def limit(log: logging.Logger, clock: Clock) -> Iterator[LogLimit]:
    limit = LogLimit(log, clock=clock)
    log.addFilter(limit)
    yield limit
    limit.close()


def test_lines_of_one_kind_are_limited_and_counted(
    limit: LogLimit, log: logging.Logger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is in them; those of another kind or level are not touched by it."""
    for number in range(30_000):
        log.warning("a message on %s is not valid", number)
    log.warning("something else")
    log.error("a message on %s is not valid", 0)
    assert len(caplog.messages) == MAX_LINES + 2
    assert caplog.messages[-2:] == ["something else", "a message on 0 is not valid"]

    limit.report()
    assert len(caplog.messages) == MAX_LINES + 2
    clock.seconds += PERIOD_SECONDS
    limit.report()
    limit.report()

    (reported,) = caplog.messages[MAX_LINES + 2 :]
    assert f"{30_000 - MAX_LINES} more lines" in reported
    assert "a message on %s is not valid" in reported
    assert len(caplog.text) < 20_000


def test_a_line_of_a_later_period_passes(
    limit: LogLimit, log: logging.Logger, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Before it stands how many of its kind were left out."""
    for _ in range(MAX_LINES + 3):
        log.warning("again")
    clock.seconds += PERIOD_SECONDS

    log.warning("again")

    assert "3 more lines" in caplog.messages[-2]
    assert caplog.messages[-1] == "again"


def test_the_end_reports_what_was_left_out(
    limit: LogLimit, log: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    """And limits nothing any more."""
    for _ in range(MAX_LINES + 1):
        log.warning("again")

    limit.close()
    for _ in range(MAX_LINES + 1):
        log.warning("again")

    assert "1 more lines" in caplog.messages[MAX_LINES]
    assert len(caplog.messages) == 2 * MAX_LINES + 2
