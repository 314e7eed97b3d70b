"""Uploads: taken while they come, whole or not at all, and refused while they come too."""

import asyncio
import json
import os
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from traitlets.config import Config

from jupyter_exec_ext.files.directories import OWN_PREFIX
from tests.api.session_files import Files
from tests.conftest import WAIT_SECONDS, Answer, ExecApi

BOUNDARY = "frontier"
MEBIBYTE = 1024 * 1024


def form(*parts: tuple[str, bytes], field: str = "file", end: bool = True) -> bytes:
    """Return a form of files, as browsers and HTTP clients write it."""
    body = b""
    for name, data in parts:
        escaped = name.replace("\\", "\\\\").replace('"', '\\"')
        body += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{escaped}"'
            "\r\nContent-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body += data + b"\r\n"
    return body + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


FORM = f"multipart/form-data; boundary={BOUNDARY}"


async def post(files: Files, body: bytes, query: str = "", content_type: str = FORM) -> Answer:
    """Send a form."""
    where = f"exec/sessions/{files.key}/files{query}"
    return await files.bare(
        "POST", where, headers={**files.headers, "Content-Type": content_type}, body=body
    )


def left_over(files: Files) -> list[str]:
    """Return what is unfinished anywhere in the folder."""
    return [path.name for path in files.folder.rglob("*") if path.name.startswith(OWN_PREFIX)]


async def until_clean(files: Files) -> None:
    """Wait until nothing unfinished is left."""
    async with asyncio.timeout(WAIT_SECONDS):
        while left_over(files):
            await asyncio.sleep(0.01)


async def test_a_form_of_many_files(files: Files, received: list[Any]) -> None:
    """Folders on the way are made, old files replaced, names taken as they are."""
    await files.put("src/main.c", b"old")
    names = ["src/main.c", "src/deep/er/lib.c", "Makefile", "ä b%20.txt", 'q"uote']

    answer = await post(files, form(*((name, name.encode() * 1000) for name in names)))

    assert answer.status == 201
    assert len(received) == 2
    assert [entry["path"] for entry in answer.json["files"]] == names
    assert [entry["size_bytes"] for entry in answer.json["files"]] == [
        len(name.encode()) * 1000 for name in names
    ]
    for name in names:
        assert (files.folder / name).read_bytes() == name.encode() * 1000
    assert left_over(files) == []


async def test_a_form_for_a_folder(files: Files) -> None:
    """``path`` is where the names begin; an empty file is a file."""
    answer = await post(files, form(("a/b.txt", b"")), "?path=in/to/")

    assert answer.status == 201
    assert (files.folder / "in/to/a/b.txt").read_bytes() == b""


@pytest.mark.parametrize("size", [1, 3, 17, 1000])
async def test_a_form_in_pieces(files: Files, connect: Any, size: int) -> None:
    """However it is cut, also within a boundary, what is between is not in the files."""
    data = os.urandom(300) + b"\r\n--frontie\r\n--" + b"\r\n" * 20
    body = form(("a", data), ("b", b"--frontier"), ("c", b""))

    async with connect() as raw:
        head = (
            f"POST /user/a%40b/exec/sessions/{files.key}/files HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
            f"Authorization: {files.headers['Authorization']}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await raw.send(head.encode())
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            await raw.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await raw.send(b"0\r\n\r\n")
        status, _ = await raw.answer()

    assert status == 201
    found = {path.name: path.read_bytes() for path in files.folder.iterdir()}
    assert found == {"a": data, "b": b"--frontier", "c": b""}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (form(("../x", b"1")), 422, "InvalidArgument"),
        (form(("/etc/x", b"1")), 422, "InvalidArgument"),
        (form(("a\\..\\x", b"1")), 422, "InvalidArgument"),
        (form(("new", b"1"), ("..", b"2")), 422, "InvalidArgument"),
        (form(("new", b"1"), ("new", b"2")), 422, "InvalidArgument"),
        (form(("new", b"1"), ("new/x", b"2")), 409, "FileConflict"),
        (form(("new/x", b"1"), ("new", b"2")), 409, "FileConflict"),
        (form(("new", b"1"), ("folder", b"2")), 409, "FileConflict"),
        (form(("new", b"1"), ("old/x", b"2")), 409, "FileConflict"),
        (form(("new", b"1"), ("link/x", b"2")), 422, "LinkRefused"),
        (form(("new", b"1"), (".hidden", b"2")), 422, "InvalidArgument"),
        (form(("new", b"1"), ("x" * 256, b"2")), 422, "InvalidArgument"),
        (form(("new", b"1"), end=False), 400, "MalformedRequest"),
        (form(("", b"1")), 400, "MalformedRequest"),
        (form(), 422, "InvalidArgument"),
        (b"", 400, "MalformedRequest"),
        (b"rubbish", 400, "MalformedRequest"),
        (form(*((f"f{number}", b"") for number in range(101))), 413, "TooLarge"),
        (f"--{BOUNDARY}\r\nX: {'y' * 10_000}".encode(), 400, "MalformedRequest"),
        (f"--{BOUNDARY}\r\n{'X: y' * 100_000}".encode(), 400, "MalformedRequest"),
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="field"\r\n\r\n1\r\n'.encode(),
            400,
            "MalformedRequest",
        ),
        (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; filename="'.encode()
            + b'\xff"\r\n\r\n1\r\n',
            400,
            "MalformedRequest",
        ),
    ],
)
async def test_a_form_that_is_refused_writes_nothing(
    files: Files, body: bytes, status: int, code: str
) -> None:
    """Also not the files of it that are good."""
    await files.put("old", b"old")
    (files.folder / "folder").mkdir()
    (files.folder / "link").symlink_to("/tmp")

    answer = await post(files, body)

    assert (answer.status, answer.json["code"]) == (status, code)
    assert sorted(os.listdir(files.folder)) == ["folder", "link", "old"]
    assert os.listdir(files.folder / "folder") == []
    assert (files.folder / "old").read_bytes() == b"old"


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=b"]
)
async def test_a_body_that_is_no_form(files: Files, content_type: str) -> None:
    """The answer names the header."""
    answer = await post(files, form(("a", b"1")), content_type=content_type)

    assert (answer.status, answer.json["target"]) == (400, "Content-Type")


