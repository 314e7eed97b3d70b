"""Variables, in every kernel."""

import json

from jupyter_exec_ext.core.models import Variable
from jupyter_exec_ext.engine.languages import Request
from tests.engine.languages.conftest import KernelUnderTest
from tests.engine.languages.samples import HARD_NAMES


def test_hard_names_each_get_an_error_of_their_own(kernel: KernelUnderTest) -> None:
    kernel.run({"python": "fine = 'a'", "r": "fine <- 'a'", "bash": "fine=a"}[kernel.language.name])

    variables = kernel.read("absent", *HARD_NAMES, "fine")

    assert list(variables) == ["absent", *HARD_NAMES, "fine"]
    assert variables["fine"].json_text == '"a"'
    assert variables["absent"] == Variable(error="no variable of this name")
    for name in HARD_NAMES:
        variable = variables[name]
        assert variable.error is not None
        assert variable == Variable(error=variable.error)
    files = {
        "python": "import os; print(os.listdir())",
        "r": "cat(list.files())",
        "bash": "ls",
    }[kernel.language.name]
    assert "pwned" not in kernel.run(files)


def test_a_name_asked_for_twice_is_there_once(kernel: KernelUnderTest) -> None:
    assert list(kernel.read("b", "a", "b")) == ["b", "a"]


def test_no_names_give_no_variables(kernel: KernelUnderTest) -> None:
    assert kernel.read() == {}


def test_a_value_over_the_cap_stays_in_the_kernel(kernel: KernelUnderTest) -> None:
    """At the cap it comes; one byte above, the answer says so and carries none of it."""
    kernel.run(
        {
            "python": "s = 'a' * 998; t = s + 'a'; u = list(range(10**6)); v = 'é' * 200",
            "r": "s <- strrep('a', 998); t <- strrep('a', 999); u <- 1:1000000; v <- 1",
            "bash": "s=$(printf 'a%.0s' {1..998}); t=${s}a; u=({1..9999}); v=1",
        }[kernel.language.name]
    )

    reading = kernel.language.read_variables("stuv", max_bytes=1_000)
    reply = kernel.send(reading.request)
    variables = reading.parse(reply)

    assert variables["s"].json_text == '"' + "a" * 998 + '"'
    for name in "tu":
        variable = variables[name]
        assert (variable.json_text, variable.data, variable.truncated, variable.error) == (
            None,
            None,
            True,
            "larger than 1000 bytes",
        )
        assert variable.type is not None
    assert len(repr(reply)) < 10_000


def test_a_long_answer_arrives_whole(kernel: KernelUnderTest) -> None:
    kernel.run(
        {
            "python": "long = ['é' * 100] * 5_000",
            "r": "long <- rep(strrep('\\u00e9', 100), 5000)",
            "bash": "long=(); for i in {1..5000}; do long+=(" + "é" * 100 + "); done",
        }[kernel.language.name]
    )

    variable = kernel.read("long", max_bytes=10_000_000)["long"]

    assert json.loads(variable.json_text or "null") == ["é" * 100] * 5_000


def test_a_failed_cell_leaves_its_variables_readable(kernel: KernelUnderTest) -> None:
    code = {
        "python": "done = 'yes'; 1 / 0",
        "r": "done <- 'yes'; stop('no')",
        "bash": "done=yes; false",
    }[kernel.language.name]
    reply = kernel.send(Request(code=code, silent=False), store_history=True)
    assert reply.content["status"] == "error"

    assert kernel.read_json("done") == ["yes"]
