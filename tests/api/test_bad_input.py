"""Bad input: a clear error that names what is at fault, and nothing is lost or done."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.core.inputs import MAX_ENTRY_BYTES
from tests.api.session_files import BareRequest
from tests.conftest import Answer, ExecApi

NB = {"notebook": {"path": "nb.ipynb"}}
GATE = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"


def with_raw(field: str) -> bytes:
    """Return a body that is right but for one more field, as raw JSON."""
    return b'{"notebook":{"path":"nb.ipynb"},%s}' % field.encode()


async def post(exec_api: ExecApi, body: Any, **kwargs: Any) -> Answer:
    """Submit *body*: bytes as they are, all else as JSON."""
    if not isinstance(body, bytes):
        body = json.dumps(body)
    return await exec_api.request("POST", "executions", body=body, **kwargs)


def error_of(exec_api: ExecApi, answer: Answer, status: int, code: str) -> dict[str, Any]:
    """Return the body of an error, which has our shape and tells nothing of the server."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    body: dict[str, Any] = answer.json
    assert set(body) <= {"code", "message", "target", "details"}
    assert body["code"] == code
    assert body["message"]
    for secret in ("Traceback", str(exec_api.root), str(Path(__file__).parents[2]), ".py"):
        assert secret not in answer.body.decode()
    return body


async def nothing_was_accepted(exec_api: ExecApi) -> bool:
    """Return whether no request of this test left an execution."""
    return bool((await exec_api.request("GET", "executions")).json["executions"] == [])


