"""The languages, in their real kernels; Julia, which no test machine has, in its shape only."""

import base64
import json
import math
import os
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyter_exec_ext.core.models import Variable
from jupyter_exec_ext.engine.languages import (
    Language,
    Reply,
    Request,
    known_languages,
    language_of,
    unread_variables,
)
from tests.engine.conftest import KernelUnderTest, missing

HARD_NAMES = (
    "x); import os; (",
    "$(touch pwned)",
    "`touch pwned`",
    "'; rm -rf pwned; '",
    'a"b',
    "a\\",
    "a b",
    "a[0]",
    "a[$(touch pwned)]",
    "é" * 200,
    "",
    "!!",
    "x\ud800",
    "line\nbreak",
    "__class__.__mro__",
    "-n",
    "%s",
    "{source}",
)

HARD_VALUES = {
    "QUOTES": "'\"`",
    "COMMAND": "'; rm -rf pwned; $(touch pwned) `touch pwned` ${HOME}",
    "NEWLINES": "\n\na\r\nb\n\n\n",
    "TABS": "\t\x1b[31m\x07\x7f",
    "UNICODE": "é漢😀\u2028\u0085",
    "BACKSLASHES": "\\\\n\\",
    "BANG": "!! !$ !-1",
    "EMPTY": "",
    "SPACE": " ",
    "DOT": ".",
    "LATIN": "caf\udce9 \udcff",
    "END": "JUPYTER_EXEC_EXT_END\n",
    "FORMAT": "{source!r} %s %d",
}

unicode_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30),
    lambda items: (
        st.lists(items, max_size=4) | st.dictionaries(st.text(max_size=8), items, max_size=4)
    ),
    max_leaves=12,
)

one_kernel_for_all = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def environment_of(kernel: KernelUnderTest, *names: str) -> dict[str, str | None]:
    """What a child process of *kernel* gets for *names*."""
    program = (
        "import os, sys, json, base64\n"
        "names = json.loads(base64.b64decode(sys.argv[1]))\n"
        "print(base64.b64encode(json.dumps([os.environ.get(n) for n in names]).encode()).decode())"
    )
    arguments = [
        sys.executable,
        "-c",
        f"import base64; exec(base64.b64decode('{base64.b64encode(program.encode()).decode()}'))",
        base64.b64encode(json.dumps(names).encode()).decode(),
    ]
    command = f'{arguments[0]} -c "{arguments[2]}" {arguments[3]}'
    printed = kernel.run(
        {
            "python": f"import subprocess; print(subprocess.run({arguments!r}, "
            "capture_output=True, text=True).stdout)",
            "r": f"cat(system({json.dumps(command)}, intern = TRUE))",
            "bash": command,
        }[kernel.language.name]
    )
    values = json.loads(base64.b64decode(printed.strip()))
    return dict(zip(names, values, strict=True))


@pytest.fixture(params=["python", "r", "bash"])
def kernel(request: pytest.FixtureRequest) -> KernelUnderTest:
    found: KernelUnderTest = request.getfixturevalue(f"{request.param}_kernel")
    return found


# The table


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("python", "python"),
        ("IPython", "python"),
        ("R", "r"),
        ("r", "r"),
        ("julia", "julia"),
        ("JavaScript", "javascript"),
        ("typescript", "javascript"),
        ("bash", "bash"),
    ],
)
def test_a_language_is_found_by_its_kernel_info_name(name: str, expected: str) -> None:
    language = language_of(name)

    assert language is not None
    assert language.name == expected


def test_other_languages_are_not_known() -> None:
    assert language_of("cobol") is None
    assert known_languages() == ("python", "r", "julia", "javascript", "bash")


@pytest.mark.parametrize("name", known_languages())
@pytest.mark.parametrize(
    "variables",
    [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "secret\0"}, {"A": "secret\ud800"}],
)
def test_what_cannot_be_an_environment_variable_is_refused_without_its_value(
    name: str, variables: dict[str, str]
) -> None:
    language = language_of(name)
    assert language is not None

    with pytest.raises(ValueError, match="environment variable") as caught:
        language.set_environment(variables)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", known_languages())
def test_data_never_becomes_code(name: str) -> None:
    """Names and values are in no request as they are, not even quoted."""
    language = language_of(name)
    assert language is not None

    requests = (
        language.set_environment({"HARMLESS": "'; rm -rf pwned; $(touch pwned)"}),
        language.read_variables(["'; rm -rf pwned", "a[$(touch pwned)]"], max_bytes=10).request,
    )

    for request in requests:
        assert "pwned" not in request.code + "".join(request.user_expressions.values())


# Replies that are not what was asked for


