"""JavaScript, run by Node.js as IJavascript does."""

import base64
import json
import math
import os
import shutil
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_exec_ext.core.models import Variable
from jupyter_exec_ext.engine.languages import Language, Reply, language_of
from tests.engine.languages.conftest import missing
from tests.engine.languages.samples import HARD_NAMES, HARD_VALUES, json_values, one_kernel_for_all


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
        language.set_environment({"KEPT": "1", "QUOTES": "1", "OUT": None}).code,
        language.set_environment(values | {"KEPT": "2", "ABSENT": None}).code,
        show,
        language.restore_environment().code + language.restore_environment().code,
        show + "; if (Object.getOwnPropertyNames(globalThis).length !== before) throw 1",
        KEPT="former",
        OUT="out",
    )

    assert not {"OUT", "ABSENT"} & json.loads(during).keys()
    assert json.loads(during).items() >= (values | {"KEPT": "2"}).items()
    assert json.loads(after)["KEPT"] == "former"
    assert json.loads(after)["OUT"] == "out"
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
    assert variables["l"].json_text is None
    assert "é" in (variables["l"].data or {})["text/plain"]
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
