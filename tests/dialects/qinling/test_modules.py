"""Python modules as functions: made notebooks, called, changed."""

import hashlib
import json
from typing import Any

import pytest

from tests.dialects.qinling.conftest import Qinling, form_of, notebook_text, package_of

MODULE = """from __future__ import annotations

import json as os  # a name that the call does not need

def main(name="World", **more):
    print("Hello,", name, __name__)
    return {"name": name, "more": more}

def text(value=None):
    return value

def long():
    return {"numbers": list(range(2000)), "text": "x" * 200_000}

def odd():
    return float

def fails(reason):
    raise ValueError(reason)

class Own: pass

if __name__ == "__main__":
    raise SystemExit("run as a script")

"shown, but not returned"
"""


async def create(qinling: Qinling, source: str | bytes = MODULE, **fields: str) -> dict[str, Any]:
    """Make a function of a module called hello."""
    package = package_of(hello__py=source, notes__txt="left out")
    body, kind = form_of(package, code='{"source": "package"}', **fields)
    answer = await qinling.request("POST", "functions", body, Content_Type=kind)
    assert answer.status == 201, answer.body
    function: dict[str, Any] = answer.json
    return function


@pytest.mark.parametrize(
    ("entry", "given", "output"),
    [
        ("hello.main", None, {"name": "World", "more": {}}),
        ("hello.main", "", {"name": "World", "more": {}}),
        ("hello.main", '{"name": "Bob"}', {"name": "Bob", "more": {}}),
        (
            "hello.main",
            '{"name": "Zoë ☃", "PATH": [1], "a b": null}',
            {"name": "Zoë ☃", "more": {"PATH": [1], "a b": None}},
        ),
        ("hello.main", "Qinling", {"name": "Qinling", "more": {}}),
        ("hello.text", "6", "6"),
        ("hello.text", "[1, 2]", "[1, 2]"),
        ("hello.text", None, None),
        ("hello.text", '{"value": true}', True),
    ],
)
async def test_a_module_is_called_with_the_input(
    qinling: Qinling, entry: str, given: str | None, output: object
) -> None:
    """An object is its keyword arguments, with any names; other text is its argument."""
    function = await create(qinling, entry=entry, name="greet", runtime_id="python3")

    assert (function["name"], function["entry"]) == ("greet", entry)
    assert await qinling.output("greet", input=given) == output


async def test_what_a_module_does_is_told(qinling: Qinling) -> None:
    """What it prints is the log, what it raises why it failed, what it returns is whole."""
    await create(qinling, name="greet")
    await create(qinling, name="long", entry="hello.long")
    await create(qinling, name="odd", entry="hello.odd")
    await create(qinling, name="fails", entry="hello.fails")

    greeted = await qinling.create("greet")
    log = await qinling.request("GET", f"executions/{greeted['id']}/log")
    failed = await qinling.create("fails", input='{"reason": "no é"}')

    assert log.body.decode().splitlines()[1] == "Hello, World hello"
    assert failed["status"] == "failed"
    assert json.loads(failed["result"])["output"] == "ValueError: no é"
    whole = {"numbers": list(range(2000)), "text": "x" * 200_000}
    assert await qinling.output("long") == whole
    assert await qinling.output("odd") == "float"


async def test_a_module_is_a_notebook(qinling: Qinling) -> None:
    """Its source is a cell, as it is; a download gives the notebook, which runs elsewhere."""
    function = await create(
        qinling, "# -*- coding: latin-1 -*-\ndef main(): return '\xe9'".encode("latin-1")
    )

    assert function["name"] == "hello"
    assert function["entry"] == "hello.main"
    cells = json.loads((qinling.api.root / "hello.ipynb").read_text())["cells"]
    assert "".join(cells[1]["source"]).endswith("def main(): return 'é'")
    download = await qinling.request("GET", "functions/hello?download=true")
    assert hashlib.md5(download.body).hexdigest() == function["code"]["md5sum"]
    body, kind = form_of(download.body, code='{"source": "package"}', name="again")
    again = await qinling.request("POST", "functions", body, Content_Type=kind)
    assert (again.json["name"], again.json["entry"]) == ("again", "hello.main")
    assert await qinling.output("again") == "é"
    native = await qinling.api.run("hello.ipynb", variable_names=["qinling_output"])
    assert native["result"]["variables"]["qinling_output"]["json"] == "é"


