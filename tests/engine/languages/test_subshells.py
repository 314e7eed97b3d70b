"""Stopping what runs in one subshell of a Python kernel."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_exec_ext.engine.languages import (
    Reply,
    Request,
    known_languages,
    language_of,
)
from tests.engine.languages.conftest import KernelUnderTest, running_python


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[KernelUnderTest]:
    with running_python(tmp_path) as kernel:
        kernel.value("")  # From here on executions at once each have a value.
        yield kernel


def interrupt_request(kernel: KernelUnderTest, subshell_id: str) -> Request:
    request = kernel.language.interrupt_subshell(subshell_id)
    assert request is not None
    return request


def interrupt(kernel: KernelUnderTest, subshell_id: str, *, from_subshell_id: str) -> Reply:
    request = interrupt_request(kernel, subshell_id)
    reply = kernel.receive(kernel.start(request, subshell_id=from_subshell_id))
    assert kernel.published == []
    (result,) = reply.content["user_expressions"].values()
    assert result["status"] == "ok"
    return reply


def test_one_subshell_is_interrupted_and_everything_else_goes_on(kernel: KernelUnderTest) -> None:
    stopped, spared, other = (kernel.create_subshell() for _ in range(3))
    kernel.run("import threading; stop = threading.Event()")
    loop = "print('on', 'it')\nwhile not stop.is_set(): pass\n"
    main = kernel.start_cell(f"{loop}'main'")
    neighbour = kernel.start_cell(f"{loop}'neighbour'", subshell_id=spared)
    endless = kernel.start_cell("print('on', 'it')\nwhile True: pass", subshell_id=stopped)
    for message_id in (main, neighbour, endless):
        kernel.wait_for(message_id, "on it")

    interrupt(kernel, stopped, from_subshell_id=other)

    assert kernel.receive(endless).content["ename"] == "KeyboardInterrupt"
    assert kernel.value("2", subshell_id=stopped) == "2"
    kernel.value("stop.set()", subshell_id=other)
    assert kernel.value_of(neighbour) == '"neighbour"'
    assert kernel.value_of(main) == '"main"'


@pytest.mark.parametrize(
    ("code", "ename"),
    [
        ("import time\nwhile True: time.sleep(0.05)", "KeyboardInterrupt"),
        ("import asyncio; await asyncio.sleep(600)", "CancelledError"),
        ("import asyncio; await asyncio.sleep(0)\nwhile True: pass", "KeyboardInterrupt"),
        ("import threading; threading.Event().wait(1); x = 1", "KeyboardInterrupt"),
    ],
)
def test_code_that_waits_is_interrupted(kernel: KernelUnderTest, code: str, ename: str) -> None:
    """A call that blocks ends first; an ``await`` is cancelled, as in the main shell."""
    subshell_id = kernel.create_subshell()
    running = kernel.start_cell(f"print('on', 'it')\n{code}", subshell_id=subshell_id)
    kernel.wait_for(running, "on it")

    kernel.send(interrupt_request(kernel, subshell_id))

    assert kernel.receive(running).content["ename"] == ename
    assert kernel.value("2", subshell_id=subshell_id) == "2"


def test_an_idle_subshell_is_left_alone(kernel: KernelUnderTest) -> None:
    """Nor does anything happen for one that is not there."""
    subshell_id = kernel.create_subshell()
    kernel.value("1", subshell_id=subshell_id)

    for _ in range(5):
        interrupt(kernel, subshell_id, from_subshell_id=subshell_id)
        kernel.send(interrupt_request(kernel, subshell_id))
        kernel.send(interrupt_request(kernel, "absent"))

    assert kernel.value("2", subshell_id=subshell_id) == "2"


def test_a_subshell_survives_interrupts_at_any_moment(kernel: KernelUnderTest) -> None:
    """Each of its executions is answered, whichever moment of it an interrupt hits."""
    subshell_id = kernel.create_subshell()
    codes = (
        "x = 1",
        "for i in range(2_000_000): pass",
        "1 / 0",
        "import asyncio\nawait asyncio.sleep(0.001)\n1",
        "y = 2\nprint(y)\ny",
    )
    names = set()

    for code in codes * 10:
        cell = kernel.start_cell(code, subshell_id=subshell_id)
        interrupting = kernel.start(interrupt_request(kernel, subshell_id))
        names.add(kernel.receive(cell).content.get("ename"))
        kernel.receive(interrupting)

    # ipykernel says NoneType, once, after an interrupt while it displayed a result.
    own = {None, "ZeroDivisionError", "NoneType"}
    assert names <= {*own, "KeyboardInterrupt", "CancelledError"}
    assert "KeyboardInterrupt" in names
    assert kernel.value("2", subshell_id=subshell_id) == "2"


def test_only_python_has_subshells() -> None:
    for name in known_languages():
        language = language_of(name)
        assert language is not None
        assert (language.interrupt_subshell("x") is None) == (name != "python")
        assert (language.interrupt_blocked() is None) == (name != "python")
