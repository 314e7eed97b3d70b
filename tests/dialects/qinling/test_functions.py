"""Notebooks as functions: found, made of packages, changed, downloaded, deleted."""

import asyncio
import hashlib
import io
import json
import os
import threading
import tracemalloc
import zipfile
from typing import Any
from uuid import uuid4

import nbformat
import pytest
from traitlets import TraitError

from jupyter_exec_ext.core.errors import TooLargeError
from jupyter_exec_ext.dialects.qinling.forms import FunctionForm, read_function
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.dialects.qinling.packages import notebook_in
from jupyter_exec_ext.dialects.qinling.wire import function_id_of, runtime_id_of
from tests.conftest import Answer
from tests.dialects.qinling.conftest import Qinling, form_of, notebook_text, package_of
from tests.imperfect import code, notebook, text

PACKAGE = package_of(nb__ipynb=notebook_text("6 * 7"))


async def send_form(
    qinling: Qinling, method: str, path: str, package: bytes | None = None, **fields: str
) -> Answer:
    if method == "POST":
        fields.setdefault("code", '{"source": "package"}')
    body, content_type = form_of(package, **fields)
    return await qinling.request(method, path, body, Content_Type=content_type)


async def test_notebooks_are_functions(qinling: Qinling) -> None:
    """All that the server shows, by path; what is hidden, or no notebook, is none."""
    for path in (
        "b.ipynb",
        "a/deep/nb.ipynb",
        "a/é ü.ipynb",
        ".hidden/nb.ipynb",
        "folder.ipynb/x.ipynb",
    ):
        qinling.api.write_notebook(path, "1")
    (qinling.api.root / "note.txt").write_text("no")
    (qinling.api.root / "loop").symlink_to(qinling.api.root)
    (qinling.api.root / "broken.ipynb").write_text("{")
    (qinling.api.root / "latin.ipynb").write_bytes(b"\xe9")

    functions = (await qinling.get("functions"))["functions"]

    mine = [function for function in functions if not function["name"].startswith("loop/")]
    assert [function["name"] for function in mine] == sorted(
        [
            "b.ipynb",
            "a/deep/nb.ipynb",
            "a/é ü.ipynb",
            "folder.ipynb/x.ipynb",
            "broken.ipynb",
            "latin.ipynb",
        ]
    )
    for listed in mine:
        assert listed["id"] == function_id_of(listed["name"])
        shown = await qinling.get(f"functions/{listed['id']}")
        assert json.loads(listed["code"]) == shown["code"]
        assert {**listed, "code": None} == {**shown, "code": None}


@pytest.mark.parametrize(
    "exec_config", [{"QinlingOptions": {"max_functions": 3, "max_listed_bytes": 0}}]
)
async def test_a_list_is_bounded(qinling: Qinling) -> None:
    """In its length, and in what is read for it."""
    for number in range(5):
        qinling.api.write_notebook(f"folder/{number}.ipynb", "1")
    qinling.api.write_notebook("top.ipynb", "1")

    functions = (await qinling.get("functions"))["functions"]

    assert [function["name"] for function in functions] == [
        "folder/0.ipynb",
        "folder/1.ipynb",
        "top.ipynb",
    ]
    assert {function["runtime_id"] for function in functions} == {None}
    assert (await qinling.get("functions/top.ipynb"))["runtime_id"] == runtime_id_of("python3")


async def test_a_package_becomes_a_notebook(qinling: Qinling) -> None:
    """With what is said of it in its metadata; it runs, and comes back as it is."""
    code = {"source": "package", "md5sum": hashlib.md5(PACKAGE).hexdigest()}
    (qinling.api.root / "folder").mkdir()
    said = {"cpu": "200", "memory_size": "64000000", "timeout": "60", "entry": "main.main"}

    created = await send_form(
        qinling,
        "POST",
        "functions",
        PACKAGE,
        code=json.dumps(code),
        name="folder/answer",
        runtime_id=runtime_id_of("python3"),
        description="All of it",
        **said,
    )

    function = created.json
    assert created.status == 201
    assert function["name"] == "folder/answer"
    assert function["id"] == function_id_of("folder/answer.ipynb")
    assert {name: str(function[name]) for name in said} == said
    assert function["description"] == "All of it"
    assert function["runtime_id"] == runtime_id_of("python3")
    on_disk = json.loads((qinling.api.root / "folder/answer.ipynb").read_text())
    assert on_disk["metadata"]["kernelspec"]["name"] == "python3"
    assert await qinling.output(function["id"]) == 42
    assert (await qinling.get(f"functions/{function['id']}"))["count"] == 1
    download = await qinling.request("GET", f"functions/{function['id']}?download=true")
    assert download.headers["Content-Type"] == "application/zip"
    assert download.headers["Content-Disposition"] == 'attachment; filename="answer.zip"'
    assert hashlib.md5(download.body).hexdigest() == function["code"]["md5sum"]
    with zipfile.ZipFile(io.BytesIO(download.body)) as archive:
        assert json.loads(archive.read("answer.ipynb")) == on_disk