@pytest.mark.parametrize("path", ["my-mod.py", "json.py", "folder/it's.py"])
async def test_a_module_may_have_any_name(qinling: Qinling, path: str) -> None:
    """Also one that another module has, or that no name of Python's is."""
    source = "def main(**more):\n    import json\n    return [json.dumps(more), __name__]"
    body, kind = form_of(package_of(**{path: source}), code='{"source": "package"}')

    created = await qinling.request("POST", "functions", body, Content_Type=kind)
    output = await qinling.output(created.json["id"], input='{"a": 1}')

    assert output == ['{"a": 1}', path.removesuffix(".py").replace("/", ".")]


async def test_a_module_can_be_changed(qinling: Qinling) -> None:
    """Its entry with its package only; a notebook may take its place, and it a notebook's."""
    await create(qinling, entry="hello.text", name="greet")

    async def put(package: bytes | None, **fields: str) -> Any:
        body, kind = form_of(package, **fields)
        return await qinling.request("PUT", "functions/greet", body, Content_Type=kind)

    alone = await put(None, entry="hello.main")
    same = await put(package_of(hello__py="def text(value=1): return [value]"))
    assert await qinling.output("greet") == [1]
    other = await put(package_of(other__py="def main(): return 2"), entry="other.main", timeout="9")
    assert await qinling.output("greet", input="") == 2
    notebook = await put(package_of(nb__ipynb=notebook_text("import os; os.environ['a']")))
    assert await qinling.output("greet", input='{"a": "b"}') == "b"
    module = await put(package_of(hello__py=MODULE), entry="hello.text")
    assert await qinling.output("greet", input="z") == "z"

    assert (alone.status, same.status, other.status) == (400, 200, 200)
    assert (same.json["entry"], other.json["entry"]) == ("hello.text", "other.main")
    assert (notebook.json["entry"], notebook.json["timeout"]) == (None, 9)
    assert module.json["entry"] == "hello.text"


async def test_a_module_runs_in_python_only(qinling: Qinling, echo_kernel_name: str) -> None:
    """Whether it is created with another runtime or given one later."""
    package = package_of(hello__py=MODULE)
    body, kind = form_of(package, code='{"source": "package"}', runtime_id=echo_kernel_name)
    created = await qinling.request("POST", "functions", body, Content_Type=kind)
    await create(qinling)
    body, kind = form_of(runtime_id=echo_kernel_name)
    changed = await qinling.request("PUT", "functions/hello", body, Content_Type=kind)

    assert (created.status, changed.status) == (400, 400)
    assert "runs no Python modules" in created.json["faultstring"]


@pytest.mark.parametrize("codec", ["iso-8859-1", "cp1251", "utf-8"])
async def test_a_module_says_how_it_is_written(qinling: Qinling, codec: str) -> None:
    """As Python has it, with any ends of lines."""
    source = f"# coding: {codec}\r\ndef main():\r\n    return '§'\r\n"
    data = source.encode(codec)
    await create(qinling, data, name="codec")

    output = await qinling.output("codec.ipynb")

    assert output == "§"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("codec", ["punycode", "undefined", "idna", "no"])
async def test_a_module_that_takes_hours_to_read_is_refused(qinling: Qinling, codec: str) -> None:
    """At once, whatever it says."""
    package = package_of(hello__py=f"# coding: {codec}\nxxx-{'a' * 3_000_000}")
    body, kind = form_of(package, code='{"source": "package"}', name="slow")

    answer = await qinling.request("POST", "functions", body, Content_Type=kind)

    assert (answer.status, answer.json["faultstring"]) == (
        400,
        "The file in the package is no text.",
    )
