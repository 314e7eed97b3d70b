"""Files of a session over REST: listed, read in parts, replaced, removed, under any name."""

import asyncio
import io
import os
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from jupyter_exec_ext.web.conditions import MAX_LENGTH
from tests.api.session_files import Files
from tests.conftest import ExecApi

NAMES = [
    "plain.txt",
    "with space.txt",
    "quote'\".txt",
    "percent%20.txt",
    "a+b&c=d;e.txt",
    "hash#question?.txt",
    "umlaut-ä-日本-😀.txt",
    "new\nline\r\ttab",
    "-rf",
    "~",
    "C:evil",
    "con.txt",
    "x" * 255,
    "%2e%2e%2fetc",
    " leading and trailing ",
]
"""What a file may be called on Linux; anything but a slash and NUL, and here no backslash."""


@pytest.mark.parametrize("name", NAMES)
async def test_any_name_goes_in_and_out(files: Files, name: str) -> None:
    """The bytes and the name are the same on the disk, in the list and in the download."""
    data = os.urandom(1000)

    created = await files.request("PUT", f"d/{name}", body=data)
    replaced = await files.request("PUT", f"d/{name}", body=data + b"2")
    shown = await files.list(path="d")
    got = await files.request("GET", f"d/{name}")
    removed = await files.request("DELETE", f"d/{name}")
    gone = await files.request("GET", f"d/{name}")

    assert (created.status, replaced.status, removed.status) == (201, 200, 204)
    assert created.json["path"] == f"d/{name}"
    assert [entry["name"] for entry in shown] == [name]
    assert (shown[0]["size_bytes"], shown[0]["etag"]) == (1001, got.headers["ETag"])
    assert got.body == data + b"2"
    assert gone.status == 404
    assert gone.json["code"] == "FileNotFound"
    disposition = got.headers["Content-Disposition"]
    assert disposition.startswith("attachment; filename=")
    assert disposition.isascii()
    assert disposition.isprintable()
    plain = disposition.split('"')[1]
    assert plain == name or f"filename*=UTF-8''{quote(name, safe='')}" in disposition
    assert os.listdir(files.folder / "d") == []


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../x",
        "a/../../x",
        "%2e%2e/x",
        ".%2e/x",
        "%2e%2e%2fx",
        "a/%2e%2e/%2e%2e/x",
        "%2fetc/passwd",
        "/etc/passwd",
        "//etc",
        "a//b",
        "./x",
        "a/.",
        "a/",
        "..%5cx",
        "a%5cb",
        "%5c%5chost%5cshare",
        "a%00b",
        "%00",
        "x" * 256,
        "a/" * 2100 + "a",
        ".hidden",
        "a/.hidden/b",
    ],
)
async def test_paths_that_lead_elsewhere_are_refused(
    files: Files, exec_api: ExecApi, path: str
) -> None:
    """In every spelling, by every verb, before anything is read or written."""
    before = files_near(exec_api.root)

    for method in ("PUT", "GET", "HEAD", "DELETE"):
        answer = await files.raw(method, path, body=b"1" if method == "PUT" else None)

        assert answer.status == 422
        if method != "HEAD":
            assert (answer.json["code"], answer.json["target"]) == ("InvalidArgument", "path")
    assert files_near(exec_api.root) == before
    assert os.listdir(files.folder) == []


def files_near(root: Path) -> list[str]:
    """Return all files near *root*, without those that kernels and the store write at any time."""
    own = (root.parent / "runtime", root.parent / "store")
    found = root.parent.rglob("*")
    return sorted(str(file) for file in found if not any(map(file.is_relative_to, own)))


async def test_what_is_escaped_twice_is_a_plain_name(files: Files) -> None:
    """A path is decoded once: what looks like a way up afterwards is none."""
    answer = await files.raw("PUT", "%252e%252e%252fx", body=b"1")

    assert answer.status == 201
    assert os.listdir(files.folder) == ["%2e%2e%2fx"]


async def test_bytes_that_are_no_text_are_malformed(files: Files) -> None:
    """A path is UTF-8."""
    assert (await files.raw("GET", "%ff")).status == 400


