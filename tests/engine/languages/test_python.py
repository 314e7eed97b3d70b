"""Python variables."""

import base64
import json

from hypothesis import given

from jupyter_exec_ext.core.models import Variable
from jupyter_exec_ext.engine.languages import Request
from jupyter_exec_ext.engine.languages.python import MAX_GATHERED_CHARACTERS
from tests.engine.languages.conftest import KernelUnderTest
from tests.engine.languages.samples import json_values, one_kernel_for_all


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
        " f64=np.float64(2.5), moon='\\U0001f319', mix=[np.int64(1), {'k': np.float16(1)}])\n"
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
        "moon": ("str", '"\\ud83c\\udf19"'),
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
        "baddict['a'] = 1; bomb = [1]; half = {'a': ['\\ud800']}\n"
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
        "half",
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
    assert variables["half"].json_text is None
    assert (variables["half"].data or {})["text/plain"] == "{'a': ['\\ud800']}"
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


def test_a_prepared_kernel_sends_printed_text_in_bounded_messages(
    python_kernel: KernelUnderTest,
) -> None:
    preparation = python_kernel.language.prepare_kernel()
    assert preparation is not None
    assert python_kernel.send(preparation).content["status"] == "ok"
    printed = "é" * 1_000_000 + "\n"

    for code in (
        "print('é' * 1_000_000)",
        "for _ in range(1_000): print('é' * 1_000, end='')\nprint()",
        "import sys; assert sys.stdout.write('é' * 1_000_000 + '\\n') == 1_000_001",
        "sys.stdout.writelines(['é' * 500_000, 'é' * 500_000, '\\n'])",
    ):
        assert python_kernel.run(code) == printed, code
        texts = [c["text"] for kind, c in python_kernel.published if kind == "stream"]
        # A piece above the limit starts a message of its own.
        assert max(map(len, texts)) < 2 * MAX_GATHERED_CHARACTERS, code

    python_kernel.run("sys.stderr.write('x' * 1_000_000); None")
    errors = [c["text"] for kind, c in python_kernel.published if kind == "stream"]
    assert "".join(errors) == "x" * 1_000_000
    assert max(map(len, errors)) < 2 * MAX_GATHERED_CHARACTERS
    wrong = python_kernel.send(Request(code="sys.stdout.write(1)", silent=False))
    assert wrong.content["ename"] == "TypeError"