def garbage() -> list[Reply]:
    contents: list[dict[str, Any]] = [
        {},
        {"status": "ok"},
        {"status": "error", "ename": "E"},
        {"status": "ok", "user_expressions": None},
        {"status": "ok", "user_expressions": {"jupyter_exec_ext": {"status": "error"}}},
    ]
    contents += [
        {
            "status": "ok",
            "user_expressions": {
                "jupyter_exec_ext": {
                    "status": "ok",
                    "data": {"text/vnd.jupyter-exec-reading": text},
                }
            },
        }
        for text in ("", "no json", "{}", "[]", "[1, 2]", "[[]]", "[" * 100_000, 5, None)
    ]
    return [Reply(content=content) for content in contents] + [
        Reply(stdout="MARKER"),
        Reply(stdout="MARKER !!!"),
        Reply(stdout="MARKER QQ"),
        Reply(stdout="MARKER W10="),
        Reply(stdout="MARKER c3RyaW5n"),
        Reply(stdout="MARKER YXJyYXkAOTkAYQA="),
        Reply(display_data=[{"text/vnd.jupyter-exec-reading": "MARKER W10="}]),
        Reply(display_data=[{"text/vnd.jupyter-exec-reading": {"no": "text"}}]),
    ]


@pytest.mark.parametrize("name", known_languages())
@pytest.mark.parametrize("reply", garbage())
def test_garbage_gives_an_error_for_each_name(name: str, reply: Reply) -> None:
    language = language_of(name)
    assert language is not None
    reading = language.read_variables(["a", "b", "a"], max_bytes=100)
    marker = re.search(r"jupyter-exec-[0-9a-f]{32}", reading.request.code)
    word = marker.group() if marker else "jupyter-exec-none"
    reply = Reply(
        content=reply.content,
        stdout=reply.stdout.replace("MARKER", word),
        display_data=[
            {k: v.replace("MARKER", word) if isinstance(v, str) else v for k, v in bundle.items()}
            for bundle in reply.display_data
        ],
    )

    variables = reading.parse(reply)

    assert variables == unread_variables(["a", "b"], "the kernel did not answer as expected")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (5, Variable(error="the kernel did not answer as expected")),
        ({}, Variable(error="the kernel shows nothing for it")),
        ({"json": "NaN"}, Variable(error="the kernel did not answer as expected")),
        ({"json": "[1,"}, Variable(error="the kernel did not answer as expected")),
        ({"json": "[" * 5_000}, Variable(truncated=True, error="larger than 100 bytes")),
        ({"json": "1" * 101}, Variable(truncated=True, error="larger than 100 bytes")),
        ({"json": "1" * 100}, Variable(json_text="1" * 100)),
        ({"data": {"text/plain": "a\ud800"}}, Variable(data={"text/plain": "a?"})),
        ({"data": {"text/plain": 5}}, Variable(error="the kernel shows nothing for it")),
        ({"data": [], "error": "E: x"}, Variable(error="E: x")),
        (
            {"data": {"text/plain": "a", "text/html": "b" * 100}},
            Variable(data={"text/plain": "a"}, truncated=True),
        ),
        (
            {"json_data": {"application/json": '{"a": 1}', "application/x+json": "NaN"}},
            Variable(data={"application/json": {"a": 1}}),
        ),
        ({"type": 5, "problem": "large"}, Variable(truncated=True, error="larger than 100 bytes")),
    ],
)
def test_nothing_in_an_entry_is_trusted(entry: object, expected: Variable) -> None:
    language = language_of("python")
    assert language is not None
    data = {"text/vnd.jupyter-exec-reading": json.dumps([entry])}
    reply = Reply(
        content={"status": "ok", "user_expressions": {"jupyter_exec_ext": {"data": data}}}
    )

    variables = language.read_variables(["x"], max_bytes=100).parse(reply)

    assert variables == {"x": expected}


# Environment, in every kernel


def test_environment_values_keep_every_byte(kernel: KernelUnderTest) -> None:
    kernel.set_environment(**HARD_VALUES)

    assert environment_of(kernel, *HARD_VALUES) == HARD_VALUES

    kernel.restore_environment()
    assert set(environment_of(kernel, *HARD_VALUES).values()) == {None}


def test_a_large_environment_value_arrives(kernel: KernelUnderTest) -> None:
    value = ("0123456789abcde\n" * 6_400)[:-1] + "\n"
    kernel.set_environment(LARGE=value)

    assert environment_of(kernel, "LARGE") == {"LARGE": value}

    kernel.restore_environment()


def test_restoring_gives_the_former_values_once(kernel: KernelUnderTest) -> None:
    """The oldest values come back, and a second restore changes nothing."""
    former = "former 'value'\n$(x)\n"
    kernel.set_environment(KEPT=former)
    forget = {
        "python": "import sys; del sys._jupyter_exec_ext_environment",
        "r": "options(jupyter_exec_ext.environment = NULL)",
        "bash": "unset __jupyter_exec_ext_environment",
    }
    kernel.run(forget[kernel.language.name])

    kernel.set_environment(KEPT="one", FRESH="1")
    kernel.set_environment(KEPT="two", OTHER="2")
    assert environment_of(kernel, "KEPT", "FRESH", "OTHER") == {
        "KEPT": "two",
        "FRESH": "1",
        "OTHER": "2",
    }
    kernel.restore_environment()

    assert environment_of(kernel, "KEPT", "FRESH", "OTHER") == {
        "KEPT": former,
        "FRESH": None,
        "OTHER": None,
    }
    kernel.set_environment(KEPT=former + "again")
    kernel.run(forget[kernel.language.name])
    kernel.restore_environment()
    assert environment_of(kernel, "KEPT") == {"KEPT": former + "again"}


