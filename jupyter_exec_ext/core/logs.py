"""Limits on the log: how many lines of one kind a client, a kernel or a row can cause."""

import logging
import time
from collections.abc import Callable

MAX_LINES = 20
"""So many lines of one kind are logged in each period."""

PERIOD_SECONDS = 60.0


class LogLimit(logging.Filter):
    """Lets the first lines of each kind pass in a period, and counts the others.

    Lines of one kind have the same level and the same message before its arguments are put in.
    How many were left out is logged before the first line of the kind in a later period, and by
    `report` where no such line comes.
    """

    def __init__(self, log: logging.Logger, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._log = log
        self._clock = clock
        self._periods: dict[tuple[int, object], _Period] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether *record* is logged."""
        if getattr(record, "is_log_limit_report", False):
            return True
        kind = (record.levelno, record.msg)
        now = self._clock()
        period = self._periods.get(kind)
        if period is None or now - period.start >= PERIOD_SECONDS:
            if period is not None and period.left_out_count:
                self._report(kind, period)
            period = self._periods[kind] = _Period(now)
        period.count += 1
        return period.count <= MAX_LINES

    def report(self) -> None:
        """Log how many lines of each kind were left out in periods that are over."""
        now = self._clock()
        for kind, period in list(self._periods.items()):
            if now - period.start >= PERIOD_SECONDS:
                del self._periods[kind]
                if period.left_out_count:
                    self._report(kind, period)

    def close(self) -> None:
        """Log what was left out so far, and limit nothing any more."""
        self._log.removeFilter(self)
        for kind, period in self._periods.items():
            if period.left_out_count:
                self._report(kind, period)
        self._periods.clear()

    def _report(self, kind: tuple[int, object], period: "_Period") -> None:
        level, message = kind
        self._log.log(
            level,
            "%d more lines were left out that are like this one: %s",
            period.left_out_count,
            message,
            extra={"is_log_limit_report": True},
        )


class _Period:
    def __init__(self, start: float) -> None:
        self.start = start
        self.count = 0

    @property
    def left_out_count(self) -> int:
        return max(0, self.count - MAX_LINES)
