"""Files in and out, in all spellings; and the native door to the same files."""

import asyncio
import io
import json
import os
import tarfile
from email.parser import BytesParser
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, ExecApi
from tests.dialects.backendai.conftest import BackendClient

FORM = {"Content-Type": "multipart/form-data; boundary=B"}


def form_of(*files: tuple[str, bytes], field: str = "src") -> bytes:
    """Return a form as the public client makes it, but for the names, which are taken as given."""
    parts = [
        f'--B\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    return b"".join(parts) + b"--B--\r\n"


async def upload(client: BackendClient, *files: tuple[str, bytes], **how: Any) -> Answer:
    return await client.request(
        "POST", "/session/demo-01/upload", form_of(*files, **how), headers=dict(FORM)
    )


def archives_of(answer: Answer) -> list[list[str]]:
    """Return the names in each archive of a download."""
    assert answer.status == 200, answer.body
    head = f"Content-Type: {answer.headers['Content-Type']}\r\n\r\n".encode()
    found = []
    for part in BytesParser().parsebytes(head + answer.body).get_payload():
        assert part["Content-Encoding"] == "identity"  # type: ignore[index]
        data = part.get_payload(decode=True)  # type: ignore[union-attr]
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:  # type: ignore[arg-type]
            found.append(archive.getnames())
    return found


@pytest.fixture
def folder(
    client: BackendClient, exec_api: ExecApi, jp_asyncio_loop: asyncio.AbstractEventLoop
) -> Path:
    """The folder of a session."""
    created = jp_asyncio_loop.run_until_complete(client.create())
    session = jp_asyncio_loop.run_until_complete(exec_api.session(created["sessionId"]))
    return exec_api.root / str(session["path"])


async def test_names_are_paths_below_the_home_of_the_session(
    client: BackendClient, folder: Path
) -> None:
    """Escaped or not, relative or not; the field does not matter, and what is there is replaced."""
    answer = await upload(
        client,
        ("main.py", b"1"),
        ("pkg%2Fh.py", b"2"),
        ("/home/work/in/a b.txt", b"3"),
        ("./x/../%C3%A4.txt", b""),
        field="any",
    )
    again = await upload(client, ("main.py", b"new"))

    assert (answer.status, answer.body, again.status) == (204, b"", 204)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert names == {"main.py", "pkg/h.py", "in/a b.txt", "ä.txt"}
    assert (folder / "main.py").read_bytes() == b"new"


@pytest.mark.parametrize(
    "name",
    [
        "%ff",
        "../x",
        "..%2Fx",
        "%2Fetc%2Fpasswd",
        "/home/workx",
        "a/../../x",
        "%2e%2e/x",
        ".",
        "a%00",
    ],
)
async def test_what_leads_elsewhere_is_refused(
    client: BackendClient, folder: Path, name: str
) -> None:
    """By 400, and none of the files of that upload is kept."""
    answer = await upload(client, ("good.txt", b"1"), (name, b"2"))

    assert answer.status == 400
    assert answer.json["type"].endswith("/invalid-api-params")
    assert list(folder.iterdir()) == []


async def test_links_lead_nowhere(client: BackendClient, folder: Path, tmp_path: Path) -> None:
    """Neither in nor out."""
    (folder / "out").symlink_to(tmp_path)
    (tmp_path / "secret.txt").write_text("secret")

    answers = [
        await upload(client, ("out/new.txt", b"1")),
        await client.request("GET", "/session/demo-01/download?files=out%2Fsecret.txt"),
        await client.request("GET", "/session/demo-01/download_single?file=out%2Fsecret.txt"),
        await client.request("GET", "/session/demo-01/files?path=out"),
    ]

    assert [answer.status for answer in answers] == [400] * 4
    assert not (tmp_path / "new.txt").exists()


async def test_limits_of_an_upload(client: BackendClient, folder: Path) -> None:
    """20 files of 1 MiB each are taken, one more or one byte more is not, and then none is."""
    mebibyte = bytes(1024**2)

    full = await upload(client, *[(f"{number}", mebibyte) for number in range(20)])
    for path in folder.iterdir():
        path.unlink()
    many = await upload(client, *[(f"{number}", b"x") for number in range(21)])
    large = await upload(client, ("a", b"x"), ("b", mebibyte + b"x"))

    assert [full.status, many.status, large.status] == [204, 400, 400]
    assert list(folder.iterdir()) == []


async def test_what_is_no_form_is_refused(client: BackendClient, folder: Path) -> None:
    """Also one that is cut, or has no file; parts that are no files are left aside."""
    target = "/session/demo-01/upload"
    field = b'--B\r\nContent-Disposition: form-data; name="more"\r\n\r\nvalue\r\n'

    answers = [
        await client.request("POST", target, b"{}"),
        await client.request("POST", target, form_of(("a", b"1"))[:-9], headers=dict(FORM)),
        await client.request("POST", target, b"--B--\r\n", headers=dict(FORM)),
        await client.request("POST", target, field + form_of(("a", b"1")), headers=dict(FORM)),
    ]

    assert [answer.status for answer in answers] == [400, 400, 400, 204]
    assert [path.name for path in folder.iterdir()] == ["a"]


@pytest.mark.parametrize("how", ["GET body", "POST body", "GET query", "POST query"])
async def test_parameters_come_in_four_ways(client: BackendClient, folder: Path, how: str) -> None:
    """Which is what clients of all years send."""
    (folder / "pkg").mkdir()
    (folder / "pkg" / "h.py").write_text("x")
    (folder / "main.py").write_text("y")
    method, place = how.split()

    async def ask(path: str, query: str, body: Any) -> Answer:
        where = f"/session/demo-01/{path}"
        if place == "body":
            return await client.request(method, where, body)
        return await client.request(method, f"{where}?{query}&owner_access_key=x")

    files = ["main.py", "pkg/h.py", "/home/work/pkg"]
    query = "files=main.py&files=pkg%2Fh.py&files=/home/work/pkg"
    archives = archives_of(await ask("download", query, {"files": files}))
    single = await ask("download_single", "file=pkg%2Fh.py", {"file": "pkg/h.py"})

    assert archives == [["main.py"], ["h.py"], ["pkg", "pkg/h.py"]]
    assert (single.status, single.body) == (200, b"x")
    assert single.headers["Content-Type"] == "application/octet-stream"
    if method == "GET":
        listed = await ask("files", "path=pkg", {"path": "pkg"})
        assert [entry["filename"] for entry in json.loads(listed.json["files"])] == ["h.py"]


async def test_parameters_are_taken_as_they_come(client: BackendClient, folder: Path) -> None:
    """Blanks are parts of names; a body that lacks a parameter leaves it to the query."""
    (folder / " lead.txt").write_text("blank")
    (folder / "lead.txt").write_text("none")
    target = "/session/demo-01/download_single"

    blank = await client.request("GET", f"{target}?file=%20lead.txt")
    beside = await client.request("POST", f"{target}?file=lead.txt", {})
    missing = await client.request("GET", f"{target}?file=lead.txt%20")
    control = await client.request("GET", f"{target}?file=%01lead.txt")
    wrong = await client.request("GET", f"{target}?file=%ff")
    twice = await client.request("GET", "/session/demo-01/files?path=a&path=b")

    assert (blank.body, beside.body) == (b"blank", b"none")
    assert (missing.status, control.status) == (404, 404)
    assert (wrong.status, twice.status) == (400, 400)


async def test_only_files_and_folders_are_downloaded(
    client: BackendClient, folder: Path, tmp_path: Path
) -> None:
    """What else is asked for by its name is refused, by both ways; in a folder it is left out."""
    (folder / "link").symlink_to(tmp_path)
    (folder / "dangling").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    (folder / "a").write_text("a")

    for name in ("link", "dangling", "pipe"):
        for path in (f"download?files=a&files={name}", f"download_single?file={name}"):
            answer = await client.request("GET", f"/session/demo-01/{path}")
            assert answer.status == 400, path
    assert archives_of(await client.request("GET", "/session/demo-01/download?files=.")) == [["a"]]


async def test_a_list_is_a_text(client: BackendClient, folder: Path) -> None:
    """With what `ls -l` shows."""
    (folder / "main.py").write_text("print(1)")
    (folder / "pkg").mkdir()

    answer = await client.request("GET", "/session/demo-01/files")
    nothing = await client.request("GET", "/session/demo-01/files?path=none")

    assert sorted(answer.json) == ["abspath", "errors", "files", "folder_path"]
    file, directory = json.loads(answer.json["files"])
    assert (file["filename"], file["size"], file["mode"]) == ("main.py", 8, "-rw-r--r--")
    assert file["mtime"] == pytest.approx((folder / "main.py").stat().st_mtime)
    assert (directory["filename"], directory["mode"]) == ("pkg", "drwxr-xr-x")
    assert (nothing.status, nothing.json["title"]) == (404, "No such file or directory.")


async def test_refused_downloads(client: BackendClient, folder: Path) -> None:
    """What is not there, nothing at all, too much, and what is no list; before a byte is sent."""
    (folder / "a").write_text("a")
    target = "/session/demo-01/download"

    missing = await client.request("GET", target, {"files": ["a", "none"]})
    others = [
        await client.request("GET", target),
        await client.request("GET", target, {"files": []}),
        await client.request("GET", target, {"files": ["a"] * 6}),
        await client.request("GET", target, {"files": {"a": 1}}),
        await client.request("GET", target, {"files": [1]}),
        await client.request("GET", target, b"no JSON"),
        await client.request("GET", target, {"files": ["../a"]}),
        await client.request("GET", "/session/demo-01/download_single"),
    ]
    single = await client.request("GET", "/session/demo-01/download_single?file=none")

    assert (missing.status, missing.json["msg"]) == (400, "The file is not found.")
    assert [answer.status for answer in others] == [400] * len(others)
    assert single.status == 404


async def test_two_doors_lead_to_one_session(
    client: BackendClient, exec_api: ExecApi, folder: Path
) -> None:
    """What comes in by one goes out by the other: sessions, variables, files, records."""
    native = (await exec_api.request("GET", "sessions", params={"name": "demo-01"})).json
    (session,) = native["sessions"]
    assert session["labels"] == {"dialect": "backendai"}
    assert (session["keep_files"], session["idle_timeout_seconds"]) == (False, 1800)

    await upload(client, ("a.txt", b"from there"))
    listed = await exec_api.request("GET", "sessions", session["id"], "files")
    assert [entry["path"] for entry in listed.json["files"]] == ["a.txt"]
    await exec_api.request("PUT", "sessions", session["id"], "files", "b.txt", body=b"native")
    single = await client.request("GET", "/session/demo-01/download_single?file=b.txt")
    assert single.body == b"native"

    await exec_api.run_code("x = 6", session_id=session["id"])
    (result,) = await client.run("query", "print(x * 7)")
    assert result["console"] == [["stdout", "42\n"]]
    info = (await client.request("GET", f"/session/{session['id']}")).json
    assert info["numQueriesExecuted"] == 2
    logs = (await client.request("GET", "/session/demo-01/logs")).json
    assert logs == {"result": {"logs": "42\n"}}

    other = await exec_api.new_session(name="other-1", kernel_name="python3")
    found = await client.create("other-1")
    assert (found["sessionId"], found["created"]) == (other["id"], False)
    assert (await client.request("DELETE", "/session/demo-01")).status == 200
    assert (await exec_api.request("GET", "sessions", session["id"])).status == 404
    assert not folder.exists()