def test_setting_shows_nothing(kernel: KernelUnderTest) -> None:
    for request in (
        kernel.language.set_environment({"QUIET": "secret"}),
        kernel.language.restore_environment(),
    ):
        kernel.send(request)

        assert {kind for kind, _ in kernel.published} <= {"execute_input"}


def test_the_namespace_stays_as_it_was(kernel: KernelUnderTest) -> None:
    names = {
        "python": "print([n for n in sorted(globals()) if not n.strip('_i0123456789') == ''])",
        "r": "cat(ls(all.names = TRUE))",
        "bash": "compgen -A variable | grep -vE '^(BASH_|RANDOM|_$|PIPESTATUS)'; declare -F",
    }[kernel.language.name]
    kernel.run(names)
    before = kernel.run(names)

    kernel.set_environment(TEMPORARY="1")
    kernel.read("nothing", "before", *HARD_NAMES)
    kernel.restore_environment()

    assert kernel.run(names) == before


@one_kernel_for_all
@given(value=unicode_text)
def test_any_environment_value_arrives_in_python(
    python_kernel: KernelUnderTest, value: str
) -> None:
    check_environment(python_kernel, value)


@one_kernel_for_all
@given(value=unicode_text)
def test_any_environment_value_arrives_in_r(r_kernel: KernelUnderTest, value: str) -> None:
    check_environment(r_kernel, value)


@settings(one_kernel_for_all, max_examples=10)
@given(value=unicode_text)
def test_any_environment_value_arrives_in_bash(bash_kernel: KernelUnderTest, value: str) -> None:
    check_environment(bash_kernel, value)


def check_environment(kernel: KernelUnderTest, value: str) -> None:
    kernel.set_environment(HYPOTHESIS=value)
    assert environment_of(kernel, "HYPOTHESIS") == {"HYPOTHESIS": value}
    kernel.restore_environment()


# Variables, in every kernel


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


# Python


@one_kernel_for_all
@given(value=json_values)
def test_any_json_value_comes_back_from_python(
    python_kernel: KernelUnderTest, value: object
) -> None:
    encoded = base64.b64encode(json.dumps(value).encode()).decode()
    python_kernel.run(f"import json, base64; v = json.loads(base64.b64decode('{encoded}'))")

    assert python_kernel.read_json("v") == [value]


def test_python_values_that_are_json(python_kernel: KernelUnderTest) -> None:
    python_kernel.run(
        "import enum, collections, numpy as np\n"
        "class E(enum.IntEnum):\n    A = 3\n"
        "class S(str):\n    def __len__(self): return 10**9\n"
        "P = collections.namedtuple('P', 'x y')\n"
        "values = dict(none=None, yes=True, big=10**6000, neg=-5, f=1.5e300, zero=-0.0,"
        " t=(1, (2,)), od=collections.OrderedDict(b=1, a=2), e=E.A, s=S('x'), p=P(1, 2),"
        " i8=np.int8(3), f32=np.float32(0.5), b=np.bool_(True), ns=np.str_('n'), z=np.array(4),"
        " f64=np.float64(2.5), lone='\\ud83d', mix=[np.int64(1), {'k': np.float16(1)}])\n"
        "globals().update(values)"
    )

    expected = {
        "none": ("NoneType", "null"),
        "yes": ("bool", "true"),
        "big": ("int", "1" + "0" * 6000),
        "neg": ("int", "-5"),
        "f": ("float", "1.5e+300"),
        "zero": ("float", "-0.0"),
        "t": ("tuple", "[1,[2]]"),
        "od": ("OrderedDict", '{"b":1,"a":2}'),
        "e": ("E", "3"),
        "s": ("S", '"x"'),
        "p": ("P", "[1,2]"),
        "i8": ("int8", "3"),
        "f32": ("float32", "0.5"),
        "b": ("bool", "true"),
        "ns": ("str_", '"n"'),
        "z": ("ndarray", "4"),
        "f64": ("float64", "2.5"),
        "lone": ("str", '"\\ud83d"'),
        "mix": ("list", '[1,{"k":1.0}]'),
    }

    variables = python_kernel.read(*expected)

    assert variables == {
        name: Variable(type=kind, json_text=text) for name, (kind, text) in expected.items()
    }
    assert python_kernel.run("import sys; print(sys.get_int_max_str_digits())") == "4300\n"


