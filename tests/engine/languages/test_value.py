"""The value of an execution, in Python; the other languages have none."""

import json
import re
from pathlib import Path

import pytest

from jupyter_exec_ext.engine.languages import Reply, known_languages, language_of
from tests.engine.languages.conftest import KernelUnderTest, running_python

VALUES = {
    "1 + 1": "2",
    "1\n2": "2",
    "10 ** 6": "1000000",
    "{'a': [1.50, None, 'é']}": '{"a":[1.5,null,"\\u00e9"]}',
    "False": "false",
    "import numpy; numpy.float32(0.5)": "0.5",
    "import asyncio; await asyncio.sleep(0)\n3": "3",
    "import sys; sys.displayhook(4); x = 1": "4",
    "%%time\n5": "5",
    "result = get_ipython().run_cell('6')": "6",
    "Out, _, __ = {}, 1, 2; 7": "7",
}

NO_VALUES = (
    "",
    "  \n",
    "# nothing",
    "x = 1",
    "1 + 1;",
    "None",
    "print(1)",
    "display(1)",
    "%%capture\n1",
    "float('nan')",
    "[1, float('inf')]",
    "{1: 2}",
    "object()",
    "{1, 2}",
)


@pytest.mark.parametrize("code", VALUES)
def test_the_value_is_what_was_displayed(python_kernel: KernelUnderTest, code: str) -> None:
    assert python_kernel.value(code) == VALUES[code]


@pytest.mark.parametrize("code", NO_VALUES)
def test_there_is_no_value_where_no_json_was_displayed(
    python_kernel: KernelUnderTest, code: str
) -> None:
    """Not even that of an execution before, which was displayed."""
    python_kernel.value("'before'")

    assert python_kernel.value(code) is None


def test_what_was_displayed_before_an_error_is_no_value_of_the_next(
    python_kernel: KernelUnderTest,
) -> None:
    assert python_kernel.value("import sys; sys.displayhook(1); 1 / 0") is None

    assert python_kernel.value("x = 1") is None
    assert python_kernel.value("") is None


def test_the_last_of_several_results_is_the_value(python_kernel: KernelUnderTest) -> None:
    python_kernel.run("get_ipython().ast_node_interactivity = 'all'")

    values = [python_kernel.value(code) for code in ("1\n2\n3", "4\nNone", "5\nx = 6")]

    python_kernel.run("get_ipython().ast_node_interactivity = 'last_expr'")
    assert values == ["3", "4", "5"]


def test_digits_are_exact(python_kernel: KernelUnderTest) -> None:
    value = python_kernel.value("10 ** 4000", max_bytes=10_000)

    assert value == "1" + "0" * 4000


def test_a_value_over_the_cap_is_only_called_too_large(python_kernel: KernelUnderTest) -> None:
    assert python_kernel.value("'x' * 998") == '"' + "x" * 998 + '"'

    message_id = python_kernel.start_cell("'x' * 999")
    reply = python_kernel.receive(message_id)

    assert python_kernel.language.value_of(reply, max_bytes=1_000) is None
    assert "xxx" not in str(reply.content)


def test_reading_the_value_leaves_no_trace(python_kernel: KernelUnderTest) -> None:
    """The names, last results, history and output are those of an execution without it."""
    state = (
        "import json; print(json.dumps([sorted(n for n in globals() if n[:2] != '_i'), _, Out,"
        " In[1:], get_ipython().execution_count, 'showtraceback' in vars(get_ipython())]))"
    )
    python_kernel.run("import json")
    python_kernel.run("%reset -f")
    python_kernel.run("8 * 8")
    names, last, out, history, count, patched = json.loads(python_kernel.run(state))

    value = python_kernel.value("9 * 9")

    assert value == "81"
    assert [kind for kind, _ in python_kernel.published] == ["execute_input", "execute_result"]
    added = f"_{count}"
    assert (last, patched) == (64, False)
    assert json.loads(python_kernel.run(state)) == [
        sorted([*names, added]),
        81,
        out | {str(count): 81},
        [*history, "9 * 9", state],
        count + 2,
        False,
    ]


