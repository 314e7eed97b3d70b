"""Notebooks that are not valid nbformat run, and the record says what was not valid."""

import json
from typing import Any

import nbformat

from tests.conftest import ExecApi
from tests.imperfect import KINDS, REFUSED, VALID, code, notebook, with_mark


def write(exec_api: ExecApi, path: str, text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    (exec_api.root / path).write_bytes(data)
    return path


async def test_what_jupyter_runs_runs_with_a_warning(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """The cell runs, the record names what was not valid, and what is saved is valid nbformat."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)

    for kind, (content, warning) in KINDS.items():
        path = write(exec_api, "nb.ipynb", json.dumps(content))
        record = await exec_api.run(path, session_id=session["id"], save_to="in_place")

        assert record["state"] == "succeeded", (kind, record)
        assert "one" in record["result"]["stdout"], kind
        assert any(warning in text for text in record["warnings"]), (kind, record["warnings"])
        assert all(len(text) <= 200 and text.isprintable() for text in record["warnings"]), kind
        # Not a copy: the run itself is no change of the file.
        assert record["result"]["notebook_path"] == path, kind
        assert "save_error" not in record["result"], kind
        saved = json.loads((exec_api.root / path).read_text())
        nbformat.validate(saved)
        nbformat.validate(await exec_api.notebook(record))
        ran = next(cell for cell in saved["cells"] if "one" in "".join(cell["source"]))
        assert ran["outputs"][0]["output_type"] == "stream", kind


async def test_a_valid_notebook_has_no_warnings(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """Nothing is found where nothing is wrong, in every version that has a schema."""
    for content in VALID.values():
        path = write(exec_api, "nb.ipynb", json.dumps(content))
        record = await exec_api.run(path, kernel_name=echo_kernel_name)

        assert (record["state"], record["warnings"]) == ("succeeded", [])


async def test_a_byte_order_mark_is_skipped(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """It is no part of the JSON, and a run in place leaves none."""
    path = write(exec_api, "nb.ipynb", with_mark(json.dumps(notebook(code()))))

    record = await exec_api.run(path, kernel_name=echo_kernel_name, save_to="in_place")

    assert (record["state"], record["warnings"]) == ("succeeded", [])
    assert record["result"]["notebook_path"] == path
    json.loads((exec_api.root / path).read_text("utf-8"))


async def test_what_cannot_be_run_is_refused_in_one_sentence(exec_api: ExecApi) -> None:
    """A person understands it, and no schema or path of the server's disk is in it."""
    for kind, (text, reason) in REFUSED.items():
        path = write(exec_api, "nb.ipynb", text)
        answer = await exec_api.request("POST", "executions", json={"notebook": {"path": path}})

        assert answer.status == 422, (kind, answer.body)
        error: dict[str, Any] = answer.json
        assert (error["code"], error["target"]) == ("InvalidNotebook", "notebook.path"), kind
        assert reason in error["message"], (kind, error["message"])
        assert len(error["message"]) < 120, kind
        assert "\n" not in error["message"], kind


async def test_cells_are_chosen_by_the_ids_that_the_record_shows(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """Ids that had to be made are the same each time the notebook is read."""
    path = write(
        exec_api, "nb.ipynb", json.dumps(notebook(code("1"), code("2"), code("3", id=...)))
    )
    first = await exec_api.run(path, kernel_name=echo_kernel_name)
    ids = [cell["id"] for cell in (await exec_api.notebook(first))["cells"]]

    record = await exec_api.run(path, kernel_name=echo_kernel_name, cells=ids[1:])

    assert record["progress"] == {"done": 2, "total": 2}


async def test_too_many_cells_are_refused(exec_api: ExecApi) -> None:
    """More cells than anyone writes are refused before nbformat takes them apart."""
    cells = [{"cell_type": "raw", "metadata": {}, "source": ""}] * 10_001
    path = write(exec_api, "nb.ipynb", json.dumps(notebook(*cells)))

    answer = await exec_api.request("POST", "executions", json={"notebook": {"path": path}})

    assert answer.status == 413
    assert "10000" in answer.json["message"]
