"""The folders of sessions: who has one, where it is, and what becomes of it."""

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.core.errors import StoreFullError
from tests.api.session_files import Files
from tests.conftest import Answer, ExecApi

CWD = "import os; os.getcwd()"


def folders_of(api: ExecApi) -> list[str]:
    """Return the names of all folders of sessions, whatever is hidden included."""
    folder = api.root / "exec-sessions"
    return sorted(os.listdir(folder)) if folder.is_dir() else []


async def end(api: ExecApi, session: dict[str, Any], how: str) -> None:
    """End a session."""
    if how == "delete":
        answer = await api.request("DELETE", "sessions", session["id"])
        assert answer.status == 204
        return
    answer = await api.request("PUT", "sessions", session["id"], json={"idle_timeout_seconds": 0.1})
    assert answer.status == 200
    await api.until_session(session["id"], lambda shown: shown["state"] == "ended")


@pytest.mark.parametrize(
    ("fields", "how", "stays"),
    [
        ({}, "delete", False),
        ({}, "idle", True),
        ({"keep_files": True}, "delete", True),
        ({"keep_files": True}, "idle", True),
        ({"keep_files": False}, "delete", False),
        ({"keep_files": False}, "idle", False),
    ],
)
async def test_what_becomes_of_the_folder(
    exec_api: ExecApi, echo_kernel_name: str, fields: dict[str, Any], how: str, stays: bool
) -> None:
    """Deleted with its session for good, kept when that was only idle, or as the request said."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name, **fields)
    folder = exec_api.root / session["path"]
    (folder / "d").mkdir()
    (folder / "d" / "a").write_text("1")

    await end(exec_api, session, how)

    assert session["has_own_folder"]
    assert session.get("keep_files") == fields.get("keep_files")
    assert folder.exists() == stays
    assert folders_of(exec_api) == ([folder.name] if stays else [])


@pytest.mark.parametrize(
    "exec_config", [{"keep_files_when_deleted": True, "keep_files_when_ended": False}]
)
async def test_the_operator_decides_what_is_not_said(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """Both defaults can be turned round."""
    for how, stays in (("delete", True), ("idle", False)):
        session = await exec_api.new_session(kernel_name=echo_kernel_name)
        await end(exec_api, session, how)
        assert (exec_api.root / session["path"]).exists() == stays


async def test_to_keep_files_can_be_decided_later(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """``PUT`` changes it."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)

    changed = await exec_api.request("PUT", "sessions", session["id"], json={"keep_files": True})
    await end(exec_api, session, "delete")

    assert changed.json["keep_files"] is True
    assert (exec_api.root / session["path"]).is_dir()


async def test_files_of_a_session_that_ended(files: Files, exec_api: ExecApi) -> None:
    """They can be read and not changed, until the session is deleted, which takes them along."""
    await files.put("a", b"1")
    await end(exec_api, {"id": files.key}, "idle")

    got = await files.request("GET", "a")
    listed = await files.list()
    put = await files.request("PUT", "a", body=b"2")
    removed = await files.request("DELETE", "a")
    deleted = await exec_api.request("DELETE", "sessions", files.key)

    assert (got.status, got.body) == (200, b"1")
    assert [entry["path"] for entry in listed] == ["a"]
    assert (put.status, put.json["code"]) == (409, "SessionEnded")
    assert removed.status == 409
    assert deleted.status == 204
    assert not files.folder.exists()
    assert (await files.request("GET", "a")).json["code"] == "SessionNotFound"


