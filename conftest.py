"""The rule on skipped tests, for the tests of the package and for those of the front end."""

import os
from collections.abc import Generator

import pytest

REQUIRES_ALL = os.environ.get("EXEC_REQUIRE_ALL") == "1"
"""Set where everything that a test needs is installed, so that none may be skipped."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make a skip a failure where nothing may be skipped, but for the clients of others.

    Those may need another Python than this one, and what they say why is in the summary.
    """
    report = yield
    is_required = REQUIRES_ALL and item.get_closest_marker("client") is None
    if is_required and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"EXEC_REQUIRE_ALL=1, but {reason}"
    return report