def test_shadowed_builtins_do_not_matter_to_the_value(python_kernel: KernelUnderTest) -> None:
    names = "json sys exec eval get_ipython b k s d m n main type getattr __import__"
    python_kernel.run(f"ns = globals(); names = '{names}'.split()\nfor name in names: ns[name] = 5")

    value = python_kernel.value("[1]")

    python_kernel.run("for name in names: del ns[name]")
    python_kernel.run("from IPython import get_ipython")
    assert value == "[1]"


@pytest.mark.parametrize("options", [(), ("--InteractiveShell.cache_size=0",)])
def test_the_first_execution_of_a_kernel_has_a_value(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Also where IPython keeps no results."""
    with running_python(tmp_path, *options) as kernel:
        values = [kernel.value(code) for code in ("1 + 1", "x = 1", "3", "4;")]

    assert values == ["2", None, "3", None]


def test_the_reader_is_there_again_when_it_was_removed(python_kernel: KernelUnderTest) -> None:
    python_kernel.value("1")

    remove = "import sys\nfor n in dir(sys):\n    if n.startswith('_jupyter_exec'): delattr(sys, n)"
    values = [python_kernel.value(code) for code in (f"{remove}\n2", "3", "4;")]

    assert values == ["2", "3", None]


def test_executions_at_once_each_have_their_own_value(python_kernel: KernelUnderTest) -> None:
    """IPython itself mixes them up: it keeps one result for all its threads."""
    subshell_id = python_kernel.create_subshell()
    python_kernel.run("import threading; a, b = threading.Event(), threading.Event()")

    code = "print('on', 'it'); a.wait()\n'early'"
    early = python_kernel.start_cell(code, subshell_id=subshell_id)
    python_kernel.wait_for(early, "on it")
    late = python_kernel.start_cell("a.set(); assert b.wait(60)\n'late'")
    values = [python_kernel.value_of(early)]
    silent = python_kernel.start_cell("b.set()", subshell_id=subshell_id)
    values += [python_kernel.value_of(silent), python_kernel.value_of(late)]

    assert values == ['"early"', None, '"late"']


def test_an_execution_never_has_the_value_of_another(python_kernel: KernelUnderTest) -> None:
    subshell_id = python_kernel.create_subshell()
    python_kernel.run("import threading; a, b = threading.Event(), threading.Event()")

    noisy = python_kernel.start_cell("a.wait()\n'noisy'", subshell_id=subshell_id)
    silent = python_kernel.start_cell("a.set(); x = b.wait(60)")
    values = [python_kernel.value_of(noisy)]
    python_kernel.value_of(python_kernel.start_cell("b.set()", subshell_id=subshell_id))
    values.append(python_kernel.value_of(silent))

    assert values == ['"noisy"', None]


def test_other_languages_have_no_value() -> None:
    for name in known_languages():
        language = language_of(name)
        assert language is not None
        if name != "python":
            assert language.value_expressions(max_bytes=100) == {}
            assert language.value_of(Reply(content={"status": "ok"}), max_bytes=100) is None


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([], None),
        ({}, None),
        (None, None),
        (["x"], None),
        ([{}], None),
        ([{"json": 5}], None),
        ([{"json": "NaN"}], None),
        ([{"json": "1" * 101}], None),
        ([{"type": "int", "json": "1" * 100}], "1" * 100),
        ([{"problem": "large"}], None),
    ],
)
def test_nothing_in_the_answer_is_trusted(entries: object, expected: str | None) -> None:
    language = language_of("python")
    assert language is not None
    (key,) = language.value_expressions(max_bytes=100)
    data = {"text/vnd.jupyter-exec-reading": json.dumps(entries)}
    content = {"status": "ok", "user_expressions": {key: {"status": "ok", "data": data}}}

    assert language.value_of(Reply(content=content), max_bytes=100) == expected


def test_data_is_in_base64() -> None:
    language = language_of("python")
    assert language is not None

    (expression,) = language.value_expressions(max_bytes=77).values()

    assert re.search(r", '[A-Za-z0-9+/=]+'\)$", expression)