def test_python_values_that_are_not_json_come_as_they_are_shown(
    python_kernel: KernelUnderTest,
) -> None:
    python_kernel.run(
        "import math, datetime, numpy as np, pandas as pd\n"
        "nan = math.nan; inf = [1, math.inf]; npnan = np.float64('nan'); keys = {1: 2}\n"
        "cycle = []; cycle.append(cycle); deep = []\n"
        "for step in range(120): deep = [deep]\n"
        "when = np.datetime64('2020-01-01'); st = {1}; by = b'abc'; arr = np.arange(3)\n"
        "df = pd.DataFrame({'a': [1]}); na = pd.NA; c = 1j\n"
        "class Rich:\n"
        "    def _repr_png_(self): return b'\\x89PNG'\n"
        "    def _repr_mimebundle_(self, **k): return {'application/x+json': {'a': [1]}}\n"
        "rich = Rich()"
    )

    variables = python_kernel.read(
        *[
            "nan",
            "inf",
            "npnan",
            "keys",
            "cycle",
            "deep",
            "when",
            "st",
            "by",
            "arr",
            "df",
            "na",
            "c",
            "rich",
        ]
    )

    for name, variable in variables.items():
        assert variable.error is None, name
        assert variable.json_text is None, name
        assert variable.data is not None, name
        assert variable.data["text/plain"], name
    assert variables["nan"] == Variable(type="float", data={"text/plain": "nan"})
    assert set(variables["df"].data or {}) == {"text/plain", "text/html"}
    assert variables["df"].type == "DataFrame"
    rich = variables["rich"].data or {}
    assert rich["image/png"] == base64.b64encode(b"\x89PNG").decode()
    assert rich["application/x+json"] == {"a": [1]}


def test_hostile_python_objects_harm_only_themselves(python_kernel: KernelUnderTest) -> None:
    """Nothing they raise, print or display reaches the notebook or another variable."""
    python_kernel.run(
        "import sys\n"
        "class BadRepr:\n    def __repr__(self): raise ValueError('boom')\n"
        "class Exits:\n    def __repr__(self): sys.exit(3)\n"
        "class BadGetattr:\n    def __getattr__(self, name): raise RuntimeError(name)\n"
        "class BadAttribute:\n    def __getattribute__(self, name): raise BaseException(name)\n"
        "class Liar:\n    __class__ = dict\n    def items(self): raise KeyError\n"
        "class Meta(type):\n    __name__ = property(lambda self: 1 / 0)\n"
        "class Nameless(metaclass=Meta): pass\n"
        "class Prints:\n    def __repr__(self): print('noise'); return 'prints'\n"
        "class Displays:\n    def _ipython_display_(self):\n"
        "        from IPython.display import display, HTML; display(HTML('<b>x</b>'))\n"
        "class BadHtml:\n    def _repr_html_(self): raise TypeError('html')\n"
        "    def __repr__(self): return 'plain'\n"
        "class BadDict(dict):\n    def items(self): raise KeyError\n"
        "class BadError(Exception):\n    def __str__(self): raise ValueError\n"
        "class RaisesBadError:\n    def __repr__(self): raise BadError\n"
        "class NotText:\n    def _repr_mimebundle_(self, **k): return {'a/b': object()}\n"
        "class Surrogates:\n    def _repr_html_(self): return '\\ud800'\n"
        "kinds = [BadRepr, Exits, BadGetattr, BadAttribute, Liar, Nameless, Prints, Displays,"
        " BadHtml, BadDict, RaisesBadError, NotText, Surrogates]\n"
        "for kind in kinds: globals()[type.__repr__(kind).split('.')[-1][:-2].lower()] = kind()\n"
        "baddict['a'] = 1; bomb = [1]\n"
        "for step in range(64): bomb = [bomb, bomb]\n"
        "good = 1"
    )
    names = [
        "badrepr",
        "exits",
        "badgetattr",
        "badattribute",
        "liar",
        "nameless",
        "prints",
        "displays",
        "badhtml",
        "baddict",
        "raisesbaderror",
        "nottext",
        "surrogates",
        "bomb",
        "good",
    ]

    variables = python_kernel.read(*names)

    assert python_kernel.published == []
    assert variables["good"] == Variable(type="int", json_text="1")
    assert variables["badrepr"] == Variable(type="BadRepr", error="ValueError: boom")
    assert variables["exits"].error == "SystemExit: 3"
    assert variables["raisesbaderror"].error == "BadError"
    assert variables["badattribute"].error is not None
    assert (variables["liar"].type, variables["liar"].json_text) == ("Liar", None)
    assert variables["nameless"].type == "Nameless"
    assert (variables["prints"].data or {})["text/plain"] == "prints"
    assert (variables["displays"].data or {})["text/html"] == "<b>x</b>"
    assert variables["badhtml"].data == {"text/plain": "plain"}
    assert variables["badhtml"].error == "TypeError: html"
    assert variables["baddict"].json_text == '{"a":1}'
    assert (variables["surrogates"].data or {})["text/html"] == "?"
    assert variables["nottext"].data is not None
    assert variables["bomb"].error == "larger than 1000000 bytes"


def test_parts_of_a_bundle_above_the_cap_are_left_out(python_kernel: KernelUnderTest) -> None:
    python_kernel.run(
        "class Two:\n"
        "    def _repr_html_(self): return 'x' * 2_000\n"
        "    def __repr__(self): return 'small'\n"
        "class Huge:\n    def __repr__(self): return 'x' * 2_000\n"
        "two, huge, raw = Two(), Huge(), bytes(2_000)"
    )

    variables = python_kernel.read("two", "huge", "raw", max_bytes=1_000)

    assert variables["two"] == Variable(type="Two", data={"text/plain": "small"}, truncated=True)
    for name, kind in (("huge", "Huge"), ("raw", "bytes")):
        assert variables[name] == Variable(
            type=kind, truncated=True, error="larger than 1000 bytes"
        )


