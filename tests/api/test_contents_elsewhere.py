"""Files of sessions where the contents are not on the server's disk."""

import base64
import os
from datetime import UTC, datetime
from typing import Any

import pytest
from jupyter_server.services.contents.checkpoints import AsyncCheckpoints
from jupyter_server.services.contents.manager import AsyncContentsManager
from tornado.web import HTTPError
from traitlets.config import Config

from tests.api.session_files import Files
from tests.api.test_uploads import form, post
from tests.conftest import ExecApi


class NoCheckpoints(AsyncCheckpoints):
    """Keeps none."""

    async def list_checkpoints(self, path: str) -> list[Any]:
        return []

    async def delete_all_checkpoints(self, path: str) -> None:
        return None


class MemoryContents(AsyncContentsManager):  # type: ignore[misc, unused-ignore]
    """Keeps everything in memory: directories as ``None``, files as bytes."""

    checkpoints_class = NoCheckpoints

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kept: dict[str, bytes | None] = {"": None}

    async def dir_exists(self, path: str) -> bool:
        return path.strip("/") in self.kept and self.kept[path.strip("/")] is None

    async def file_exists(self, path: str = "") -> bool:
        return self.kept.get(path.strip("/")) is not None

    async def is_hidden(self, path: str) -> bool:
        return any(part.startswith(".") for part in path.split("/"))

    async def get(
        self,
        path: str,
        content: bool = True,
        type: str | None = None,  # noqa: A002 - Jupyter's name
        format: str | None = None,  # noqa: A002
        require_hash: bool = False,
    ) -> dict[str, Any]:
        path = path.strip("/")
        if path not in self.kept:
            raise HTTPError(404, "nothing there")
        data = self.kept[path]
        if type not in (None, "directory" if data is None else "file"):
            raise HTTPError(400, "something else")
        model: dict[str, Any] = {
            "name": path.rpartition("/")[2],
            "path": path,
            "type": "directory" if data is None else "file",
            "last_modified": datetime(2026, 1, 1, tzinfo=UTC),
            "size": None if data is None else len(data),
            "content": None,
        }
        if content and data is None:
            inside = f"{path}/" if path else ""
            names = [
                other
                for other in self.kept
                if other != path and other.startswith(inside) and "/" not in other[len(inside) :]
            ]
            model["content"] = [await self.get(name, content=False) for name in names]
        elif content and data is not None:
            assert format == "base64"
            model["content"] = base64.b64encode(data).decode()
        return model

    async def save(self, model: dict[str, Any], path: str = "") -> dict[str, Any]:
        path = path.strip("/")
        if not await self.dir_exists(path.rpartition("/")[0]):
            raise HTTPError(404, "no such folder")
        if model["type"] == "directory":
            self.kept[path] = None
        else:
            self.kept[path] = base64.b64decode(model["content"])
        return await self.get(path, content=False)

    async def delete_file(self, path: str) -> None:
        path = path.strip("/")
        if path not in self.kept:
            raise HTTPError(404, "nothing there")
        if any(other.startswith(f"{path}/") for other in self.kept):
            raise HTTPError(400, "not empty")
        del self.kept[path]

    async def delete(self, path: str) -> None:
        await self.delete_file(path)


@pytest.fixture
def jp_server_config(jp_server_config: Config) -> Config:
    jp_server_config["ServerApp"]["contents_manager_class"] = MemoryContents
    return jp_server_config


@pytest.fixture
def exec_config() -> dict[str, Any]:
    return {"max_remote_file_bytes": 1_000_000}


@pytest.fixture
def kept(jp_serverapp: Any) -> dict[str, bytes | None]:
    """What the contents manager has."""
    kept: dict[str, bytes | None] = jp_serverapp.contents_manager.kept
    return kept