async def test_a_function_can_be_changed(qinling: Qinling) -> None:
    """Its code, and what is said of it; what is not said stays."""
    qinling.api.write_notebook("nb.ipynb", "1", qinling={"timeout": 7, "outputs": ["x"]}, own=True)
    where = f"functions/{function_id_of('nb.ipynb')}"

    said = await send_form(qinling, "PUT", where, description="new", timeout="9")
    coded = await send_form(
        qinling, "PUT", where, package_of(other__ipynb=notebook_text("x = 5")), source="package"
    )
    encoded = await qinling.request(
        "PUT", where, b"entry=a.b", Content_Type="application/x-www-form-urlencoded"
    )
    renamed = await send_form(qinling, "PUT", where, name="other.ipynb")

    assert (said.status, said.json["description"], said.json["timeout"]) == (200, "new", 9)
    assert (coded.status, coded.json["description"], coded.json["timeout"]) == (200, "new", 9)
    assert (encoded.status, encoded.json["entry"]) == (200, "a.b")
    assert (renamed.status, list(renamed.json)) == (400, ["faultstring"])
    assert await qinling.output("nb.ipynb") == {"x": 5}
    kept = json.loads((qinling.api.root / "nb.ipynb").read_text())
    assert kept["cells"][0]["source"] == ["x = 5"]
    assert kept["metadata"]["kernelspec"]["name"] == "python3"


async def test_a_function_can_be_deleted(qinling: Qinling) -> None:
    """Its notebook goes, its executions stay."""
    qinling.api.write_notebook("nb.ipynb", "1")
    execution = await qinling.create("nb.ipynb")
    where = f"functions/{execution['function_id']}"

    answers = [(await qinling.request("DELETE", where)).status for _ in range(2)]

    assert answers == [204, 404]
    assert not (qinling.api.root / "nb.ipynb").exists()
    assert [shown["id"] for shown in await qinling.listed()] == [execution["id"]]
    gone = await qinling.request("POST", "executions", {"function_id": execution["function_id"]})
    assert gone.status == 404


BOMB = io.BytesIO()
with zipfile.ZipFile(BOMB, "w", zipfile.ZIP_DEFLATED) as _bomb:
    _bomb.writestr("nb.ipynb", b" " * 70_000_000)
DEEP = notebook_text("1").replace(
    '"metadata": {}', '"metadata": ' + '{"a":' * 5000 + "1" + "}" * 5000
)


