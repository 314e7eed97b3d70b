"""What was tried against files: each of these once did harm."""

import asyncio
import logging
import os
import stat
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from traitlets.config import Config

from jupyter_exec_ext.core.errors import FileForbiddenError
from jupyter_exec_ext.files.local import LocalFolder
from jupyter_exec_ext.web import transfers
from tests.api.session_files import BareRequest, Files, Raw
from tests.api.test_uploads import BOUNDARY, MEBIBYTE, form, left_over, post, until_clean
from tests.conftest import WAIT_SECONDS, ExecApi

Connect = Callable[[], AbstractAsyncContextManager[Raw]]


class TestAnonymous:
    """On a server as it is by default, which lets everybody as far as the handler."""

    @pytest.fixture
    def jp_server_config(self, jp_server_config: Config) -> Config:
        jp_server_config["ServerApp"]["allow_unauthenticated_access"] = True
        return jp_server_config

    async def test_nothing_of_an_upload_is_kept(
        self, files: Files, connect: Connect, received: list[Any]
    ) -> None:
        """Nobody signed in, a cookie and header of the caller's own choice: no byte, no place."""
        forged = {"Authorization": "", "Cookie": f"_xsrf={'a' * 32}", "X_XSRFToken": "a" * 32}
        (files.folder / "folder").mkdir()
        statuses = set()
        for path in ("new", "folder", "..%2fx"):
            async with connect() as raw:
                await raw.begin(files, path, 10 * MEBIBYTE, **forged)
                statuses.add((await raw.answer())[0])

        assert statuses == {403}
        assert received == []
        assert os.listdir(files.folder) == ["folder"]


async def test_a_link_in_place_of_what_is_uploaded(
    files: Files, connect: Connect, exec_api: ExecApi
) -> None:
    """Nothing happens to what it leads to, and it is not passed off as the upload."""
    victim = exec_api.root.parent / "victim"
    victim.write_text("1")
    victim.chmod(0o600)
    (files.folder / "a").write_text("old")
    (files.folder / "a").chmod(0o777)
    async with connect() as raw:
        await raw.begin(files, "a", 10)
        async with asyncio.timeout(WAIT_SECONDS):
            while not left_over(files):
                await asyncio.sleep(0.01)
        (name,) = left_over(files)
        (files.folder / name).unlink()
        (files.folder / name).symlink_to(victim)
        await raw.send(b"0123456789")
        status, _ = await raw.answer()

    assert status == 409
    assert victim.stat().st_mode & 0o777 == 0o600
    assert victim.read_text() == "1"
    assert (files.folder / "a").read_text() == "old"


async def test_a_form_that_does_not_end_holds_little(files: Files, connect: Connect) -> None:
    """A hundred files of it take no more descriptors than one, and their memory is free again."""
    before = len(os.listdir("/proc/self/fd"))
    body = form(*((f"d{number}/f", b"x" * 1000) for number in range(100)), end=False)
    async with connect() as raw:
        head = (
            f"POST /user/a%40b/exec/sessions/{files.key}/files HTTP/1.1\r\nHost: localhost\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: 999999\r\n"
            f"Authorization: {files.headers['Authorization']}\r\n\r\n"
        )
        await raw.send(head.encode() + body)
        async with asyncio.timeout(WAIT_SECONDS):
            while len(left_over(files)) < 100:
                await asyncio.sleep(0.05)
        held = len(os.listdir("/proc/self/fd")) - before
    await until_clean(files)

    assert held < 50
    assert os.listdir(files.folder) == []