def test_shadowed_builtins_do_not_matter(python_kernel: KernelUnderTest) -> None:
    names = (
        "json base64 sys os print open globals locals exec eval compile type str len dict list "
        "getattr isinstance __import__ get_ipython b s d i n main Exception property"
    )
    python_kernel.run(
        f"x = [1]\nshadows = '{names}'.split(); ns = globals()\nfor k in shadows: ns[k] = 5"
    )

    python_kernel.set_environment(SHADOWED="1")
    value = python_kernel.read_json("x", "json")
    python_kernel.restore_environment()

    assert value == [[1], 5]
    python_kernel.run("for k in shadows: del ns[k]")
    python_kernel.run("from IPython import get_ipython")


def test_reading_python_leaves_no_trace(python_kernel: KernelUnderTest) -> None:
    """Neither a name, nor the last results, nor the prompt number, nor an output."""
    state = (
        "import json; print(json.dumps([sorted(n for n in globals() if n[:2] != '_i'), _,"
        " get_ipython().execution_count, 'showtraceback' in vars(get_ipython())]))"
    )
    python_kernel.run("5 + 5")
    python_kernel.run("import json")
    names, last_result, count, patched = json.loads(python_kernel.run(state))

    python_kernel.read("names", "_", "In", "Out")
    published = python_kernel.published
    python_kernel.set_environment(TRACE="1")
    python_kernel.restore_environment()

    assert published == []
    assert json.loads(python_kernel.run(state)) == [names, last_result, count + 1, patched]
    assert (last_result, patched) == (10, False)


def test_names_are_found_in_the_form_in_which_python_binds_them(
    python_kernel: KernelUnderTest,
) -> None:
    python_kernel.run("\u00b5 = 4")

    assert python_kernel.read_json("\u00b5", "\u03bc") == [4, 4]


# R


@one_kernel_for_all
@given(
    value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(unicode_text, min_size=2, max_size=5)
)
def test_any_r_value_comes_back(r_kernel: KernelUnderTest, value: Any) -> None:
    def literal(item: str | float) -> str:
        if isinstance(item, float):
            return f"as.numeric('{item!r}')"
        encoded = base64.b64encode(item.encode()).decode()
        return (
            f"(function(x) {{ Encoding(x) <- 'UTF-8'; x }})"
            f"(rawToChar(jsonlite::base64_dec('{encoded}')))"
        )

    items = value if isinstance(value, list) else [value]
    r_kernel.run(f"v <- c({', '.join(map(literal, items))})")

    assert r_kernel.read_json("v") == [value]


def test_r_values_that_are_json(r_kernel: KernelUnderTest) -> None:
    r_kernel.run(
        "i <- 3L; d <- 0.1 + 0.2; k <- 1e5; t <- TRUE; na <- NA; nai <- NA_integer_;"
        "nas <- NA_character_; null <- NULL; v <- c(1, NA, 3); e <- character(0); l0 <- list();"
        "l <- list(1, 'a', NULL, list(2)); n <- list(a = 1, b = list(c = NA, d = 1:2));"
        "nv <- c(x = 1, y = 2); big <- 123456789012345678; s <- 'a\\n\"\\\\b\\u0001'"
    )

    expected = {
        "i": ("integer", "3"),
        "d": ("numeric", "0.30000000000000004"),
        "k": ("numeric", "100000"),
        "t": ("logical", "true"),
        "na": ("logical", "null"),
        "nai": ("integer", "null"),
        "nas": ("character", "null"),
        "null": ("NULL", "null"),
        "v": ("numeric", "[1,null,3]"),
        "e": ("character", "[]"),
        "l0": ("list", "[]"),
        "l": ("list", '[1,"a",null,[2]]'),
        "n": ("list", '{"a":1,"b":{"c":null,"d":[1,2]}}'),
        "nv": ("numeric", '{"x":1,"y":2}'),
        "big": ("numeric", "1.2345678901234568e+17"),
        "s": ("character", '"a\\n\\"\\\\b\\u0001"'),
    }

    variables = r_kernel.read(*expected)

    assert variables == {
        name: Variable(type=kind, json_text=text) for name, (kind, text) in expected.items()
    }


def test_r_values_that_are_not_json_come_as_they_are_shown(r_kernel: KernelUnderTest) -> None:
    r_kernel.run(
        "nan <- NaN; inf <- list(1, Inf); df <- data.frame(a = 1:2); f <- factor('a');"
        "day <- Sys.Date(); m <- matrix(1:4, 2); fun <- function(x) x; env <- new.env();"
        "dup <- list(a = 1, a = 2); part <- list(a = 1, 2); z <- 1i; raw <- as.raw(1:3);"
        "bad <- '\\xff'; deep <- list(); for (i in 1:300) deep <- list(deep)"
    )
    names = ["nan", "inf", "df", "f", "day", "m", "fun", "env", "dup", "part", "z", "raw", "bad"]

    variables = r_kernel.read(*names, "deep")

    for name in names:
        variable = variables[name]
        assert variable.error is None, (name, variable)
        assert variable.json_text is None, name
        assert variable.data, name
    assert "text/html" in (variables["df"].data or {})
    assert variables["df"].type == "data.frame"
    assert variables["deep"].json_text is None


