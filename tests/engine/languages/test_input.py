"""What ends the input of the code that asks for it."""

import pytest

from jupyter_exec_ext.engine.languages import Request, known_languages, language_of
from tests.engine.languages.conftest import KernelUnderTest


def test_input_ends_in_python(python_kernel: KernelUnderTest) -> None:
    """With the error that a file's end raises, which code is prepared for."""
    end = python_kernel.language.end_of_input
    assert end is not None

    reply = python_kernel.run_with_input("input()", end)

    assert reply.content["ename"] == "EOFError"


def test_r_takes_every_answer_as_it_is(r_kernel: KernelUnderTest) -> None:
    reply = r_kernel.run_with_input("cat(utf8ToInt(readline()))", "\x04")

    assert reply.stdout == "4"


def test_bash_never_asks(bash_kernel: KernelUnderTest) -> None:
    """It waits until it is interrupted, and lives on."""
    request = Request(code="echo on  it; read line", silent=False)
    message_id = bash_kernel.start(request, allow_stdin=True)
    bash_kernel.wait_for(message_id, "'text': 'on it")

    bash_kernel.manager.interrupt_kernel()
    reply = bash_kernel.receive(message_id)

    assert reply.content["status"] == "abort"
    assert not bash_kernel.client.stdin_channel.msg_ready()
    assert bash_kernel.run("echo still here") == "still here\n"


@pytest.mark.parametrize("name", known_languages())
def test_other_languages_have_no_end_of_input(name: str) -> None:
    language = language_of(name)
    assert language is not None

    assert (language.end_of_input is None) == (name != "python")