@pytest.mark.parametrize(
    ("package", "fields", "status"),
    [
        (None, {}, 400),
        (b"no zip", {}, 400),
        (PACKAGE[:-30], {}, 400),
        (package_of(), {}, 400),
        (package_of(readme__md="def main(): pass"), {}, 400),
        (package_of(a__py="def main(): pass", b__py=""), {}, 400),
        (package_of(a__py=b"\xff"), {}, 400),
        (package_of(a__py="def f(): pass"), {"entry": "b.f"}, 400),
        (package_of(a__py="def f(): pass"), {"entry": "a.f()"}, 400),
        (package_of(a__ipynb=notebook_text(), b__ipynb=notebook_text()), {}, 400),
        (package_of(a__ipynb="[]"), {}, 400),
        (package_of(a__ipynb='{"nbformat": 4}'), {}, 400),
        (package_of(a__ipynb=b"\xff\xfe"), {}, 400),
        (package_of(a__ipynb=DEEP), {}, 400),
        (package_of(a__ipynb=notebook_text("'\ud800'")), {}, 400),
        (BOMB.getvalue(), {}, 413),
        (PACKAGE, {"code": "{"}, 400),
        (PACKAGE, {"code": "[]"}, 400),
        (PACKAGE, {"code": '{"source": "swift"}'}, 400),
        (PACKAGE, {"code": '{"source": "package", "md5sum": "0"}'}, 400),
        (PACKAGE, {"timeout": "301"}, 400),
        (PACKAGE, {"timeout": "-1"}, 400),
        (PACKAGE, {"timeout": ""}, 400),
        (PACKAGE, {"cpu": "9" * 5000}, 400),
        (PACKAGE, {"cpu": "301"}, 400),
        (PACKAGE, {"memory_size": "33554431"}, 400),
        (PACKAGE, {"runtime_id": "none"}, 404),
        (PACKAGE, {"name": "../out"}, 400),
        (PACKAGE, {"name": "missing/nb"}, 400),
        (PACKAGE, {"name": ".hidden"}, 400),
        (PACKAGE, {"name": "there"}, 409),
        (PACKAGE, {"name": "x" * 300}, 400),
    ],
)
async def test_what_makes_no_function_is_refused(
    qinling: Qinling, package: bytes | None, fields: dict[str, str], status: int
) -> None:
    """In Qinling's words, and nothing is left of it."""
    qinling.api.write_notebook("there.ipynb", "1")
    before = sorted(os.listdir(qinling.api.root))

    answer = await send_form(qinling, "POST", "functions", package, **fields)

    assert (answer.status, list(answer.json)) == (status, ["faultstring"]), answer.body
    assert sorted(os.listdir(qinling.api.root)) == before


@pytest.mark.parametrize("exec_config", [{"QinlingOptions": {"max_package_bytes": 1000}}])
async def test_a_package_has_a_limit(qinling: Qinling) -> None:
    answer = await send_form(qinling, "POST", "functions", b"x" * 200_000)

    assert (answer.status, list(answer.json)) == (413, ["faultstring"])


@pytest.mark.parametrize("exec_config", [{"QinlingOptions": {"max_packages": 1}}])
async def test_packages_come_one_at_a_time(
    qinling: Qinling, jp_http_port: int, jp_base_url: str
) -> None:
    """As many as may be: one more is refused with 503, until one has come, or its sender left."""
    _, writer = await asyncio.open_connection("localhost", jp_http_port)
    head = (
        f"POST {jp_base_url}exec/qinling/v1/functions HTTP/1.1",
        f"Host: localhost:{jp_http_port}",
        f"X-Auth-Token: {qinling.token}",
        "Content-Length: 1000",
    )
    writer.write("\r\n".join((*head, "", "part of it")).encode())
    await writer.drain()

    async def status_of_one() -> int:
        name = f"{uuid4()}"
        return (await send_form(qinling, "POST", "functions", PACKAGE, name=name)).status

    async def until(status: int) -> None:
        for _ in range(1_000):
            if await status_of_one() == status:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"it never was {status}")

    await until(503)
    writer.close()
    await until(201)