async def test_files_go_where_the_contents_are(
    files: Files, exec_api: ExecApi, kept: dict[str, bytes | None]
) -> None:
    """Uploaded, listed, read in parts, replaced, put into an archive, removed."""
    session = await exec_api.session(files.key)
    data = os.urandom(1000)

    created = await files.request("PUT", "d/e/a.bin", body=data)
    replaced = await files.request(
        "PUT", "d/e/a.bin", body=data * 2, headers={"If-Match": created.json["etag"]}
    )
    stale = await files.request(
        "PUT", "d/e/a.bin", body=b"3", headers={"If-Match": created.json["etag"]}
    )
    formed = await post(files, form(("b.txt", b"two"), ("d/c.txt", b"three")))
    part = await files.request("GET", "d/e/a.bin", headers={"Range": "bytes=995-1004"})
    same = await files.request("GET", "d/e/a.bin", headers={"If-None-Match": replaced.json["etag"]})
    flat, deep = await files.list(), await files.list(recursive="true")
    pages, token = [], None
    while True:
        params = {"recursive": "true", "page_size": 2, **({"page_token": token} if token else {})}
        answer = await exec_api.request("GET", "sessions", files.key, "files", params=params)
        pages += answer.json["files"]
        token = answer.json.get("next_page_token")
        if token is None:
            break
    archive = await exec_api.request("GET", "sessions", files.key, "archive")
    full = await files.request("DELETE", "d")
    removed = await files.raw("DELETE", "d?recursive=true")

    assert session["works_in_folder"] is False
    assert (created.status, replaced.status, stale.status) == (201, 200, 412)
    assert formed.status == 201
    assert (part.status, part.body) == (206, (data * 2)[995:1005])
    assert same.status == 304
    assert [(entry["path"], entry["type"]) for entry in flat] == [
        ("b.txt", "file"),
        ("d", "directory"),
    ]
    assert [entry["path"] for entry in deep] == ["b.txt", "d", "d/c.txt", "d/e", "d/e/a.bin"]
    assert pages == deep
    assert data * 2 in archive.body
    assert (full.status, removed.status) == (409, 204)
    assert kept[f"{session['path']}/b.txt"] == b"two"
    assert not any(path.startswith(f"{session['path']}/d") for path in kept)


async def test_what_is_refused(files: Files, kept: dict[str, bytes | None]) -> None:
    """The same as on a disk, and what is larger than is held in memory."""
    await files.put("f")
    await files.put("d/x")
    before = dict(kept)

    large = await files.request("PUT", "a", body=b"x" * 1_000_001)
    for method, path, status in (
        ("GET", "no", 404),
        ("GET", "d", 409),
        ("PUT", "d", 409),
        ("PUT", "f/x", 409),
        ("PUT", "../x", 422),
        ("PUT", ".hidden", 422),
        ("GET", ".hidden", 422),
        ("DELETE", "no", 404),
    ):
        answer = await files.request(method, path, body=b"1" if method == "PUT" else None)
        assert answer.status == status, (method, path, answer.body)

    assert (large.status, large.json["code"]) == (413, "TooLarge")
    assert kept == before


async def test_a_file_that_somebody_else_made_too_large(
    files: Files, exec_api: ExecApi, kept: dict[str, bytes | None]
) -> None:
    """It is refused before it is read."""
    path = (await exec_api.session(files.key))["path"]
    kept[f"{path}/large"] = b"x" * 1_000_001

    answer = await files.request("GET", "large")

    assert (answer.status, answer.json["code"]) == (413, "TooLarge")


async def test_the_folder_goes_with_its_session(
    files: Files, exec_api: ExecApi, kept: dict[str, bytes | None]
) -> None:
    """With all that is in it."""
    await files.put("d/e/a")

    answer = await exec_api.request("DELETE", "sessions", files.key)

    assert answer.status == 204
    assert sorted(kept) == ["", "exec-sessions"]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (HTTPError(403), 403),
        (HTTPError(404), 404),
        (HTTPError(409), 409),
        (HTTPError(413), 413),
        (HTTPError(418), 422),
        (HTTPError(500, "secret"), 503),
        (OSError("secret"), 503),
    ],
)
async def test_what_the_contents_manager_says_is_passed_on(
    files: Files, jp_serverapp: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """As an error of ours, without its words."""

    async def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(jp_serverapp.contents_manager, "get", fail)

    answer = await files.request("GET", "a")

    assert answer.status == status
    assert b"secret" not in answer.body