def test_hostile_r_objects_harm_only_themselves(r_kernel: KernelUnderTest) -> None:
    r_kernel.run(
        "print.evil <- function(x, ...) stop('boom'); format.evil <- print.evil;"
        "names.evil <- function(x) stop('names'); length.evil <- function(x) stop('length');"
        "toString.evil <- print.evil; evil <- structure(list(1), class = 'evil');"
        "makeActiveBinding('active', function() stop('active'), globalenv());"
        "c <- function(...) stop('c'); list <- 5; paste0 <- function(...) stop('p');"
        "bomb <- base::list(1); for (i in 1:64) bomb <- base::list(bomb, bomb); good <- 1"
    )

    variables = r_kernel.read("evil", "active", "bomb", "good")
    r_kernel.run("rm(c, list, paste0, evil, active)")

    assert {kind for kind, _ in r_kernel.published} <= {"execute_input"}
    assert variables["good"].json_text == "1"
    assert variables["active"].error == "active"
    assert variables["evil"].json_text is None
    assert variables["bomb"].error == "larger than 1000000 bytes"


def test_r_is_read_while_its_output_is_diverted(r_kernel: KernelUnderTest) -> None:
    r_kernel.run("sink(tempfile()); x <- 1")

    value = r_kernel.read_json("x")

    r_kernel.run("sink()")
    assert value == [1]


def test_any_string_can_name_an_r_variable(r_kernel: KernelUnderTest) -> None:
    r_kernel.run("assign('x); import os; (', 7); assign('\\u00e9 b', 8)")

    assert r_kernel.read_json("x); import os; (", "é b") == [7, 8]
    r_kernel.run("rm(list = c('x); import os; (', '\\u00e9 b'))")


# bash


def test_bash_values(bash_kernel: KernelUnderTest) -> None:
    bash_kernel.run(
        "s=$'a\\'\"\\n$(x)\\n\\n'; n=5; declare -i num=7; e=; arr=(1 'two 2' $'three\\n'); none=();"
        " declare -A map=([k]=v ['k 2']=$'v\\n'); declare -n ref=map; declare declared;"
        " sparse=([3]=c [7]=d); readonly ro=1; export ex=y"
    )

    variables = bash_kernel.read(
        *["s", "n", "num", "e", "arr", "none", "map", "ref", "declared", "sparse", "ro", "ex"]
    )

    expected = {
        "s": ("string", "a'\"\n$(x)\n\n"),
        "n": ("string", "5"),
        "num": ("string", "7"),
        "e": ("string", ""),
        "arr": ("array", ["1", "two 2", "three\n"]),
        "none": ("array", []),
        "map": ("associative array", {"k": "v", "k 2": "v\n"}),
        "ref": ("associative array", {"k": "v", "k 2": "v\n"}),
        "sparse": ("array", ["c", "d"]),
        "ro": ("string", "1"),
        "ex": ("string", "y"),
    }
    for name, (kind, value) in expected.items():
        assert variables[name].type == kind
        assert json.loads(variables[name].json_text or "null") == value
    assert variables["declared"] == Variable(error="no variable of this name")


@settings(one_kernel_for_all, max_examples=8)
@given(values=st.lists(unicode_text.map(lambda text: text[:20]), min_size=1, max_size=6))
def test_any_bash_array_comes_back(bash_kernel: KernelUnderTest, values: list[str]) -> None:
    words = ("$'" + "".join(f"\\x{byte:02x}" for byte in value.encode()) + "'" for value in values)
    bash_kernel.run(f"values=({' '.join(words)})")

    assert bash_kernel.read_json("values") == [values]


def test_bash_is_read_whatever_its_options_and_functions(bash_kernel: KernelUnderTest) -> None:
    bash_kernel.run(
        "x=1; set -u; printf() { :; }; declare() { :; }; base64() { :; }; sed() { :; };"
        " alias read=false command=false builtin=false; IFS=1; shopt -s nullglob"
    )

    variables = bash_kernel.read("x", "unset")
    bash_kernel.set_environment(OPTIONS="-e\n")
    assert bash_kernel.read_json("OPTIONS") == ["-e\n"]
    bash_kernel.restore_environment()

    bash_kernel.run(
        "set +u; unset -f printf declare base64 sed; \\unalias -a; IFS=$' \\t\\n';"
        " shopt -u nullglob"
    )
    assert variables["x"].json_text == '"1"'
    assert variables["unset"].error == "no variable of this name"


def test_restoring_keeps_what_kind_of_variable_it_was(bash_kernel: KernelUnderTest) -> None:
    bash_kernel.run("plain=$'p\\n'; list=(a 'b c'); declare -i whole=4; export out=o")

    bash_kernel.set_environment(plain="1", list="2", whole="a[$(touch pwned)]", out="4")
    assert bash_kernel.read_json("plain", "list", "whole", "out") == [
        "1",
        "2",
        "a[$(touch pwned)]",
        "4",
    ]
    bash_kernel.restore_environment()

    assert bash_kernel.read_json("plain", "list", "whole", "out") == ["p\n", ["a", "b c"], "4", "o"]
    assert environment_of(bash_kernel, "plain", "list", "whole", "out") == {
        "plain": None,
        "list": None,
        "whole": None,
        "out": "o",
    }
    assert "pwned" not in bash_kernel.run("ls")