@pytest.mark.parametrize("exec_config", [{"QinlingOptions": {"max_packages": 1}}])
async def test_a_package_is_read_to_its_end_before_the_next(
    qinling: Qinling, jp_http_port: int, jp_base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although who sent it has left: leaving frees no thread."""
    begun, may_go_on = [threading.Event(), threading.Event()], threading.Event()

    def slow(*args: Any, **kwargs: Any) -> FunctionForm:
        begun[begun[0].is_set()].set()
        assert may_go_on.wait(60)
        return read_function(*args, **kwargs)

    monkeypatch.setattr("jupyter_exec_ext.dialects.qinling.resources.read_function", slow)
    body, kind = form_of(PACKAGE, code='{"source": "package"}', name="first")
    _, writer = await asyncio.open_connection("localhost", jp_http_port)
    head = (
        f"POST {jp_base_url}exec/qinling/v1/functions HTTP/1.1",
        f"Host: localhost:{jp_http_port}",
        f"X-Auth-Token: {qinling.token}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
    )
    writer.write("\r\n".join((*head, "", "")).encode() + body)
    assert await asyncio.to_thread(begun[0].wait, 60)
    writer.close()

    while True:
        second = asyncio.create_task(send_form(qinling, "POST", "functions", PACKAGE, name="next"))
        done, _ = await asyncio.wait({second}, timeout=1)
        if not done:
            break
        assert second.result().status == 503

    assert not begun[1].is_set()
    may_go_on.set()
    assert (await second).status == 201


async def test_a_form_can_be_anything(qinling: Qinling) -> None:
    """What is no form is refused, and never a fault of the server."""
    bodies: list[tuple[bytes, str]] = [
        (b"", ""),
        (b"{}", "application/json"),
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"\xff=\xff", "application/x-www-form-urlencoded"),
        (
            b"&".join(b"a%d=1" % number for number in range(200)),
            "application/x-www-form-urlencoded",
        ),
    ]

    for body, content_type in bodies:
        answer = await qinling.request("POST", "functions", body, Content_Type=content_type)
        assert (answer.status, list(answer.json)) == (400, ["faultstring"]), (body, answer.body)


async def test_a_form_has_few_parts_and_a_package_few_files(qinling: Qinling) -> None:
    """Whatever their names: many tiny ones would take long to read."""
    boundary = b"--x\r\nContent-Disposition: form-data; name="
    parts = (boundary + b'"cpu"\r\n\r\n100\r\n') * 200
    package = boundary + b'"package"; filename="p"\r\n\r\n' + PACKAGE + b"\r\n--x--\r\n"
    code = boundary + b'"code"\r\n\r\n{"source": "package"}\r\n'
    kind = "multipart/form-data; boundary=x"
    crowded = package_of(nb__ipynb=notebook_text("1"), **{f"f{n}": b"" for n in range(10_000)})

    many = await qinling.request("POST", "functions", parts + code + package, Content_Type=kind)
    few = await qinling.request("POST", "functions", code + package, Content_Type=kind)
    full = await send_form(qinling, "POST", "functions", crowded, name="full")

    assert (many.status, many.json["faultstring"]) == (400, "The form is broken.")
    assert few.status == 201, few.body
    assert (full.status, full.json["faultstring"]) == (400, "A package has at most 10000 files.")


async def test_a_package_with_a_notebook_that_is_not_valid_is_taken(qinling: Qinling) -> None:
    """What is stored is valid; a byte order mark is skipped."""
    cells = [text(outputs=[]), code("'one'", execution_count=..., outputs=[None])]
    data = json.dumps(notebook(*cells)).encode("utf-8-sig")

    created = await send_form(qinling, "POST", "functions", package_of(nb__ipynb=data), name="one")

    assert created.status == 201, created.body
    nbformat.validate(json.loads((qinling.api.root / "one.ipynb").read_text()))
    assert await qinling.output("one") == "one"


@pytest.mark.serial
@pytest.mark.parametrize(
    ("piece", "count"),
    [('{"cell_type":"raw","metadata":{},"source":""},', 1_000_000), ("[],", 20_000_000)],
)
def test_a_package_is_refused_before_its_cells_are_taken_apart(piece: str, count: int) -> None:
    """A small package can have so many that nbformat would need gigabytes for them."""
    head = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": ['
    package = package_of(nb__ipynb=f"{head}{piece * count}0]}}")
    assert len(package) < 200_000

    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match="at most"):
            notebook_in(package, entry=None, max_bytes=64_000_000)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # The text itself, as bytes and as characters, and what its unpacking takes.
    assert peak_bytes < 4 * 64_000_000


async def test_a_function_is_found_by_the_name_it_was_created_with(qinling: Qinling) -> None:
    """And it is listed under it; a copy of its notebook has a name of its own."""
    created = await send_form(qinling, "POST", "functions", PACKAGE, name="greet2")
    text = (qinling.api.root / "greet2.ipynb").read_text()
    (qinling.api.root / "copy.ipynb").write_text(text)

    names = [function["name"] for function in (await qinling.get("functions"))["functions"]]
    run = await qinling.create("greet2")

    assert created.json["name"] == "greet2"
    assert names == ["copy.ipynb", "greet2"]
    assert run["function_id"] == created.json["id"] == function_id_of("greet2.ipynb")
    assert (await qinling.get("functions/greet2"))["id"] == created.json["id"]
    assert [found["id"] for found in await qinling.listed("?function_id=greet2")] == [run["id"]]
    assert (await qinling.request("DELETE", "functions/greet2")).status == 204
    assert (await qinling.request("DELETE", "functions/greet2")).status == 400


async def test_what_is_sent_empty_is_said_too(qinling: Qinling) -> None:
    """A description can be taken back; a number cannot be empty."""
    qinling.api.write_notebook("nb.ipynb", "1", qinling={"description": "old", "entry": "a.b"})

    said = await send_form(qinling, "PUT", "functions/nb.ipynb", description="", entry="")
    empty = await send_form(qinling, "PUT", "functions/nb.ipynb", cpu="")

    assert (said.status, said.json["description"], said.json["entry"]) == (200, "", "")
    assert empty.status == 400


async def test_a_function_keeps_the_time_of_its_creation(qinling: Qinling) -> None:
    """What changes is `updated_at`, from the first change on."""
    qinling.api.write_notebook("nb.ipynb", "1")
    path = qinling.api.root / "nb.ipynb"
    os.utime(path, (1_000_000_000, 1_000_000_000))

    before = await qinling.get("functions/nb.ipynb")
    changed = (await send_form(qinling, "PUT", "functions/nb.ipynb", description="a")).json
    os.utime(path, (2_000_000_000, 2_000_000_000))
    after = await qinling.get("functions/nb.ipynb")

    assert (before["created_at"], before["updated_at"]) == ("2001-09-09T01:46:40Z", None)
    assert changed["created_at"] == before["created_at"] < changed["updated_at"]
    assert after["created_at"] == before["created_at"]
    assert after["updated_at"] == "2033-05-18T03:33:20Z"


async def test_a_timeout_is_within_the_limits(qinling: Qinling) -> None:
    """Whatever a notebook says."""
    qinling.api.write_notebook("nb.ipynb", "1", qinling={"timeout": 99_999_999_999})

    shown = await qinling.get("functions/nb.ipynb")
    native = await qinling.api.get(await qinling.create("nb.ipynb"))

    assert shown["timeout"] == native["timeout_seconds"] == 300


def test_limits_that_leave_nothing_are_refused() -> None:
    """At the start of the server."""
    for name in ("function_timeout_seconds", "cpu", "memory_size"):
        with pytest.raises(TraitError):
            QinlingOptions(**{f"min_{name}": 2, f"max_{name}": 1})
        assert getattr(QinlingOptions(**{f"min_{name}": 5, f"max_{name}": 5}), f"max_{name}") == 5


async def test_a_runtime_is_found_by_its_name(qinling: Qinling) -> None:
    """Where an id is taken; what is neither is 400, or 404 in a form."""
    shown = await qinling.get("runtimes/python3")
    created = await send_form(qinling, "POST", "functions", PACKAGE, runtime_id="python3")
    none = await qinling.request("GET", "runtimes/none")

    assert shown == await qinling.get(f"runtimes/{runtime_id_of('python3').upper()}")
    assert created.json["runtime_id"] == shown["id"]
    assert (none.status, none.json["faultstring"]) == (400, "Expected a uuid but received none.")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
async def test_a_function_that_goes_meanwhile_is_not_found(
    qinling: Qinling, method: str, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same words as one that was never there."""
    qinling.api.write_notebook("nb.ipynb", "1")
    manager = jp_serverapp.contents_manager
    get, asked = manager.get, []

    async def get_once(*args: Any, **kwargs: Any) -> Any:
        model = await get(*args, **kwargs)
        asked.append(model["path"])
        if len(asked) == 1:
            (qinling.api.root / "nb.ipynb").unlink()
        return model

    monkeypatch.setattr(manager, "get", get_once)

    if method == "PUT":
        answer = await send_form(qinling, method, "functions/nb.ipynb", description="x")
    else:
        path = "functions/nb.ipynb" + ("?download=true" if method == "GET" else "")
        answer = await qinling.request(method, path)

    assert asked
    assert (answer.status, answer.json["faultstring"]) == (404, "Function not found [id=nb.ipynb]")


async def test_an_uploaded_notebook_is_not_trusted(qinling: Qinling, jp_serverapp: Any) -> None:
    """Whatever it says of itself: what it shows ran nowhere here."""
    notebook = json.loads(notebook_text("1"))
    notebook["cells"][0]["metadata"]["trusted"] = True
    shown = {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<script>"}}
    notebook["cells"][0]["outputs"] = [shown]
    package = package_of(nb__ipynb=json.dumps(notebook))

    created = await send_form(qinling, "POST", "functions", package)

    assert created.status == 201
    model = await jp_serverapp.contents_manager.get("nb.ipynb", type="notebook", content=True)
    assert not model["content"]["cells"][0]["metadata"].get("trusted")