async def test_clients_that_leave_while_their_file_is_put_in_place(
    files: Files, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole or not at all, without a defect, and without anything left over."""
    data = b"x" * MEBIBYTE
    for number in range(20):
        async with connect() as raw:
            await raw.begin(files, f"f{number}", len(data))
            await raw.send(data)
            await asyncio.sleep(0.001 * number)
    for number in range(10):
        async with connect() as raw:
            await raw.begin(files, "..%2f", 3 * len(data))
            await raw.send(data)
            await asyncio.sleep(0.001 * number)
    await until_clean(files)

    assert {path.stat().st_size for path in files.folder.iterdir()} <= {len(data)}
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("name", [b"nu\xff", b".hidden", b"back\\slash"])
async def test_a_kernel_in_a_folder_that_no_request_can_name(
    exec_api: ExecApi, jp_serverapp: Any, name: bytes
) -> None:
    """Its session has no files; everything else works."""
    folder = exec_api.root / os.fsdecode(name) / "x"
    folder.mkdir(parents=True)
    (folder / "secret").write_text("1")
    manager = jp_serverapp.kernel_manager
    kernel_id = await manager.start_kernel(kernel_name="python3", path="")
    first = await exec_api.new_session(kernel_id=kernel_id)
    code = f"import os; os.chdir({os.fsencode(folder)!r})"
    await exec_api.run_code(code, session_id=first["id"])
    await exec_api.request("DELETE", "sessions", first["id"])

    session = await exec_api.new_session(kernel_id=kernel_id)
    listed = await exec_api.request("GET", "sessions")
    got = await exec_api.request("GET", "sessions", session["id"], "files")

    assert "path" not in session
    assert [shown["id"] for shown in listed.json["sessions"]] == [session["id"]]
    assert (got.status, got.json["code"]) == (404, "FolderNotFound")


async def test_a_path_in_the_query_is_taken_digit_for_digit(files: Files) -> None:
    """Control characters and blanks name what they name, and NUL nothing."""
    for name in ("c d", "c\x01d", " c "):
        (files.folder / name).mkdir()
        (files.folder / name / f"in {name!r}").write_text("")

    async def listed(query: str) -> Any:
        where = f"exec/sessions/{files.key}/files?path={query}"
        return await files.bare("GET", where, headers=files.headers)

    nul = await listed("c%00d")
    archive = await files.bare(
        "GET", f"exec/sessions/{files.key}/archive?path=c%00d", headers=files.headers
    )
    formed = await post(files, form(("a", b"1")), "?path=c%00d")
    broken = await listed("%ff")

    assert (nul.status, archive.status, formed.status, broken.status) == (422, 422, 422, 400)
    for query, name in (("c%01d", "c\x01d"), ("%20c%20", " c "), ("c%20d", "c d")):
        shown = (await listed(query)).json["files"]
        assert [entry["name"] for entry in shown] == [f"in {name!r}"]
    assert len(os.listdir(files.folder)) == 3


@pytest.mark.parametrize("exec_config", [{"transfer_timeout_seconds": 1}])
async def test_a_slow_client_that_goes_on_gets_all(files: Files, connect: Connect) -> None:
    """What counts is whether it stands still."""
    size = 8 * MEBIBYTE
    with (files.folder / "big").open("wb") as file:
        file.truncate(size)
    async with connect() as raw:
        await raw.send(
            f"GET /user/a%40b/exec/sessions/{files.key}/files/big HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: {files.headers['Authorization']}\r\n\r\n".encode()
        )
        head = await raw.reader.readuntil(b"\r\n\r\n")
        received = 0
        async with asyncio.timeout(WAIT_SECONDS):
            while received < size and (piece := await raw.reader.read(200_000)):
                received += len(piece)
                await asyncio.sleep(0.08)

    assert b" 200 " in head
    assert received == size


async def test_who_is_refused_and_stands_still_is_cut_off(
    files: Files, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of what is refused is not waited for without end."""
    monkeypatch.setattr(transfers, "LINGER_SECONDS", 0.5)
    async with connect() as raw:
        await raw.begin(files, "..%2fx", 100)
        await raw.send(b"123")
        assert (await raw.answer())[0] == 422

        async with asyncio.timeout(WAIT_SECONDS):
            assert await raw.reader.read() == b""


async def test_an_archive_leaves_out_what_cannot_be_read(
    files: Files, exec_api: ExecApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has all the rest."""
    for name in ("a", "b", "c"):
        await files.put(name, name.encode() * 1000)
    real = LocalFolder.open

    async def open_but_b(folder: LocalFolder, parts: Any) -> Any:
        if parts == ("b",):
            raise FileForbiddenError
        return await real(folder, parts)

    monkeypatch.setattr(LocalFolder, "open", open_but_b)

    answer = await exec_api.request("GET", "sessions", files.key, "archive")

    assert answer.status == 200
    assert b"a" * 1000 in answer.body
    assert b"b" * 1000 not in answer.body
    assert b"c" * 1000 in answer.body


async def test_a_socket_is_no_file(files: Files) -> None:
    """Nor is it a failure of the file system."""
    os.mknod(files.folder / "s", stat.S_IFSOCK | 0o600)

    answer = await files.request("GET", "s")

    assert (answer.status, answer.json["code"]) == (409, "FileConflict")


async def test_a_tag_changes_also_when_somebody_sets_the_time_back(files: Files) -> None:
    """Content of the same size, written in place."""
    tag = (await files.put("a", b"aaa"))["etag"]
    before = (files.folder / "a").stat()
    with (files.folder / "a").open("r+b") as file:
        file.write(b"bbb")
    os.utime(files.folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))

    answer = await files.request("GET", "a", headers={"If-None-Match": tag})

    assert (answer.status, answer.body) == (200, b"bbb")


async def test_an_upload_that_is_refused_makes_no_folders(files: Files) -> None:
    """A condition is looked at before."""
    answer = await files.request("PUT", "new/deep/er", body=b"1", headers={"If-Match": '"a"'})

    assert answer.status == 412
    assert os.listdir(files.folder) == []


async def test_another_site_gets_no_files_by_the_users_cookie(
    files: Files, bare_request: BareRequest
) -> None:
    """As Jupyter's own files."""
    await files.put("a", b"1")
    token = files.headers["Authorization"].split()[1]
    login = await bare_request("GET", f"exec/executions?token={token}")
    cookie = "; ".join(item.split(";")[0] for item in login.headers.get_list("Set-Cookie"))
    base = f"exec/sessions/{files.key}"

    async def status(where: str, referer: str | None) -> int:
        headers = {"Cookie": cookie, **({"Referer": referer} if referer else {})}
        return (await bare_request("GET", where, headers=headers)).status

    for where in (f"{base}/files/a", f"{base}/files", f"{base}/archive"):
        assert await status(where, "http://evil.example/x") == 403
        assert await status(where, None) == 403


async def test_a_session_leaves_the_folder_to_another_that_works_in_it(
    files: Files, exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """The one that was made for the first, and is the second's too."""
    await files.put("d/a", b"1")
    path = (await exec_api.session(files.key))["path"]
    other = await exec_api.new_session(kernel_name=echo_kernel_name, path=f"{path}/d")

    assert (await exec_api.request("DELETE", "sessions", files.key)).status == 204
    got = await exec_api.request("GET", "sessions", other["id"], "files", "a")

    assert got.body == b"1"


@pytest.mark.parametrize("name", ["C:\\x\\y", "\\\\server\\y", "a\\y"])
async def test_a_form_with_paths_of_windows(files: Files, name: str) -> None:
    """They are refused, not shortened to what looks harmless."""
    answer = await post(files, form((name, b"1")))

    assert (answer.status, answer.json["target"]) == (422, "filename")
    assert os.listdir(files.folder) == []


@pytest.mark.parametrize(
    ("name", "value"), [("Content-Range", "bytes 0-4/10"), ("Content-Encoding", "gzip")]
)
async def test_a_part_or_something_packed_is_no_file(files: Files, name: str, value: str) -> None:
    """What would not be the file itself is refused."""
    await files.put("a", b"0123456789")

    answer = await files.request("PUT", "a", body=b"01234", headers={name: value})

    assert (answer.status, answer.json["target"]) == (400, name)
    assert (files.folder / "a").read_bytes() == b"0123456789"


async def test_what_waits_for_its_turn(
    files: Files, monkeypatch: pytest.MonkeyPatch, exec_api: ExecApi
) -> None:
    """Of many lists at once a few are made at a time, and all are answered."""
    at_once = peak = 0
    real: Callable[..., Awaitable[Any]] = LocalFolder.list

    async def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal at_once, peak
        at_once += 1
        peak = max(peak, at_once)
        try:
            return await real(*arguments, **options)
        finally:
            at_once -= 1

    monkeypatch.setattr(LocalFolder, "list", counted)

    await asyncio.gather(*(files.list() for _ in range(30)))

    assert 1 <= peak <= 4