def test_a_read_only_variable_cannot_be_set(bash_kernel: KernelUnderTest) -> None:
    bash_kernel.run("readonly fixed=1")

    request = bash_kernel.language.set_environment({"fixed": "2", "free": "3"})
    reply = bash_kernel.send(request)

    assert bash_kernel.language.environment_error(reply) is not None
    assert bash_kernel.read_json("fixed", "free") == ["1", "3"]
    bash_kernel.restore_environment()
    assert bash_kernel.read("free")["free"].error == "no variable of this name"


@pytest.mark.parametrize("name", ["PS1", "PROMPT_COMMAND", "TMOUT", "a-b"])
def test_bash_takes_no_variable_that_cuts_the_line_to_it(name: str) -> None:
    language = language_of("bash")
    assert language is not None

    with pytest.raises(ValueError, match="bash"):
        language.set_environment({name: "x"})


def test_output_between_the_pieces_is_passed_over() -> None:
    """Other text may stand on lines between, and before a piece on its line."""
    language = language_of("bash")
    assert language is not None
    reading = language.read_variables(["x"], max_bytes=100)
    found = re.search(r"jupyter-exec-[0-9a-f]{32}", reading.request.code)
    assert found is not None
    encoded = base64.b64encode(b"string\0value\0").decode()
    stdout = (
        f"before{found.group()} {encoded[:5]}\r\nQUJD\n"
        f"jupyter-exec-other QUJD\n{found.group()} {encoded[5:]}\nafter"
    )

    assert reading.parse(Reply(stdout=stdout)) == {
        "x": Variable(type="string", json_text='"value"')
    }


def test_lines_for_bash_fit_into_a_terminal() -> None:
    language = language_of("bash")
    assert language is not None

    requests = (
        language.set_environment({"A": "x" * 100_000, "B" * 256: ""}),
        language.restore_environment(),
        language.read_variables(["x" * 256] * 256, max_bytes=10).request,
    )

    for request in requests:
        assert max(map(len, request.code.splitlines())) < 4_000
        assert "\t" not in request.code


# JavaScript


