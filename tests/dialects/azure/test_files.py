"""The files of a session: their names, however they are written, and long lists of them."""

import pytest

from tests.conftest import ExecApi
from tests.dialects.azure.conftest import FORM, OLD, Pool

KIND = {"Content-Type": "multipart/form-data; boundary=B"}


async def _names(pool: Pool) -> list[str]:
    listed = await pool.call("GET", "files", version=OLD)
    return [item["properties"]["filename"] for item in listed.json["value"]]


@pytest.mark.parametrize("name", ["a%20b", "50%25.txt", " a "])
async def test_a_name_stays_as_it_is(name: str, pool: Pool) -> None:
    """No client of the newer shape escapes it."""
    uploaded = await pool.upload(name)

    assert uploaded.json["name"] == name
    assert await _names(pool) == [name]


async def test_a_name_in_the_older_shape_can_be_escaped(pool: Pool) -> None:
    """As a client does that knows only such forms."""
    body = FORM.format("a%20b", "x").encode()

    await pool.call("POST", "files/upload", version=OLD, headers=KIND, body=body)

    assert await _names(pool) == ["a b"]


async def test_a_path_that_code_prints_can_be_used(pool: Pool) -> None:
    """By each call, and answered as the relative one is."""
    shown = await pool.run(
        "path = '/mnt/data/in/report.csv'; import os; os.mkdir('/mnt/data/in')\n"
        "open(path, 'w').write('1,2'); print(path, end='')"
    )
    path = shown["result"]["stdout"]
    folder = path.rpartition("/")[0]

    relative = await pool.call("GET", "files/in/report.csv")
    stat = await pool.call("GET", f"files/{path}")
    old = await pool.call("GET", f"files/content/{path}", version=OLD)
    new = await pool.call("GET", f"files/{path.replace('/', '%2F')}/content")
    listed = await pool.call("GET", "files", query=f"&path={folder}")
    uploaded = [
        await pool.upload(f"{folder}/b.csv"),
        await pool.upload("c.csv", query=f"&path={folder}"),
    ]
    beside = await pool.call("GET", f"files/{folder}-1/a")
    deleted = await pool.call("DELETE", f"files/{path}")

    assert path.startswith("/")
    assert not path.startswith("/mnt/data")
    assert stat.json == relative.json
    assert (old.body, new.body) == (b"1,2", b"1,2")
    assert [item["name"] for item in listed.json["value"]] == ["report.csv"]
    assert [answer.json["directory"] for answer in uploaded] == ["in", "in"]
    assert beside.status == 404
    assert deleted.status == 204


async def test_a_list_of_the_older_shape_is_whole(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pages it takes, up to a limit."""
    monkeypatch.setattr("jupyter_exec_ext.dialects.azure.files.PAGE_SIZE", 2)
    for number in range(5):
        await pool.upload(f"in/{number}")

    whole = await _names(pool)
    monkeypatch.setattr("jupyter_exec_ext.dialects.azure.files.MAX_LISTED", 4)
    cut = await _names(pool)

    assert whole == [f"in/{number}" for number in range(5)]
    assert cut == ["in/0", "in/1", "in/2"]


async def test_only_what_has_a_name_in_lists_is_there(pool: Pool, exec_api: ExecApi) -> None:
    """Files and folders; not links, pipes or the folder itself."""
    await pool.run("import os; os.mkdir('in'); os.symlink('in', 'link'); os.mkfifo('pipe')")

    assert (await pool.call("GET", "files/in")).json["type"] == "directory"
    for name in ("link", "pipe", "/", "%2F", "/mnt/data"):
        answer = await pool.call("GET", f"files/{name}")
        assert (answer.status, answer.json["error"]["code"]) == (404, "FileNotFound"), name
