"""Notebooks that come in the request instead of from their file."""

import json
from typing import Any

import pytest

from tests import imperfect
from tests.conftest import Answer, ExecApi


def notebook(*sources: str, **fields: Any) -> dict[str, Any]:
    """Return a notebook of code cells as an editor has it."""
    kernelspec = {"name": "python3", "display_name": "Python 3"}
    cells = [imperfect.code(source, id=f"c{number}") for number, source in enumerate(sources)]
    return imperfect.notebook(*cells, **{"metadata": {"kernelspec": kernelspec}, **fields})


async def submit(exec_api: ExecApi, content: Any, path: str = "a/nb.ipynb", **more: Any) -> Answer:
    source = {key: more.pop(key) for key in ("cells", "save_to") if key in more}
    headers = more.pop("headers", {})
    body: dict[str, Any] = {"notebook": {"path": path, "content": content, **source}, **more}
    return await exec_api.request(
        "POST", "executions", params={"wait": 60}, json=body, headers=headers
    )


async def test_it_runs_as_if_it_were_the_file(exec_api: ExecApi) -> None:
    """In the folder of the path and under its name, whatever is in the file, or nothing."""
    (exec_api.root / "a").mkdir()
    shown = "import pathlib; print(pathlib.Path.cwd().name)"
    for has_file in (False, True):
        if has_file:
            exec_api.write_notebook("a/nb.ipynb", "print('the file')")

        answer = await submit(
            exec_api, notebook(shown, "print('not chosen')", "2"), cells=["c0", 2]
        )

        assert answer.status == 200
        record = answer.json
        assert record["state"] == "succeeded"
        assert record["source"] == {"path": "a/nb.ipynb", "cells": ["c0", 2], "has_content": True}
        assert record["result"]["stdout"] == "a\n"
        assert record["result"]["value"] == 2
        assert record["progress"]["total"] == 2
        executed = await exec_api.notebook(record)
        assert [cell["execution_count"] for cell in executed["cells"]] == [1, None, 2]
        listed = await exec_api.request("GET", "executions", params={"path": "a/nb.ipynb"})
        assert listed.json["executions"][0]["id"] == record["id"]
    assert json.loads((exec_api.root / "a/nb.ipynb").read_text())["cells"][0]["outputs"] == []


async def test_a_session_by_name_is_made_for_it(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """With the notebook's kernel, in its folder, although no file exists."""
    (exec_api.root / "a").mkdir()
    metadata = {"kernelspec": {"name": echo_kernel_name, "display_name": "Echo"}}

    answer = await submit(exec_api, notebook("1", metadata=metadata), session_name="s")

    assert answer.json["kernel_name"] == echo_kernel_name
    session = await exec_api.session(answer.json["session_id"])
    assert session["path"] == "a"


async def test_what_is_not_valid_is_repaired_and_named(exec_api: ExecApi) -> None:
    """As in a file."""
    content = notebook("1 + 1")
    del content["cells"][0]["outputs"]
    content["cells"][0]["unknown"] = 1

    answer = await submit(exec_api, content, "nb.ipynb")

    assert answer.json["result"]["value"] == 2
    assert len(answer.json["warnings"]) == 2


@pytest.mark.parametrize("exec_config", [{"max_notebook_bytes": 20_000}])
async def test_what_cannot_be_run_is_refused(exec_api: ExecApi) -> None:
    """With the field that is at fault."""
    good = notebook("1")
    (exec_api.root / "folder").mkdir()
    for content, path, status, target in (
        ({}, "nb.ipynb", 422, "notebook.content"),
        ([], "nb.ipynb", 422, "notebook.content"),
        ("text", "nb.ipynb", 422, "notebook.content"),
        (notebook("x" * 20_000), "nb.ipynb", 413, "notebook.content"),
        (good, "none/nb.ipynb", 422, "notebook.path"),
        (good, "../nb.ipynb", 422, "notebook.path"),
        (good, "folder", 422, "notebook.path"),
        (good, ".hidden.ipynb", 422, "notebook.path"),
    ):
        answer = await submit(exec_api, content, path)
        assert (answer.status, answer.json["target"]) == (status, target), (content, path)
    deep = f'{{"notebook": {{"path": "nb.ipynb", "content": {"[" * 9_000}{"]" * 9_000}}}}}'
    answer = await exec_api.request("POST", "executions", body=deep)
    assert answer.status in (400, 422)
    unknown = await submit(exec_api, good, "nb.ipynb", cells=["none"])
    assert (unknown.status, unknown.json["code"]) == (422, "UnknownCell")


async def test_null_is_the_file(exec_api: ExecApi) -> None:
    """As if the field were absent."""
    path = exec_api.write_notebook("nb.ipynb", "'the file'")

    answer = await submit(exec_api, None, path)

    assert answer.json["result"]["value"] == "the file"
    assert answer.json["source"] == {"path": path}


async def test_it_is_saved_in_place(exec_api: ExecApi) -> None:
    """Over the file with older content, and where there is no file; elsewhere too."""
    path = exec_api.write_notebook("nb.ipynb", "'older'")

    for place, expected in ((path, path), ("new.ipynb", "new.ipynb")):
        answer = await submit(exec_api, notebook("'edited'"), place, save_to="in_place")
        result = answer.json["result"]
        assert result["notebook_path"] == expected
        assert "save_conflict" not in result
        saved = json.loads((exec_api.root / expected).read_text())
        assert "".join(saved["cells"][0]["source"]) == "'edited'"
        assert saved["cells"][0]["execution_count"] == 1
    answer = await submit(exec_api, notebook("'edited'"), path, save_to="copy.ipynb")
    assert answer.json["result"]["notebook_path"] == "copy.ipynb"


@pytest.mark.parametrize("has_file", [True, False])
async def test_a_file_that_changed_during_the_run_stays(exec_api: ExecApi, has_file: bool) -> None:
    """The result is saved in a copy, next to what another user saved."""
    if has_file:
        exec_api.write_notebook("nb.ipynb", "'older'")
    code = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
    body = {"path": "nb.ipynb", "content": notebook(code), "save_to": "in_place"}
    started = await exec_api.request("POST", "executions", json={"notebook": body})

    exec_api.write_notebook("nb.ipynb", "'of another user'")
    (exec_api.root / "go").touch()
    record = await exec_api.final(started.json)

    assert record["result"]["save_conflict"] == "nb-executed.ipynb"
    kept = json.loads((exec_api.root / "nb.ipynb").read_text())
    assert kept["cells"][0]["source"] == "'of another user'"


async def test_another_content_is_another_request(exec_api: ExecApi) -> None:
    """With the same key the same content is the same execution, any other is refused."""
    headers = {"Idempotency-Key": "k"}
    first, again, other = [
        await submit(exec_api, notebook(code), "nb.ipynb", headers=headers)
        for code in ("1", "1", "2")
    ]

    assert first.json["id"] == again.json["id"]
    assert (other.status, other.json["code"]) == (409, "IdempotencyConflict")


async def test_a_large_one_keeps_the_loop_free(exec_api: ExecApi) -> None:
    """Reading and hashing it are done in threads."""
    large = notebook("1", "# " + "x" * 5_000_000)

    answer = await submit(
        exec_api, large, "nb.ipynb", cells=["c0"], headers={"Idempotency-Key": "k"}
    )

    assert answer.json["state"] == "succeeded"