class Node:
    """Runs code as IJavascript does: one after the other in one global context."""

    language: Language

    def __init__(self) -> None:
        found = language_of("javascript")
        assert found is not None
        self.language = found

    def run(self, *codes: str, **env: str) -> list[str]:
        script = (
            "const vm = require('vm');"
            "const codes = JSON.parse(require('fs').readFileSync(0, 'utf8'));"
            "for (const code of codes) {"
            " vm.runInThisContext(code); process.stdout.write('\\x01\\n'); }"
        )
        done = subprocess.run(
            ["node", "-e", script],
            input=json.dumps(codes),
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | env,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.split("\x01\n")

    def read(self, code: str, *names: str, max_bytes: int = 100_000) -> dict[str, Variable]:
        reading = self.language.read_variables(names, max_bytes=max_bytes)
        stdout = self.run(code, reading.request.code)[1]
        return reading.parse(Reply(content={"status": "ok"}, stdout="noise" + stdout))


@pytest.fixture
def node() -> Node:
    if not shutil.which("node"):
        missing("node is not installed: apt-get install nodejs")
    return Node()


def test_javascript_environment_is_set_and_restored(node: Node) -> None:
    values = {name: value for name, value in HARD_VALUES.items() if name != "LATIN"}
    show = "console.log(JSON.stringify(process.env))"
    language = node.language

    _, _, _, during, _, after, _ = node.run(
        "var before; before = Object.getOwnPropertyNames(globalThis).length",
        language.set_environment({"KEPT": "1", "QUOTES": "1"}).code,
        language.set_environment(values | {"KEPT": "2"}).code,
        show,
        language.restore_environment().code + language.restore_environment().code,
        show + "; if (Object.getOwnPropertyNames(globalThis).length !== before) throw 1",
        KEPT="former",
    )

    assert json.loads(during).items() >= (values | {"KEPT": "2"}).items()
    assert json.loads(after)["KEPT"] == "former"
    assert not json.loads(after).keys() & values.keys()


def test_javascript_values(node: Node) -> None:
    variables = node.read(
        "var v = [1, 'a', null, {k: [true, -1.5e300]}]; let l = 'é\\ud800'; const c = 10n ** 30n;"
        "let JSON = 5, Object = null, console = 1; globalThis.g = Object; var un;"
        "var nan = [NaN]; var f = function () {}; var d = new Date(0); var m = new Map([[1, 2]]);"
        "class A { constructor() { this.x = 1; } }; let a = new A(); let cyc = {}; cyc.me = cyc;"
        "let rich = { [Symbol.for('Jupyter.display')]() { return {'text/html': '<b>'}; } };"
        "let html = { _toHtml() { return '<i>'; }, f() {} };"
        "let evil = new Proxy({}, { get() { throw new Error('boom'); },"
        " getPrototypeOf() { throw new Error('proto'); } }); let big = 'x'.repeat(200000);"
        "let bomb = [1]; for (let i = 0; i < 64; i++) bomb = [bomb, bomb]; let holes = [1,,2];"
        "let hole = {a: undefined}; let é1 = 1; let $ = 2",
        *[
            "v",
            "l",
            "c",
            "JSON",
            "g",
            "un",
            "nan",
            "f",
            "d",
            "m",
            "a",
            "cyc",
            "rich",
            "html",
            "evil",
            "big",
            "bomb",
            "holes",
            "hole",
            "é1",
            "$",
        ],
    )

    assert variables["v"].json_text == '[1,"a",null,{"k":[true,-1.5e+300]}]'
    assert json.loads(variables["l"].json_text or "") == "é\ud800"
    assert variables["c"] == Variable(type="bigint", json_text="1" + "0" * 30)
    assert variables["JSON"].json_text == "5"
    assert variables["g"].json_text == "null"
    assert (variables["é1"].json_text, variables["$"].json_text) == ("1", "2")
    assert variables["un"].data == {"text/plain": "undefined"}
    for name in ["nan", "f", "d", "m", "a", "cyc", "holes", "hole"]:
        variable = variables[name]
        assert (variable.json_text, variable.error) == (None, None), name
        assert set(variable.data or {}) == {"text/plain"}, name
    assert variables["a"].type == "A"
    assert variables["rich"].data == {"text/html": "<b>"}
    assert (variables["html"].data or {})["text/html"] == "<i>"
    assert variables["evil"].error is not None
    assert variables["big"] == Variable(
        type="string", truncated=True, error="larger than 100000 bytes"
    )
    assert variables["bomb"].error == "larger than 100000 bytes"


def test_javascript_names_are_looked_up_not_run(node: Node) -> None:
    names = (
        *HARD_NAMES,
        "absent",
        "this",
        "if",
        "x.y",
        "x()",
        "globalThis.pwned=1",
        "(pwned=1)",
        "await x",
    )

    variables = node.read("var x = 1", *names, "x", "pwned")

    assert variables.pop("x").json_text == "1"
    assert variables["pwned"].error == "no variable of this name"
    assert variables["absent"].error == "no variable of this name"
    for variable in variables.values():
        assert variable == Variable(error=variable.error)


@settings(one_kernel_for_all, max_examples=10)
@given(values=st.lists(json_values, min_size=1, max_size=10))
def test_any_json_value_comes_back_from_javascript(node: Node, values: list[Any]) -> None:
    encoded = base64.b64encode(json.dumps(values).encode()).decode()
    code = f"var v = JSON.parse(Buffer.from('{encoded}', 'base64').toString())"

    text = node.read(code, "v")["v"].json_text

    assert equal(json.loads(text or ""), values)


def equal(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same to JavaScript, whose numbers are all floats."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, int | float) and isinstance(right, int | float):
        return math.isclose(left, right, rel_tol=1e-15)
    return bool(left == right)


# Julia


def test_julia_requests_carry_fixed_code_and_data_in_base64() -> None:
    """Julia cannot run here: the code around the data is checked by shape, never executed."""
    language = language_of("julia")
    assert language is not None
    reading = language.read_variables(["x", "a b"], max_bytes=77)

    requests = (
        language.set_environment({"NAME": "value"}),
        language.restore_environment(),
        reading.request,
    )

    for request in requests:
        assert request.silent
        sources = re.findall(r'base64decode, "([A-Za-z0-9+/=]+)"\)', request.code)
        assert len(sources) == 1
        source = base64.b64decode(sources[0]).decode()
        assert source.rstrip().endswith("\nmain")
        ends = len(re.findall(r"^ *end$", source, re.MULTILINE)) + len(
            re.findall(r"<: Exception end", source)
        )
        opened = re.findall(
            r"^ *(?:function|for|if|struct|let|entry = try|symbol = try|text = try|try)\b"
            r"|\bdo (?:item|\(key)",
            source,
            re.MULTILINE,
        )
        assert ends == len(opened)
    assert base64.b64encode(b"NAME").decode() in requests[0].code
    assert base64.b64encode(b"a b").decode() in reading.request.code
    assert ", 77," in reading.request.code


def test_a_julia_reading_comes_as_display_data() -> None:
    language = language_of("julia")
    assert language is not None
    reading = language.read_variables(["x", "y"], max_bytes=100)
    marker = re.search(r"jupyter-exec-[0-9a-f]{32}", reading.request.code)
    assert marker is not None
    entries = [{"type": "Int64", "json": "5"}, {"problem": "missing"}]
    text = f"{marker.group()} {base64.b64encode(json.dumps(entries).encode()).decode()}"

    variables = reading.parse(
        Reply(display_data=[{"text/plain": "other"}, {"text/vnd.jupyter-exec-reading": text}])
    )

    assert variables == {
        "x": Variable(type="Int64", json_text="5"),
        "y": Variable(error="no variable of this name"),
    }