async def test_a_folder_that_was_there_is_never_removed(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """It is somebody's, whatever the request says."""
    (exec_api.root / "mine").mkdir()
    (exec_api.root / "mine" / "a").write_text("1")

    for path in ("mine", ""):
        session = await exec_api.new_session(
            kernel_name=echo_kernel_name, path=path, keep_files=False
        )
        assert session["has_own_folder"] is False
        listed = await exec_api.request("GET", "sessions", session["id"], "files")
        assert [entry["name"] for entry in listed.json["files"]] == ["a" if path else "mine"]
        await end(exec_api, session, "delete")

    assert (exec_api.root / "mine" / "a").read_text() == "1"


async def test_a_new_session_never_has_the_folder_of_an_old_one(
    exec_api: ExecApi, echo_kernel_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not under the same name, and not when chance would have it."""
    chosen = iter(["00000000", "00000000", "11111111"])
    monkeypatch.setattr(
        "secrets.token_hex", lambda size: next(chosen) if size == 4 else "0" * 2 * size
    )
    first = await exec_api.new_session(kernel_name=echo_kernel_name, name="same", keep_files=True)
    await end(exec_api, first, "delete")

    second = await exec_api.new_session(kernel_name=echo_kernel_name, name="same")

    assert first["path"] == "exec-sessions/same-00000000"
    assert second["path"] == "exec-sessions/same-11111111"


@pytest.mark.parametrize("exec_config", [{"sessions_folder": "work/of agents/"}])
async def test_the_folder_of_folders_is_configured(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """It is made with the first."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name, name="a")

    assert session["path"].startswith("work/of agents/a-")
    assert (exec_api.root / session["path"]).is_dir()


async def test_who_has_a_folder(exec_api: ExecApi) -> None:
    """Any session that lasts; not a run with a session of its own, which works at the root."""
    named = await exec_api.run_code(CWD, session_name="named")
    one_off = await exec_api.run_code(CWD)

    (name,) = folders_of(exec_api)
    assert named["result"]["value"] == str(exec_api.root / "exec-sessions" / name)
    assert one_off["result"]["value"] == str(exec_api.root)


async def test_a_session_that_cannot_be_stored_leaves_no_folder(
    exec_api: ExecApi, exec_app: Any, echo_kernel_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused leaves nothing."""

    async def insert(session: Any) -> None:
        raise StoreFullError("no room")

    monkeypatch.setattr(exec_app.store.sessions, "insert", insert)

    answer = await exec_api.request("POST", "sessions", json={"kernel_name": echo_kernel_name})

    assert answer.status == 507
    assert folders_of(exec_api) == []


async def test_no_folder_can_be_made(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """The answer says what helps; nothing goes through a link that stands in its place."""
    outside = exec_api.root.parent / "outside"
    outside.mkdir()
    (exec_api.root / "exec-sessions").symlink_to(outside)

    refused = await exec_api.request("POST", "sessions", json={"kernel_name": echo_kernel_name})
    elsewhere = await exec_api.new_session(kernel_name=echo_kernel_name, path="")

    assert (refused.status, refused.json["code"]) == (503, "Unavailable")
    assert "'path'" in refused.json["message"]
    assert os.listdir(outside) == []
    assert elsewhere["path"] == ""


@pytest.mark.parametrize("what", ["gone", "link", "file"])
async def test_a_folder_that_is_not_there_any_more(
    files: Files, exec_api: ExecApi, what: str
) -> None:
    """Its files are not found, nothing else is touched, and the session can be deleted."""
    outside = exec_api.root.parent / "outside"
    outside.mkdir()
    (outside / "a").write_text("1")
    shutil.rmtree(files.folder)
    if what == "link":
        files.folder.symlink_to(outside)
    elif what == "file":
        files.folder.write_text("")

    for method in ("GET", "PUT", "DELETE"):
        answer = await files.request(method, "a", body=b"2" if method == "PUT" else None)
        assert (answer.status, answer.json["code"]) == {
            "gone": (404, "FolderNotFound"),
            "link": (422, "LinkRefused"),
            "file": (409, "FileConflict"),
        }[what]
    deleted = await exec_api.request("DELETE", "sessions", files.key)

    assert deleted.status == 204
    assert (outside / "a").read_text() == "1"
    assert folders_of(exec_api) == []


async def test_code_reads_what_was_uploaded_and_leaves_what_is_downloaded(
    exec_api: ExecApi,
) -> None:
    """The kernel works in the folder, also after a restart."""
    session = await exec_api.new_session(name="round trip")
    where = ("sessions", session["id"], "files")
    put = await exec_api.request("PUT", *where, "in", "data.csv", body=b"1\n2\n3\n")
    code = "n = sum(map(int, open('in/data.csv'))); open('out.txt', 'w').write(str(n)); n"

    first = await exec_api.run_code(code, session_id=session["id"])
    got = await exec_api.request("GET", *where, "out.txt")
    await exec_api.request("POST", "sessions", session["id"], "restart")
    again = await exec_api.run_code(CWD, session_id=session["id"])

    assert put.status == 201
    assert first["result"]["value"] == 6
    assert got.body == b"6"
    assert again["result"]["value"] == str(exec_api.root / session["path"])
    assert session["works_in_folder"] is True


class TestAttached:
    """Sessions on kernels that are somebody else's."""

    async def attach(self, api: ExecApi, manager: Any, path: str) -> dict[str, Any]:
        """Return a session on a new kernel that works at *path*."""
        kernel_id = await manager.start_kernel(kernel_name="python3", path=path)
        return await api.new_session(kernel_id=kernel_id)

    async def test_its_folder_is_where_the_kernel_works(
        self, exec_api: ExecApi, jp_serverapp: Any
    ) -> None:
        """It stays when the session ends."""
        (exec_api.root / "sub").mkdir()
        session = await self.attach(exec_api, jp_serverapp.kernel_manager, "sub")

        put = await exec_api.request("PUT", "sessions", session["id"], "files", "a", body=b"1")
        read = await exec_api.run_code("open('a').read()", session_id=session["id"])
        await end(exec_api, session, "delete")

        assert (session["path"], session["has_own_folder"]) == ("sub", False)
        assert put.status == 201
        assert read["result"]["value"] == "1"
        assert (exec_api.root / "sub" / "a").read_text() == "1"
        assert folders_of(exec_api) == []

    async def test_nothing_outside_the_root_is_reached(
        self, exec_api: ExecApi, jp_serverapp: Any
    ) -> None:
        """Not even a folder beside it whose name begins the same."""
        outside = Path(f"{exec_api.root}-neighbour")
        outside.mkdir()
        (outside / "secret").write_text("1")
        manager = jp_serverapp.kernel_manager
        kernel_id = await manager.start_kernel(kernel_name="python3", path="")
        first = await exec_api.new_session(kernel_id=kernel_id)
        await exec_api.run_code(f"import os; os.chdir({str(outside)!r})", session_id=first["id"])
        await end(exec_api, first, "delete")

        session = await exec_api.new_session(kernel_id=kernel_id)

        assert "path" not in session
        assert session["works_in_folder"] is False
        for method, where in (("GET", "files"), ("GET", "archive"), ("PUT", "files/secret")):
            answer = await exec_api.request(
                method, "sessions", session["id"], *where.split("/"), body=None
            )
            assert (answer.status, answer.json["code"]) == (404, "FolderNotFound")
        assert (outside / "secret").read_text() == "1"


async def test_a_server_that_stops_takes_along_what_is_not_kept(
    exec_api: ExecApi, exec_app: Any, echo_kernel_name: str
) -> None:
    """And nothing else."""
    kept = await exec_api.new_session(kernel_name=echo_kernel_name)
    gone = await exec_api.new_session(kernel_name=echo_kernel_name, keep_files=False)

    await exec_app.stop_extension()

    assert folders_of(exec_api) == [Path(kept["path"]).name]
    assert not (exec_api.root / gone["path"]).exists()


async def test_deleting_at_once_and_again(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """One of many deletes ends the session, none fails, and the folder is gone."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    (exec_api.root / session["path"] / "a").write_text("1")

    answers = await asyncio.gather(
        *(exec_api.request("DELETE", "sessions", session["id"]) for _ in range(5))
    )

    assert {answer.status for answer in answers} <= {204, 404}
    assert 204 in {answer.status for answer in answers}
    assert folders_of(exec_api) == []


async def lose(api: ExecApi, session: dict[str, Any], how: str) -> Answer:
    """Let a session lose its kernel."""
    if how == "restart":
        return await api.request("POST", "sessions", session["id"], "restart")
    died = await api.run_code("import os; os._exit(1)", session_id=session["id"])
    assert died["error"]["code"] == "KernelDied"
    return await api.request("GET", "sessions", session["id"])


@pytest.mark.parametrize("how", ["restart", "death", "fresh_kernel"])
async def test_a_folder_that_was_deleted_is_made_again(exec_api: ExecApi, how: str) -> None:
    """A kernel that starts afterwards works in the session's own folder, and nowhere else."""
    session = await exec_api.new_session(name="mine")
    await exec_api.run_code("1", session_id=session["id"])
    shutil.rmtree(exec_api.root / "exec-sessions")

    answer = None if how == "fresh_kernel" else await lose(exec_api, session, how)
    ran = await exec_api.run_code(CWD, session_id=session["id"], fresh_kernel=how == "fresh_kernel")
    put = await exec_api.request("PUT", "sessions", session["id"], "files", "a", body=b"1")

    assert answer is None or answer.status == 200
    assert ran["result"]["value"] == str(exec_api.root / session["path"])
    assert put.status == 201


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("gone", "restart"),
        ("gone", "death"),
        ("link", "restart"),
        ("file", "death"),
        ("replaced", "restart"),
        ("replaced", "death"),
    ],
)
async def test_no_kernel_starts_in_another_folder(exec_api: ExecApi, what: str, how: str) -> None:
    """A folder of the user's is not made again; a link or a file in its place is refused."""
    (exec_api.root / "mine").mkdir()
    (exec_api.root / "outside").mkdir()
    session = await exec_api.new_session(
        **({"path": "mine"} if what in ("gone", "replaced") else {})
    )
    folder = exec_api.root / session["path"]
    await exec_api.run_code("x = 1", session_id=session["id"])
    folder.rmdir()
    if what == "file":
        folder.write_text("")
    elif what in ("link", "replaced"):
        folder.symlink_to(exec_api.root / "outside")

    answer = await lose(exec_api, session, how)
    fresh = await exec_api.run_code(CWD, session_id=session["id"], fresh_kernel=True)
    ran = await exec_api.run_code("x", session_id=session["id"])
    folder.unlink(missing_ok=True)
    folder.mkdir()
    if how == "restart":
        await lose(exec_api, session, how)
    after = await exec_api.run_code(CWD, session_id=session["id"])

    refused = [fresh] if how == "restart" else [fresh, ran]
    assert [(one["error"]["code"], one["started"]) for one in refused] == [
        ("FolderNotFound", False)
    ] * len(refused)
    if how == "restart":
        assert (answer.status, answer.json["code"]) == (404, "FolderNotFound")
        assert ran["result"]["value"] == 1, "a refused restart leaves the kernel as it is"
    assert after["result"]["value"] == str(folder)
    assert after["kernel_lost"]["code"] == ("KernelDied" if how == "death" else "KernelRestarted")


@pytest.mark.parametrize("exec_config", [{"max_running": 1}])
async def test_the_folder_of_a_notebook_that_waits_is_deleted(exec_api: ExecApi) -> None:
    """Its kernel does not start in the folder above."""
    exec_api.write_notebook("sub/nb.ipynb", CWD)
    held = await exec_api.start_code("import time; time.sleep(60)")
    waiting = await exec_api.start("sub/nb.ipynb")
    shutil.rmtree(exec_api.root / "sub")

    await exec_api.request("POST", "executions", held["id"], "cancel")
    ended = await exec_api.final(waiting)

    assert (ended["state"], ended["error"]["code"]) == ("failed", "FolderNotFound")
    assert ended["started"] is False


class TestOfNotebooks:
    """Sessions that are created to run a notebook."""

    async def test_it_works_in_the_notebook_s_folder(self, exec_api: ExecApi) -> None:
        """As without a session; whoever runs in it later works there too, and the folder stays."""
        (exec_api.root / "sub").mkdir()
        (exec_api.root / "sub" / "helper.py").write_text("n = 6")
        exec_api.write_notebook("sub/a.ipynb", "import helper; helper.n")
        exec_api.write_notebook("b.ipynb", CWD)

        first = await exec_api.run("sub/a.ipynb", session_name="mine")
        session = await exec_api.session(first["session_id"])
        second = await exec_api.run("b.ipynb", session_name="mine")
        fresh = await exec_api.run_code(CWD, session_name="mine", fresh_kernel=True)
        where = ("sessions", session["id"], "files")
        put = await exec_api.request("PUT", *where, "data.csv", body=b"1")
        await exec_api.request("PUT", "sessions", session["id"], json={"keep_files": False})
        await end(exec_api, session, "delete")

        assert first["result"]["value"] == 6
        assert first["session_created"] is True
        assert (session["path"], session["has_own_folder"]) == ("sub", False)
        folder = exec_api.root / "sub"
        assert [second["result"]["value"], fresh["result"]["value"]] == [str(folder)] * 2
        assert put.status == 201
        assert sorted(os.listdir(folder)) == ["a.ipynb", "data.csv", "helper.py"]
        assert folders_of(exec_api) == []

    async def test_it_has_the_notebook_s_kernel(
        self, exec_api: ExecApi, echo_kernel_name: str
    ) -> None:
        """Unless the request names one; a later notebook runs in the one that the session has."""
        spec = {"name": echo_kernel_name, "display_name": "Echo"}
        exec_api.write_notebook("echo.ipynb", "1", kernelspec=spec)

        ran = await exec_api.run("echo.ipynb", session_name="echo")

        assert (ran["state"], ran["kernel_name"]) == ("succeeded", echo_kernel_name)
        assert (await exec_api.session(ran["session_id"]))["path"] == ""

    async def test_the_request_decides(self, exec_api: ExecApi, echo_kernel_name: str) -> None:
        """``session_path`` names another folder, for code and commands too."""
        (exec_api.root / "other").mkdir()
        exec_api.write_notebook("sub/nb.ipynb", "1")
        fields = {"session_path": "other/", "kernel_name": echo_kernel_name}

        ran = await exec_api.run("sub/nb.ipynb", session_name="a", **fields)
        await exec_api.run_code("1", session_name="b", **fields)
        again = await exec_api.run_code("1", session_name="a", **fields)
        own = await exec_api.new_session(name="own", kernel_name=echo_kernel_name)
        await exec_api.run("sub/nb.ipynb", session_name="own")

        answer = await exec_api.request("GET", "sessions")
        paths = {session["name"]: session["path"] for session in answer.json["sessions"]}
        assert paths == {"a": "other", "b": "other", "own": own["path"]}
        assert again["session_id"] == ran["session_id"]

    @pytest.mark.parametrize(
        ("fields", "status", "target"),
        [
            ({"code": "1", "session_path": "other"}, 422, "session_path"),
            ({"code": "1", "session_name": "a", "session_path": "gone"}, 422, "session_path"),
            ({"code": "1", "session_name": "taken", "session_path": ""}, 409, "session_path"),
            ({"notebook": {"path": "gone.ipynb"}, "session_name": "a"}, 404, "notebook.path"),
            ({"notebook": {"path": "bad.ipynb"}, "session_name": "a"}, 422, "notebook.path"),
            ({"notebook": {"path": "other.ipynb"}, "session_name": "a"}, 422, "notebook.path"),
        ],
    )
    async def test_a_request_that_is_refused_leaves_no_session(
        self,
        exec_api: ExecApi,
        echo_kernel_name: str,
        fields: dict[str, Any],
        status: int,
        target: str,
    ) -> None:
        """The answer names the field."""
        (exec_api.root / "bad.ipynb").write_text("{")
        spec = {"name": "no-such-kernel", "display_name": ""}
        exec_api.write_notebook("other.ipynb", "1", kernelspec=spec)
        await exec_api.new_session(name="taken", kernel_name=echo_kernel_name)

        answer = await exec_api.request("POST", "executions", json=fields)
        sessions = await exec_api.request("GET", "sessions")

        assert (answer.status, answer.json["target"]) == (status, target)
        assert [session["name"] for session in sessions.json["sessions"]] == ["taken"]
