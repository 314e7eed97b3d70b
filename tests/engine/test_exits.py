"""What a kernel reports of code that ends its own run; each reply is one that a kernel sent."""

from typing import Any

import pytest

from jupyter_exec_ext.engine.exits import Exit, exit_of
from jupyter_exec_ext.engine.languages import language_of

ENDS = {"source": "ask_exit", "keepkernel": False}


def reply(**fields: Any) -> dict[str, Any]:
    return {"status": "ok", "payload": [], **fields}


def raised(evalue: object, ename: str = "SystemExit", **fields: Any) -> dict[str, Any]:
    return reply(status="error", ename=ename, evalue=evalue, **fields)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (reply(), None),
        (reply(payload=[ENDS]), Exit(exit_code=None, ends_kernel=True)),
        (reply(payload=[{"source": "page"}, ENDS]), Exit(exit_code=None, ends_kernel=True)),
        (reply(payload=[{**ENDS, "keepkernel": 0}]), Exit(exit_code=0, ends_kernel=True)),
        (reply(payload=[{**ENDS, "keepkernel": True}]), Exit(exit_code=None, ends_kernel=False)),
        (reply(payload=[{**ENDS, "keepkernel": 3}]), Exit(exit_code=3, ends_kernel=False)),
        (reply(payload=[{**ENDS, "keepkernel": "no"}]), Exit(exit_code=1, ends_kernel=False)),
        (raised(""), Exit(exit_code=0, ends_kernel=False)),
        (raised("2"), Exit(exit_code=2, ends_kernel=False)),
        (raised("-1"), Exit(exit_code=255, ends_kernel=False)),
        (raised(str(2**70)), Exit(exit_code=255, ends_kernel=False)),
        (raised("9" * 5000), Exit(exit_code=1, ends_kernel=False)),
        (raised(None), Exit(exit_code=1, ends_kernel=False)),
        (raised("0", payload=[ENDS]), Exit(exit_code=0, ends_kernel=True)),
        (raised("x", "ValueError"), None),
        (raised("x", "ValueError", payload=[ENDS]), Exit(exit_code=None, ends_kernel=True)),
        (reply(payload="ask_exit"), None),
        (reply(payload=["ask_exit", {"source": 1}, {}]), None),
    ],
)
def test_an_exit_of_python_code(content: dict[str, Any], expected: Exit | None) -> None:
    """It ends the kernel, or has a status, or both; a damaged payload is no exit."""
    assert exit_of(content, language_of("python")) == expected


def test_an_exception_is_an_exit_only_in_its_language() -> None:
    """R code may raise a condition of any name; a language that is not known has no such name."""
    assert exit_of(raised("0"), language_of("r")) is None
    assert exit_of(raised("0"), None) is None
    assert exit_of(reply(payload=[ENDS]), None) == Exit(exit_code=None, ends_kernel=True)