async def test_a_million_fields_are_refused_at_once(files: Files) -> None:
    """Form fields are no files, and the first is one too many."""
    body = b"&".join(b"a%d=b" % number for number in range(1_000_000))

    async with asyncio.timeout(10):
        answer = await post(files, body)

    assert answer.status == 400


@pytest.mark.parametrize("exec_config", [{"max_file_bytes": MEBIBYTE}])
async def test_a_file_that_is_too_large_is_refused_while_it_comes(
    files: Files, connect: Any
) -> None:
    """Told beforehand or not: 413 is there before the body is, and the connection ends after it.

    Nothing is left of what came, and the old file is.
    """
    await files.put("a", b"old")

    async with connect() as raw:
        await raw.begin(files, "a", 3 * MEBIBYTE)
        status, body = await raw.answer()
        assert (status, json.loads(body)["code"]) == (413, "TooLarge")
        await raw.send(b"x" * 3 * MEBIBYTE)
        assert await raw.reader.read() == b""
    async with connect() as raw:
        await raw.begin(files, "b", 1)
        await raw.send(b"1")
        assert (await raw.answer())[0] == 201
    async with connect() as raw:
        head = (
            f"PUT /user/a%40b/exec/sessions/{files.key}/files/a HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {files.headers['Authorization']}\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await raw.send(head.encode())
        for _ in range(3):
            await raw.send(b"80000\r\n" + b"x" * 0x80000 + b"\r\n")
        status, _ = await raw.answer()
        assert status == 413
    assert (await post(files, form(("c", b"1"), ("d", b"x" * (MEBIBYTE + 1))))).status == 413

    await until_clean(files)
    assert sorted(os.listdir(files.folder)) == ["a", "b"]
    assert (files.folder / "a").read_bytes() == b"old"


async def test_who_waits_for_the_word_to_go_on_does_not_get_it(files: Files, connect: Any) -> None:
    """With ``Expect: 100-continue`` the refusal comes instead of it."""
    async with connect() as raw:
        await raw.begin(files, "..%2fx", 10, Expect="100-continue")
        status, body = await raw.answer()
        rest = await raw.reader.read()

    assert (status, json.loads(body)["code"]) == (422, "InvalidArgument")
    assert rest == b""
    async with connect() as raw:
        await raw.begin(files, "x", 1, Expect="100-continue")
        assert b"100" in await raw.reader.readuntil(b"\r\n\r\n")
        await raw.send(b"1")
        assert (await raw.answer())[0] == 201


@pytest.mark.parametrize("at", [0, 10, 3 * MEBIBYTE])
async def test_an_upload_that_is_cut_leaves_the_old_file_and_nothing_else(
    files: Files, connect: Any, at: int
) -> None:
    """Wherever the client went away."""
    await files.put("d/a", b"old")

    async with connect() as raw:
        await raw.begin(files, "d/a", 5 * MEBIBYTE)
        async with asyncio.timeout(WAIT_SECONDS):
            while not left_over(files):
                await asyncio.sleep(0.01)
        await raw.send(b"x" * at)
    await until_clean(files)

    assert os.listdir(files.folder / "d") == ["a"]
    assert (files.folder / "d" / "a").read_bytes() == b"old"


@pytest.mark.parametrize("exec_config", [{"transfer_timeout_seconds": 1}])
async def test_a_client_that_stands_still_is_cut_off(files: Files, connect: Any) -> None:
    """In the midst of an upload, and in the midst of a download that it does not read."""
    with (files.folder / "big").open("wb") as file:
        file.truncate(256 * MEBIBYTE)
    async with connect() as raw, connect() as other:
        await raw.begin(files, "a", 100)
        await raw.send(b"1")
        where = f"/user/a%40b/exec/sessions/{files.key}/files/big"
        await other.send(
            f"GET {where} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {files.headers['Authorization']}\r\n\r\n".encode()
        )

        async with asyncio.timeout(WAIT_SECONDS):
            assert await raw.reader.read() == b""
        await asyncio.sleep(2)
        async with asyncio.timeout(WAIT_SECONDS):
            received = 0
            while piece := await other.reader.read(MEBIBYTE):
                received += len(piece)

    assert received < 256 * MEBIBYTE
    await until_clean(files)
    assert os.listdir(files.folder) == ["big"]


@pytest.mark.parametrize("exec_config", [{"max_transfers": 4}])
async def test_as_many_transfers_as_may_be(files: Files, connect: Any, exec_app: Any) -> None:
    """One user has at most half of them. One more is refused with 429.

    A place is free again when one ends, however it does.
    """
    async with connect() as one, connect() as two:
        for raw in (one, two):
            await raw.begin(files, "a", 10)
        async with asyncio.timeout(WAIT_SECONDS):
            while len(left_over(files)) < 2:
                await asyncio.sleep(0.01)
        refused = await files.request("PUT", "b", body=b"1")
        await one.send(b"0123456789")
        assert (await one.answer())[0] == 201
    assert refused.status == 429
    assert refused.headers["Retry-After"]
    await until_clean(files)

    async with asyncio.timeout(WAIT_SECONDS):
        while (await files.request("PUT", "b", body=b"1")).status == 429:
            await asyncio.sleep(0.01)
    assert (await files.request("GET", "a")).body == b"0123456789"


async def test_many_at_once(files: Files) -> None:
    """Uploads and downloads of many files do not mix."""
    contents = {f"d{number % 5}/f{number}": os.urandom(200_000) for number in range(40)}

    async def there_and_back(path: str, data: bytes) -> bool:
        await files.put(path, data)
        return (await files.request("GET", path)).body == data

    assert all(await asyncio.gather(*(there_and_back(*item) for item in contents.items())))
    assert left_over(files) == []


class ReadOnly(Authorizer):
    """Allows all but to write files."""

    def is_authorized(self, _handler: Any, _user: Any, action: str, resource: str) -> bool:
        return (action, resource) != ("write", "exec-files")


class TestWithoutRights:
    """A user who may read files and not write them."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config: Config) -> Config:
        jp_server_config["ServerApp"]["authorizer_class"] = ReadOnly
        return jp_server_config

    async def test_rights_are_checked_before_anything_is_kept(
        self, files: Files, connect: Any, received: list[Any]
    ) -> None:
        """The refusal comes before the body, and no file was ever made for it."""
        async with connect() as raw:
            await raw.begin(files, "a", 10 * MEBIBYTE)
            status, body = await raw.answer()
        async with connect() as raw:
            await raw.begin(files, "a", 10 * MEBIBYTE, Authorization="token wrong")
            unknown, _ = await raw.answer()

        assert (status, json.loads(body)["code"]) == (403, "Forbidden")
        assert unknown == 403
        assert received == []
        assert os.listdir(files.folder) == []
        assert (await post(files, form(("a", b"1")))).status == 403


async def test_a_server_that_stops_leaves_nothing_unfinished(
    files: Files, connect: Any, exec_app: Any
) -> None:
    """Uploads that go on end with it."""
    async with connect() as raw:
        await raw.begin(files, "a", 10)
        async with asyncio.timeout(WAIT_SECONDS):
            while not left_over(files):
                await asyncio.sleep(0.01)

        await exec_app.stop_extension()

        assert left_over(files) == []


async def test_an_upload_keeps_its_session(
    exec_api: ExecApi, exec_app: Any, files: Files, connect: Any
) -> None:
    """A session that nobody uses but for an upload does not end in the midst of it."""
    answer = await exec_api.request(
        "PUT", "sessions", files.key, json={"idle_timeout_seconds": 0.5}
    )
    assert answer.status == 200
    async with connect() as raw:
        await raw.begin(files, "a", 10)
        await asyncio.sleep(3)
        assert (await exec_api.session(files.key))["state"] != "ended"
        assert exec_app.current_activity() == {"transfers": 1}
        await raw.send(b"0123456789")
        assert (await raw.answer())[0] == 201

    await exec_api.until_session(files.key, lambda shown: shown["state"] == "ended")