async def test_a_list_shows_what_there_is(files: Files, exec_api: ExecApi) -> None:
    """Type, size, time and MIME type; a page at a time; of names that are no text, what can be."""
    await files.put("b/c.csv", b"1,2")
    await files.put("b/d.bin")
    await files.put("a.py")
    (files.folder / "link").symlink_to("/etc")
    (files.folder / ".hidden").write_text("")
    (files.folder / os.fsdecode(b"\xff")).write_text("")

    flat = await files.list()
    deep = await files.list(recursive="true")
    inner = await files.list(path="b/")
    pages, token = [], None
    while True:
        params = {"recursive": "true", "page_size": 2, **({"page_token": token} if token else {})}
        answer = await exec_api.request("GET", "sessions", files.key, "files", params=params)
        pages.append(answer.json["files"])
        token = answer.json.get("next_page_token")
        if token is None:
            break

    assert [(entry["path"], entry["type"]) for entry in flat] == [
        ("a.py", "file"),
        ("b", "directory"),
        ("link", "link"),
        ("?", "file"),
    ]
    assert [entry["path"] for entry in deep] == ["a.py", "b", "b/c.csv", "b/d.bin", "link", "?"]
    assert [entry["path"] for entry in inner] == ["b/c.csv", "b/d.bin"]
    assert [entry for page in pages for entry in page] == deep
    assert [len(page) for page in pages] == [2, 2, 2]
    csv = inner[0]
    assert (csv["name"], csv["mime_type"], csv["size_bytes"]) == ("c.csv", "text/csv", 3)
    assert inner[1]["mime_type"] == "application/octet-stream"
    assert csv["modified_time"].endswith("Z")
    assert "size_bytes" not in flat[1]


@pytest.mark.parametrize(
    ("params", "status", "target"),
    [
        ({"path": "../.."}, 422, "path"),
        ({"path": "no"}, 404, "path"),
        ({"path": "file"}, 409, "path"),
        ({"recursive": "maybe"}, 400, "recursive"),
        ({"page_size": "-1"}, 400, "page_size"),
        ({"page_token": "ä"}, 400, "page_token"),
        ({"page_token": "x"}, 400, "page_token"),
        ({"pathh": "a"}, 400, "pathh"),
    ],
)
async def test_a_list_that_cannot_be(
    files: Files, exec_api: ExecApi, params: dict[str, str], status: int, target: str
) -> None:
    """The answer names the parameter at fault."""
    await files.put("file")

    answer = await exec_api.request("GET", "sessions", files.key, "files", params=params)

    assert (answer.status, answer.json["target"]) == (status, target)