MALFORMED: dict[str, tuple[bytes, str | None]] = {
    "empty": (b"", None),
    "not JSON": (b"hello", None),
    "a form": (b"notebook=nb.ipynb", None),
    "not UTF-8": (b'{"notebook":{"path":"nb.ipynb"},"description":"\xff"}', None),
    "UTF-16": (json.dumps(NB).encode("utf-16"), None),
    "half": (b'{"notebook":{"path":"nb.ip', None),
    "trailing": (json.dumps(NB).encode() + b" x", None),
    "half a surrogate pair": (with_raw(r'"description":"\ud800"'), None),
    "NaN": (with_raw('"timeout_seconds":NaN'), None),
    "NaN in inputs": (with_raw('"inputs":{"A":NaN}'), None),
    "infinity": (with_raw('"timeout_seconds":Infinity'), None),
    "1e400": (with_raw('"timeout_seconds":1e400'), "timeout_seconds"),
    "1e400 in inputs": (with_raw('"inputs":{"A":1e400}'), "inputs"),
    "5000 digits": (with_raw('"inputs":{"A":' + "9" * 5000 + "}"), "inputs"),
    "list": (b"[]", None),
    "null": (b"null", None),
    "number": (b"1", None),
    "string": (b'"nb.ipynb"', None),
    "brackets": (b"[" * 100_000, None),
    "deep inputs": (with_raw('"inputs":{"A":' + "[" * 100_000 + "]" * 100_000 + "}"), None),
    "deep objects": (
        with_raw('"inputs":{"A":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}"),
        None,
    ),
    "deep cells": (
        b'{"notebook":{"path":"nb.ipynb","cells":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        "notebook.cells[0]",
    ),
    "no source": (b"{}", "code"),
    "no source but more": (b'{"inputs":{}}', "code"),
    "several sources": (with_raw('"code":"1"'), "code"),
    "unknown field": (with_raw('"notbook":{}'), "notbook"),
    "unknown field below": (b'{"notebook":{"path":"nb.ipynb","saveto":"x"}}', "notebook.saveto"),
    "no path": (b'{"notebook":{}}', "notebook.path"),
    "path null": (b'{"notebook":{"path":null}}', "notebook.path"),
    "path number": (b'{"notebook":{"path":1}}', "notebook.path"),
    "notebook string": (b'{"notebook":"nb.ipynb"}', "notebook"),
    "cells string": (b'{"notebook":{"path":"nb.ipynb","cells":"c0"}}', "notebook.cells"),
    "cell float": (b'{"notebook":{"path":"nb.ipynb","cells":["c0",1.5]}}', "notebook.cells[1]"),
    "cell boolean": (b'{"notebook":{"path":"nb.ipynb","cells":[true]}}', "notebook.cells[0]"),
    "save_to list": (b'{"notebook":{"path":"nb.ipynb","save_to":[]}}', "notebook.save_to"),
    "inputs list": (with_raw('"inputs":[]'), "inputs"),
    "names string": (with_raw('"variable_names":"x"'), "variable_names"),
    "name number": (with_raw('"variable_names":["x",1]'), "variable_names[1]"),
    "time-out string": (with_raw('"timeout_seconds":"1"'), "timeout_seconds"),
    "cell time-out list": (with_raw('"cell_timeout_seconds":[1]'), "cell_timeout_seconds"),
    "on_error": (with_raw('"on_error":"maybe"'), "on_error"),
    "label number": (with_raw('"labels":{"a":1}'), "labels"),
    "description null": (with_raw('"description":null'), "description"),
    "kernel number": (with_raw('"kernel_name":7'), "kernel_name"),
}


async def test_a_malformed_body_is_refused_with_the_field_at_fault(exec_api: ExecApi) -> None:
    """Not JSON, a wrong type, an unknown or missing field: 400, ``target`` names the field."""
    exec_api.write_notebook("nb.ipynb", "1")

    found = {name: await post(exec_api, body) for name, (body, _) in MALFORMED.items()}

    for name, (_, target) in MALFORMED.items():
        body = error_of(exec_api, found[name], 400, "MalformedRequest")
        assert (name, body.get("target")) == (name, target)
    assert await nothing_was_accepted(exec_api)


async def test_of_duplicate_keys_the_last_wins(exec_api: ExecApi) -> None:
    """As with every JSON reader that people are used to."""
    exec_api.write_notebook("nb.ipynb", "print(1)")

    answer = await post(exec_api, with_raw('"description":"a","description":"b","labels":{}'))

    assert (answer.status, answer.json["description"]) == (202, "b")
    await exec_api.final(answer.json)


MISSING_PATHS = (
    "no.ipynb",
    "",
    "/",
    ".",
    "..",
    "folder",
    "folder/",
    "folder.ipynb",
    ".hidden.ipynb",
    ".secret/nb.ipynb",
    "../outside.ipynb",
    "folder/../../outside.ipynb",
    "folder/../nb.ipynb",
    "./nb.ipynb",
    "folder//nb.ipynb",
    "%2e%2e/outside.ipynb",
    "..%2foutside.ipynb",
    "nb%2eipynb",
    "{outside}",
    "/{outside}",
    "{root}/nb.ipynb",
    "{root}-sibling/nb.ipynb",
    "../{name}-sibling/nb.ipynb",
    "-sibling/nb.ipynb",
    "..\\outside.ipynb",
    "folder\\nb.ipynb",
    "\\\\host\\share\\nb.ipynb",
    "nb.ipynb\0",
    "\0",
    "nb.ipynb\0.txt",
    "C:/nb.ipynb",
    "C:nb.ipynb",
    "c:\\nb.ipynb",
    "file:///etc/passwd",
    "a" * 5000,
    "a/" * 2500 + "nb.ipynb",
    "ü" * 200 + ".ipynb",
    "nb.ipynb/x",
    "dangling.ipynb",
    "loop.ipynb",
    "pipe.ipynb",
    "etc/passwd",
)


async def test_all_notebooks_that_are_not_there_get_the_same_words(exec_api: ExecApi) -> None:
    """Missing, hidden, a directory, outside of the root: nobody learns from a 404 which it is."""
    root = exec_api.root
    exec_api.write_notebook("nb.ipynb", "1")
    outside = Path(exec_api.write_notebook("../outside.ipynb", "1"))
    exec_api.write_notebook(f"../{root.name}-sibling/nb.ipynb", "1")
    for hidden in (".hidden.ipynb", ".secret/nb.ipynb", "folder/nb.ipynb"):
        exec_api.write_notebook(hidden, "1")
    (root / "folder.ipynb").mkdir()
    (root / "dangling.ipynb").symlink_to("nothing.ipynb")
    (root / "loop.ipynb").symlink_to("loop.ipynb")
    os.mkfifo(root / "pipe.ipynb")
    assert (root / outside).exists()
    words = {"outside": str((root / outside).resolve()), "root": str(root), "name": root.name}
    paths = [path.format(**words) if "{" in path else path for path in MISSING_PATHS]

    answers = [await post(exec_api, {"notebook": {"path": path}}) for path in paths]

    for path, answer in zip(paths, answers, strict=True):
        error_of(exec_api, answer, 404, "NotebookNotFound")
        assert answer.body == answers[0].body, path[:100]
    assert answers[0].json["target"] == "notebook.path"
    assert await nothing_was_accepted(exec_api)


@pytest.mark.parametrize("exec_config", [{"max_notebook_bytes": 1_000}])
async def test_a_notebook_is_as_large_as_what_is_read(exec_api: ExecApi) -> None:
    """A link to it is small, and does not make it smaller."""
    exec_api.write_notebook("nb.ipynb", f"x = {'1' * 2_000}")
    (exec_api.root / "link.ipynb").symlink_to("nb.ipynb")

    for path in ("nb.ipynb", "link.ipynb"):
        answer = await exec_api.request("POST", "executions", json={"notebook": {"path": path}})
        assert (answer.status, answer.json["target"]) == (413, "notebook.path")


async def test_links_inside_the_root_are_the_contents_managers_business(
    exec_api: ExecApi,
) -> None:
    """What JupyterLab opens through a link can be executed, and a leading slash is the root."""
    exec_api.write_notebook("nb.ipynb", "print('linked')")
    exec_api.write_notebook("../elsewhere/nb.ipynb", "print('elsewhere')")
    (exec_api.root / "link.ipynb").symlink_to("nb.ipynb")
    (exec_api.root / "away").symlink_to(exec_api.root.parent / "elsewhere")

    records = [await exec_api.run(path) for path in ("/link.ipynb", "away/nb.ipynb")]

    assert [record["result"]["stdout"] for record in records] == ["linked\n", "elsewhere\n"]
    assert records[0]["source"]["path"] == "link.ipynb"


NO_NOTEBOOKS: dict[str, tuple[str | bytes, str]] = {
    "plain.txt": ("just text", "JSON"),
    "latin1.ipynb": (b'{"nbformat": 4, "x": "\xff"}', "UTF-8"),
    "binary.ipynb": (b"\0\xff\xfe" * 100, "UTF-8"),
}


async def test_what_is_no_text_is_refused(exec_api: ExecApi) -> None:
    """422 says what is wrong with the file, but not where on the server's disk it is."""
    for name, (content, _) in NO_NOTEBOOKS.items():
        data = content if isinstance(content, bytes) else content.encode()
        (exec_api.root / name).write_bytes(data)

    answers = {name: await post(exec_api, {"notebook": {"path": name}}) for name in NO_NOTEBOOKS}

    for name, (_, reason) in NO_NOTEBOOKS.items():
        body = error_of(exec_api, answers[name], 422, "InvalidNotebook")
        assert body["target"] == "notebook.path"
        assert reason in body["message"], name
    assert await nothing_was_accepted(exec_api)


async def test_old_notebooks_run(exec_api: ExecApi) -> None:
    """What nbformat can convert, it converts: version 3 had worksheets."""
    cell = {
        "cell_type": "code",
        "collapsed": False,
        "input": ["print('three')"],
        "language": "python",
        "metadata": {},
        "outputs": [],
        "prompt_number": 1,
    }
    notebook = {
        "metadata": {"name": "old"},
        "nbformat": 3,
        "nbformat_minor": 0,
        "worksheets": [{"cells": [cell], "metadata": {}}],
    }
    (exec_api.root / "v3.ipynb").write_text(json.dumps(notebook))

    record = await exec_api.run("v3.ipynb", cells=[0])

    assert record["result"]["stdout"] == "three\n"
    # It names no kernelspec, so it gets the server's default.
    assert record["kernel_name"] == "python3"


CELLS: tuple[tuple[Any, str, str], ...] = (
    (["nope"], "notebook.cells.0", "nope"),
    (["c0", "nope"], "notebook.cells.1", "nope"),
    ([5], "notebook.cells.0", "5"),
    ([-1], "notebook.cells.0", "-1"),
    ([10**30], "notebook.cells.0", "1000"),
    ({"from": "nope"}, "notebook.cells.from", "nope"),
    ({"up_to": 9}, "notebook.cells.up_to", "9"),
    ({"tag": "nope"}, "notebook.cells.tag", "nope"),
)
SHAPES: tuple[Any, ...] = (
    [],
    {},
    {"from": "c0", "up_to": "c0"},
    {"tag": 1},
    {"until": "c0"},
    {"from": "c0", "x": 1},
)


async def test_cells_that_are_not_there_are_named(exec_api: ExecApi) -> None:
    """An unknown id, index or tag is a 422 with it; so is a choice without sense, or of nothing."""
    exec_api.write_notebook("nb.ipynb", "1")

    def body(cells: Any) -> dict[str, Any]:
        return {"notebook": {"path": "nb.ipynb", "cells": cells}}

    for cells, target, named in CELLS:
        answer = await post(exec_api, body(cells))
        error = error_of(exec_api, answer, 422, "UnknownCell")
        assert error["target"] == target
        assert named in error["message"]
    for cells in SHAPES:
        error = error_of(exec_api, await post(exec_api, body(cells)), 422, "InvalidArgument")
        assert error["target"] == "notebook.cells"
    assert await nothing_was_accepted(exec_api)


async def test_an_unknown_kernelspec_names_the_known_ones(exec_api: ExecApi) -> None:
    """Asked for, or named by the notebook: ``target`` tells which of them is at fault."""
    exec_api.write_notebook("nb.ipynb", "1")
    exec_api.write_notebook("cobol.ipynb", "1", kernelspec={"name": "cobol", "display_name": "C"})

    for body, target in (
        ({**NB, "kernel_name": "cobol"}, "kernel_name"),
        ({**NB, "kernel_name": "../python3"}, "kernel_name"),
        ({**NB, "kernel_name": "x" * 5000}, "kernel_name"),
        ({**NB, "kernel_name": "a\0b"}, "kernel_name"),
        ({"notebook": {"path": "cobol.ipynb"}}, "notebook.path"),
    ):
        error = error_of(exec_api, await post(exec_api, body), 422, "UnknownKernel")
        assert error["target"] == target
        assert "echo, python3" in error["message"]
        assert len(error["message"]) < 500
    assert await nothing_was_accepted(exec_api)


BAD_INPUTS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"": 1}, "inputs."),
    ({"1A": 1}, "inputs.1A"),
    ({"A B": 1}, "inputs.A B"),
    ({"A=B": 1}, "inputs.A=B"),
    ({"Ä": 1}, "inputs.Ä"),
    ({"A\n": 1}, "inputs.A\n"),
    ({"A\0": 1}, "inputs.A\0"),
    ({"A": "x\0y"}, "inputs.A"),
    ({"A": "x" * MAX_ENTRY_BYTES}, "inputs.A"),
    ({"A": ["ü" * (MAX_ENTRY_BYTES // 2)]}, "inputs.A"),
    ({"A" * MAX_ENTRY_BYTES: "x"}, f"inputs.{'A' * 64}"),
    ({"PATH": "x"}, "inputs.PATH"),
    ({"path": "x"}, "inputs.path"),
    ({"HOME": None}, "inputs.HOME"),
    ({"LD_PRELOAD": "x"}, "inputs.LD_PRELOAD"),
    ({"PYTHONPATH": "x"}, "inputs.PYTHONPATH"),
    ({"JUPYTERHUB_API_TOKEN": "x"}, "inputs.JUPYTERHUB_API_TOKEN"),
    ({"JPY_SESSION_NAME": "x"}, "inputs.JPY_SESSION_NAME"),
    ({"KERNEL_ID": "x"}, "inputs.KERNEL_ID"),
    ({f"A{number}": 1 for number in range(257)}, "inputs"),
)


async def test_inputs_that_cannot_be_set_are_refused_without_their_value(
    exec_api: ExecApi,
) -> None:
    """Bad and reserved names, NUL, too long, too many: 422 with the name, never the value."""
    exec_api.write_notebook("nb.ipynb", "1")

    for inputs, target in BAD_INPUTS:
        answer = await post(exec_api, {**NB, "inputs": inputs})
        error = error_of(exec_api, answer, 422, "InvalidArgument")
        assert error["target"] == target
        assert len(answer.body) < 1000
    assert await nothing_was_accepted(exec_api)


async def test_inputs_at_their_limits_arrive(exec_api: ExecApi) -> None:
    """The largest value and the largest number of inputs that are documented do work."""
    inputs: dict[str, Any] = {f"A{number}": number for number in range(255)}
    inputs["B"] = "x" * (MAX_ENTRY_BYTES - 1)

    record = await exec_api.run_cells(
        "import os; print(len(os.environ['B']), os.environ['A254'])", inputs=inputs
    )

    assert record["result"]["stdout"] == f"{MAX_ENTRY_BYTES - 1} 254\n"


LIMITS: tuple[tuple[str, Any, Any], ...] = (
    ("variable_names", [f"v{n}" for n in range(3)], [f"v{n}" for n in range(4)]),
    ("variable_names", ["v" * 256], ["v" * 257]),
    ("variable_names", ["v"], ["v", "v"]),
    ("variable_names", ["v"], [""]),
    ("variable_names", ["v"], ["a\nb"]),
    ("labels", {"a": "", "b": "x"}, {"a": "", "b": "x", "c": "y"}),
    ("labels", {"n" * 8: "v" * 8}, {"n" * 9: "v"}),
    ("labels", {}, {"n": "v" * 9}),
    ("labels", {}, {"": "v"}),
    ("labels", {}, {"n": "a\0b"}),
    ("description", "d" * 10, "d" * 11),
    ("description", "", "ü" * 11),
    ("timeout_seconds", 60, 61),
    ("timeout_seconds", 1e-9, 0),
    ("timeout_seconds", None, -1),
    ("timeout_seconds", 59.9, 1e300),
    ("cell_timeout_seconds", 60, 60.1),
    ("cell_timeout_seconds", None, -0.0),
)


@pytest.mark.parametrize(
    "exec_config",
    [
        {
            "max_variables": 3,
            "max_labels": 2,
            "max_label_length": 8,
            "max_description_length": 10,
            "max_execution_seconds": 60.0,
        }
    ],
)
async def test_one_above_a_limit_is_refused_and_the_limit_itself_is_not(exec_api: ExecApi) -> None:
    """Each limited field: the limit is accepted, one more is a 422 that names the field."""
    exec_api.write_notebook("nb.ipynb", "1")
    missing = {"notebook": {"path": "missing.ipynb"}}

    for name, good, bad in LIMITS:
        error = error_of(exec_api, await post(exec_api, {**NB, name: bad}), 422, "InvalidArgument")
        assert error["target"] == name
        # The fields are checked first, so this reads as: the field is in order.
        answer = await post(exec_api, {**missing, name: good})
        assert (name, good, answer.status) == (name, good, 404)
    assert await nothing_was_accepted(exec_api)


SAVE_TO = (
    "",
    "/",
    "out",
    "out.txt",
    "out.ipynb.txt",
    ".out.ipynb",
    ".secret/out.ipynb",
    "missing/out.ipynb",
    "../out.ipynb",
    "sub/../../out.ipynb",
    "sub/./out.ipynb",
    "sub//out.ipynb",
    "..\\out.ipynb",
    "taken.ipynb",
    "nb.ipynb/out.ipynb",
    "a\0.ipynb",
    "C:/out.ipynb",
    "x" * 300 + ".ipynb",
    "sub/" * 2000 + "out.ipynb",
    "IN_PLACE",
)


async def test_a_place_where_nothing_can_be_saved_is_refused_before_the_run(
    exec_api: ExecApi,
) -> None:
    """Hidden, without a folder, not ``.ipynb``, outside, a directory: 422, and nothing is made."""
    exec_api.write_notebook("nb.ipynb", "1")
    (exec_api.root / "taken.ipynb").mkdir()
    (exec_api.root / "sub").mkdir()
    (exec_api.root / ".secret").mkdir()
    before = sorted(exec_api.root.parent.rglob("*.ipynb"))

    for path in SAVE_TO:
        answer = await post(exec_api, {"notebook": {"path": "nb.ipynb", "save_to": path}})
        error = error_of(exec_api, answer, 422, "InvalidArgument")
        assert (path, error["target"]) == (path, "notebook.save_to")
    assert sorted(exec_api.root.parent.rglob("*.ipynb")) == before
    assert await nothing_was_accepted(exec_api)


QUERIES: tuple[tuple[str, str, str, str], ...] = (
    ("POST", "executions", "wait", "soon"),
    ("POST", "executions", "wait", "-1"),
    ("POST", "executions", "wait", "nan"),
    ("POST", "executions", "view", "half"),
    ("GET", "executions", "page_size", "-1"),
    ("GET", "executions", "page_size", ""),
    ("GET", "executions", "state", ""),
    ("GET", "executions", "label", ""),
    ("GET", "executions", "created_after", ""),
    ("POST", "executions", "wait", ""),
    ("DELETE", "executions/x", "force", ""),
    ("GET", "executions", "page_size", "1.5"),
    ("GET", "executions", "page_size", "many"),
    ("GET", "executions", "page_size", "\u0661"),
    ("GET", "executions", "order_by", "name"),
    ("GET", "executions", "state", "done"),
    ("GET", "executions", "state", "failed,"),
    ("GET", "executions", "created_after", "yesterday"),
    ("GET", "executions", "created_before", "9999-12-31T23:59:59-23:59"),
    ("DELETE", "executions", "lable", "a"),
    ("DELETE", "executions/x", "force", "maybe"),
    ("GET", "executions/x", "view", "half"),
    ("GET", "executions/x", "wait", "-0.1"),
    ("POST", "executions/x/cancel", "view", "half"),
)


async def test_bad_parameters_of_the_query_are_named_and_nothing_is_done(
    exec_api: ExecApi,
) -> None:
    """A wrong value is a 400 with its name, before anything is started or deleted."""
    exec_api.write_notebook("nb.ipynb", "1")

    for method, path, name, value in QUERIES:
        body = json.dumps(NB) if method == "POST" else None
        answer = await exec_api.request(method, path, params={name: value}, body=body)
        error = error_of(exec_api, answer, 400, "MalformedRequest")
        assert (path, error["target"]) == (path, name)
    assert await nothing_was_accepted(exec_api)


async def test_strange_ids_are_unknown(
    exec_api: ExecApi, bare_request: BareRequest, jp_auth_header: dict[str, str]
) -> None:
    """An id that is none gets 404 in our shape, on each of its paths."""
    for key in ("x", "%00", "..%2F..", "%22", "x" * 5000, "%F0%9F%90%8D", "%2e%2e", "a'--"):
        for verb, more in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/log")):
            path = f"exec/executions/{key}{more}"
            answer = await bare_request(verb, path, headers=dict(jp_auth_header), body=None)
            error_of(exec_api, answer, 404, "ExecutionNotFound")
            assert len(answer.body) < 500
    answer = await bare_request("GET", "exec/executions/%ff", headers=dict(jp_auth_header))
    error_of(exec_api, answer, 400, "MalformedRequest")


class Connection:
    """One TCP connection to the server, kept open."""

    def __init__(self, reader: Any, writer: Any, head: str) -> None:
        self._reader, self._writer, self._head = reader, writer, head

    async def send(self, method: str, path: str, headers: str, body: Any) -> Answer:
        """Send the request with *body*, bytes or pieces of it, and read the answer."""
        self._writer.write(f"{method} {self._head}{path} HTTP/1.1\r\n{headers}".encode())
        pieces = [body] if isinstance(body, bytes) else body
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()
        status = int((await self._reader.readline()).split()[1])
        fields: dict[str, str] = {}
        while (line := await self._reader.readline()) != b"\r\n":
            name, _, value = line.decode().partition(":")
            fields[name] = value.strip()
        content = await self._reader.readexactly(int(fields.get("Content-Length", 0)))
        return Answer(status, fields, content)


@pytest.fixture
def connect(jp_http_port: int, jp_base_url: str, jp_auth_header: dict[str, str]) -> Any:
    """Open a connection; all headers but those of the body are in order."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Any]:
        reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
        connection = Connection(reader, writer, jp_base_url)
        auth = jp_auth_header["Authorization"]

        async def send(method: str, path: str, headers: str = "", body: Any = b"") -> Answer:
            common = f"Host: localhost\r\nAuthorization: {auth}\r\n{headers}\r\n"
            return await connection.send(method, path, common, body)

        try:
            yield send
        finally:
            writer.close()
            await writer.wait_closed()

    return opened


async def test_a_body_that_is_too_large_is_refused_and_the_connection_goes_on(
    exec_api: ExecApi, connect: Any
) -> None:
    """413 for 60 MB, whole or chunked, in time; the same connection takes the next request."""
    size = 60_000_000
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"

    async with connect() as send:
        began = time.monotonic()
        whole = await send(
            "POST",
            "exec/executions",
            f"Content-Length: {size}\r\n",
            (b" " * 100_000 for _ in range(size // 100_000)),
        )
        after = await send("GET", "exec/executions")
        chunked = await send(
            "POST",
            "exec/executions",
            "Transfer-Encoding: chunked\r\n",
            (chunk if n else b"0\r\n\r\n" for n in reversed(range(size // 0x10000))),
        )
        last = await send("GET", "exec/executions")

    assert time.monotonic() - began < 20
    for answer in (whole, chunked):
        assert "8000000" in error_of(exec_api, answer, 413, "TooLarge")["message"]
    assert (after.status, last.status) == (200, 200)


async def test_forms_are_no_load(exec_api: ExecApi, connect: Any) -> None:
    """A million form fields, or parts, are not parsed: 400 at once, as for all that is no JSON."""
    fields = b"&".join([b"a=1"] * 1_000_000)
    parts = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 50_000 + b"--x--\r\n"

    async with connect() as send:
        began = time.monotonic()
        answers = [
            await send(
                method,
                "exec/executions",
                f"Content-Type: {media_type}\r\nContent-Length: {len(body)}\r\n",
                body,
            )
            for media_type, body in (
                ("application/x-www-form-urlencoded", fields),
                ("multipart/form-data; boundary=x", parts),
            )
            for method in ("POST", "DELETE")
        ]

    assert time.monotonic() - began < 5
    for answer in answers:
        error_of(exec_api, answer, 400, "MalformedRequest")


@pytest.mark.parametrize("exec_config", [{"max_running": 1, "max_pending": 2}])
async def test_a_full_queue_refuses_and_loses_nothing(exec_api: ExecApi) -> None:
    """429 with ``Retry-After``; all that was accepted runs, and then there is room again."""
    exec_api.write_notebook("nb.ipynb", GATE, "print('ran')")
    accepted = [await exec_api.start("nb.ipynb") for _ in range(3)]

    refused = [await post(exec_api, NB) for _ in range(3)]
    listed = (await exec_api.request("GET", "executions")).json["executions"]
    (exec_api.root / "go").touch()
    finals = [await exec_api.final(record) for record in accepted]
    again = await exec_api.run("nb.ipynb")

    for answer in refused:
        error_of(exec_api, answer, 429, "TooMany")
        assert int(answer.headers["Retry-After"]) > 0
    assert {record["id"] for record in listed} == {record["id"] for record in accepted}
    assert [record["result"]["stdout"] for record in finals] == ["ran\n"] * 3
    assert again["state"] == "succeeded"


async def test_a_defect_tells_clients_and_logs_no_secret(
    exec_api: ExecApi,
    jp_fetch: Any,
    jp_serverapp: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception that nobody foresaw is a 500 without its words; the log has the place."""

    def fail(*_: object) -> None:
        raise RuntimeError("s3cr3t")

    monkeypatch.setattr(jp_serverapp.contents_manager, "file_exists", fail)

    # Not by `exec_api`, which takes nothing that the contract does not have.
    response = await jp_fetch(
        "exec/executions",
        method="POST",
        body=json.dumps({**NB, "inputs": {"A": "s3cr3t"}}),
        raise_error=False,
    )
    answer = Answer(response.code, response.headers, response.body)

    assert error_of(exec_api, answer, 500, "InternalError")["message"] == "Internal Server Error"
    assert b"s3cr3t" not in answer.body
    assert "s3cr3t" not in caplog.text
    assert "a defect: RuntimeError" in caplog.text
    assert await nothing_was_accepted(exec_api)