@pytest.mark.parametrize(
    ("header", "status", "body"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=8-", 206, b"89"),
        ("bytes=-3", 206, b"789"),
        ("bytes=5-100", 206, b"56789"),
        ("bytes=10-", 416, None),
        ("bytes=0-1,3-4", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=3-1", 200, b"0123456789"),
    ],
)
async def test_ranges(files: Files, header: str, status: int, body: bytes | None) -> None:
    """One range of bytes is answered as such; what is none is as if it were not there."""
    await files.put("a", b"0123456789")

    answer = await files.request("GET", "a", headers={"Range": header})

    assert answer.status == status
    if body is not None:
        assert answer.body == body
        assert answer.headers["Content-Length"] == str(len(body))
    if status == 206:
        assert answer.headers["Content-Range"].endswith("/10")
    if status == 416:
        assert answer.headers["Content-Range"] == "bytes */10"


async def test_a_tag_tells_whether_a_file_is_the_same(files: Files) -> None:
    """Not fetched again, not overwritten unseen, not put together from two files."""
    tag = (await files.put("a", b"one"))["etag"]

    async def status(method: str, body: bytes | None = None, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await files.request(method, "a", headers=named, body=body)
        return answer.status

    assert await status("GET", If_None_Match=tag) == 304
    assert await status("GET", If_None_Match=f'"other", W/{tag}') == 304
    assert await status("HEAD", If_None_Match="*") == 304
    assert await status("GET", If_None_Match='"other"') == 200
    assert await status("GET", If_Match='"other"') == 412
    assert await status("GET", Range="bytes=0-0", If_Range=tag) == 206
    assert await status("PUT", b"two", If_None_Match="*") == 412
    assert await status("PUT", b"two", If_Match='"other"') == 412
    assert await status("PUT", b"two", If_Match=f"W/{tag}") == 412
    assert (files.folder / "a").read_bytes() == b"one"
    assert await status("PUT", b"two", If_Match=f'"other", {tag}') == 200
    assert await status("GET", If_None_Match=tag) == 200
    assert await status("GET", Range="bytes=0-0", If_Range=tag) == 200
    assert await status("DELETE", If_Match='"' * (MAX_LENGTH + 1)) == 400
    assert await status("GET", If_None_Match='"' * (MAX_LENGTH + 1)) == 400
    assert await status("DELETE", If_Match=tag) == 412
    assert await status("DELETE", If_Match="*") == 204
    assert await status("DELETE", If_Match="*") == 404
    assert await status("PUT", b"new", If_Match="*") == 412
    assert await status("PUT", b"new", If_None_Match="*") == 201
    assert os.listdir(files.folder) == ["a"]


async def test_of_writers_at_once_one_wins_each_round(files: Files) -> None:
    """With ``If-Match`` nobody overwrites what he has not seen."""
    tag = (await files.put("a", b"0"))["etag"]

    answers = await asyncio.gather(
        *(
            files.request("PUT", "a", headers={"If-Match": tag}, body=b"%d" % number * 1000)
            for number in range(1, 10)
        )
    )

    assert sorted(answer.status for answer in answers) == [200] + 8 * [412]
    (winner,) = [number for number, answer in enumerate(answers, 1) if answer.status == 200]
    assert (files.folder / "a").read_bytes() == b"%d" % winner * 1000


async def test_head_tells_what_get_would_send(files: Files) -> None:
    """Without the content."""
    await files.put("a", b"x" * 1234)

    head = await files.request("HEAD", "a")
    get = await files.request("GET", "a")

    assert head.body == b""
    for name in ("Content-Length", "ETag", "Content-Disposition", "Accept-Ranges"):
        assert head.headers[name] == get.headers[name]


async def test_a_browser_never_shows_a_file(files: Files) -> None:
    """What users' code made is an attachment of bytes, in a sandbox."""
    await files.put("page.html", b"<script>alert(1)</script>")

    answer = await files.request("GET", "page.html")

    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert answer.headers["Content-Disposition"].startswith("attachment")


async def test_a_folder_is_removed_only_when_that_is_meant(files: Files) -> None:
    """Empty, or with ``recursive``; never the session's own."""
    await files.put("d/e/f")
    (files.folder / "empty").mkdir()

    assert (await files.request("DELETE", "d")).json["code"] == "FileConflict"
    assert (await files.request("DELETE", "empty")).status == 204
    assert (await files.raw("DELETE", "d?recursive=true")).status == 204
    assert (await files.request("DELETE", "")).status == 405
    assert os.listdir(files.folder) == []


async def test_an_archive_holds_what_is_asked_for(files: Files, exec_api: ExecApi) -> None:
    """Files and folders, each once, with any name; no link, nothing hidden, nothing special."""
    long_name = "x" * 200 + "/" + "ä" * 100
    for path in ("a.txt", "d/b.txt", "d/e/c.txt", long_name, "other"):
        await files.put(path, path.encode())
    (files.folder / "d" / "link").symlink_to("/etc/passwd")
    (files.folder / "d" / "dangling").symlink_to("../../../..")
    os.link(files.folder / "other", files.folder / "hard")
    os.mkfifo(files.folder / "d" / "pipe")
    (files.folder / "d" / ".hidden").write_text("")

    async def members(*paths: str) -> dict[str, bytes | None]:
        query = "&".join(f"path={quote(path)}" for path in paths)
        answer = await files.bare(
            "GET", f"exec/sessions/{files.key}/archive?{query}", headers=files.headers
        )
        assert answer.status == 200, answer.body
        assert answer.headers["Content-Type"] == "application/x-tar"
        with tarfile.open(fileobj=io.BytesIO(answer.body)) as tar:
            found = tar.getmembers()
            assert all(member.isreg() or member.isdir() for member in found)
            assert len({member.name for member in found}) == len(found)
            return {
                member.name: handle.read() if (handle := tar.extractfile(member)) else None
                for member in found
            }

    inside = {"d": None, "d/b.txt": b"d/b.txt", "d/e": None, "d/e/c.txt": b"d/e/c.txt"}
    assert await members("d", "d/e", "d", "d/") == inside
    assert await members("a.txt", long_name) == {
        "a.txt": b"a.txt",
        long_name: long_name.encode(),
    }
    everything = await members()
    assert everything == {
        **inside,
        "a.txt": b"a.txt",
        "x" * 200: None,
        long_name: long_name.encode(),
        "other": b"other",
        "hard": b"other",
    }
    for path, status in (
        ("no", 404),
        ("../x", 422),
        ("d/link", 422),
        ("d/dangling", 422),
        ("d/pipe", 409),
        ("d/link/passwd", 422),
    ):
        answer = await exec_api.request(
            "GET", "sessions", files.key, "archive", params={"path": path}
        )
        assert answer.status == status
    too_many = "&".join(["path=a.txt"] * 101)
    answer = await files.bare(
        "GET", f"exec/sessions/{files.key}/archive?{too_many}", headers=files.headers
    )
    assert (answer.status, answer.json["target"]) == (422, "path")


async def test_a_file_that_shrinks_while_it_is_read_is_not_passed_for_whole(
    files: Files, exec_app: Any
) -> None:
    """The connection is cut: what came looks like what it is, a part."""
    size = 64 * 1024 * 1024
    with (files.folder / "a").open("wb") as file:
        file.truncate(size)
    real = exec_app.files.open

    class Shrinking:
        """Cuts the file off once it is open."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.opened = real(*arguments, **options)

        async def __aenter__(self) -> Any:
            file = await self.opened.__aenter__()
            os.truncate(files.folder / "a", 10)
            return file

        async def __aexit__(self, *error: object) -> None:
            await self.opened.__aexit__(*error)

    exec_app.files.open = Shrinking

    with pytest.raises(Exception, match=r"(?i)closed|reset"):
        await files.request("GET", "a")


async def test_what_contents_of_the_server_show_is_the_same(
    files: Files, exec_api: ExecApi, jp_fetch: Any
) -> None:
    """The folder shows in JupyterLab's file browser, and what is saved there is a file here."""
    await files.put("a.txt", b"one")
    path = (await exec_api.session(files.key))["path"]

    shown = await jp_fetch("api", "contents", path)
    await jp_fetch(
        "api",
        "contents",
        f"{path}/b.txt",
        method="PUT",
        body='{"type": "file", "format": "text", "content": "two"}',
    )

    assert b'"a.txt"' in shown.body
    assert (await files.request("GET", "b.txt")).body == b"two"


async def test_uploads_are_told_on_the_event_bus(
    files: Files, exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """As the contents manager tells of what it saves and deletes itself."""
    told: list[tuple[str, str]] = []

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        told.append((data["action"], data["path"]))

    jp_serverapp.event_logger.add_listener(
        schema_id="https://events.jupyter.org/jupyter_server/contents_service/v1", listener=listen
    )
    path = (await exec_api.session(files.key))["path"]

    await files.put("d/a.txt")
    await files.request("DELETE", "d/a.txt")

    async with asyncio.timeout(10):
        while len(told) < 2:
            await asyncio.sleep(0.01)
    assert told == [("save", f"{path}/d/a.txt"), ("delete", f"{path}/d/a.txt")]


async def test_files_of_nobody(exec_api: ExecApi) -> None:
    """A session that is not there has none."""
    for method, where in (("GET", "files"), ("PUT", "files/a"), ("GET", "archive")):
        answer = await exec_api.request(
            method, "sessions", "00000000-0000-4000-8000-000000000000", *where.split("/"), body=None
        )
        assert (answer.status, answer.json["code"]) == (404, "SessionNotFound")
