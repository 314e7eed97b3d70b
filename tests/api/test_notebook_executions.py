"""A notebook runs as an execution: what goes in, what comes out, what is saved."""

import json
from typing import Any

import nbformat
import pytest

from tests.conftest import ExecApi


async def test_a_notebook_runs_and_leaves_its_outputs(exec_api: ExecApi) -> None:
    """The record ends as succeeded with the outputs of all cells, in order."""
    record = await exec_api.run_cells(
        "print('one')", "6 * 7", "import sys; print('e', file=sys.stderr)"
    )

    assert record["state"] == "succeeded"
    assert record["started"] is True
    assert record["result"]["stdout"] == "one\n"
    assert record["result"]["stderr"] == "e\n"
    assert [output["output_type"] for output in record["result"]["outputs"]] == [
        "stream",
        "execute_result",
        "stream",
    ]
    assert record["progress"] == {"done": 3, "total": 3}
    assert record["created_time"] <= record["start_time"] <= record["end_time"]
    assert record["duration_seconds"] > 0
    assert await exec_api.log(record) == "one\ne\n"


async def test_inputs_are_the_kernels_environment(
    exec_api: ExecApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strings arrive as they are, other JSON compact; null takes a name of the server away."""
    monkeypatch.setenv("NOT", "of the server")
    values = {"S": "a 'b' $(c)\n", "N": 1.5, "B": True, "L": [1, {"x": "ü"}], "NOT": None}

    record = await exec_api.run_cells(
        "import os; got = {k: os.environ.get(k) for k in ('S', 'N', 'B', 'L', 'NOT')}",
        inputs=values,
        variable_names=["got"],
    )

    assert record["result"]["variables"]["got"]["json"] == {
        "S": "a 'b' $(c)\n",
        "N": "1.5",
        "B": "true",
        "L": '[1,{"x":"ü"}]',
        "NOT": None,
    }
    assert record["input_names"] == ["B", "L", "N", "NOT", "S"]


async def test_input_values_are_shown_nowhere(
    exec_api: ExecApi, jp_serverapp: Any, caplog: Any
) -> None:
    """A secret input is in no record, list, notebook or log, and not in the server's DEBUG log."""
    record = await exec_api.run_cells("x = 1", inputs={"KEY_NAME": "s3cr3t-value"})

    answers = [
        (await exec_api.request("GET", "executions", record["id"])).body,
        (await exec_api.request("GET", "executions")).body,
        json.dumps(await exec_api.notebook(record)).encode(),
        (await exec_api.log(record)).encode(),
    ]
    assert all(b"s3cr3t" not in answer for answer in answers)
    assert "s3cr3t" not in caplog.text
    assert b"KEY_NAME" in answers[0]


async def test_a_kernelspecs_own_environment_is_overruled(
    exec_api: ExecApi, jp_serverapp: Any, jp_data_dir: Any
) -> None:
    """An input wins over the same name in the kernelspec, which Jupyter itself would prefer."""
    spec = jp_serverapp.kernel_spec_manager.get_kernel_spec("python3")
    folder = jp_data_dir / "kernels" / "fixed"
    folder.mkdir(parents=True)
    model = {**spec.to_dict(), "env": {"COLOUR": "spec", "OTHER": "kept"}}
    (folder / "kernel.json").write_text(json.dumps(model))

    record = await exec_api.run_cells(
        "import os; got = [os.environ['COLOUR'], os.environ['OTHER']]; names = dir()",
        kernel_name="fixed",
        inputs={"COLOUR": "input"},
        variable_names=["got", "names"],
    )

    assert record["result"]["variables"]["got"]["json"] == ["input", "kept"]
    assert record["kernel_name"] == "fixed"


async def test_variables_come_out_each_with_its_own_account(exec_api: ExecApi) -> None:
    """JSON where it is JSON, else the bundle that Jupyter shows; a missing name says so alone."""
    record = await exec_api.run_cells(
        "a = {'x': [1, None]}; big = 2**80",
        "class T:\n  def _repr_html_(self): return '<b>t</b>'",
        "t = T()",
        variable_names=["a", "big", "t", "missing"],
    )

    variables = record["result"]["variables"]
    assert variables["a"] == {"type": "dict", "json": {"x": [1, None]}}
    assert variables["big"] == {"type": "int", "json": 2**80}
    assert variables["t"]["type"] == "T"
    assert variables["t"]["data"]["text/html"] == "<b>t</b>"
    assert "json" not in variables["t"]
    assert set(variables["missing"]) == {"error"}
    assert record["state"] == "succeeded"


async def test_variables_are_gathered_after_a_failure_too(exec_api: ExecApi) -> None:
    """What a failed run computed before it failed is not lost."""
    record = await exec_api.run_cells("x = 41", "x += 1; 1/0", "x = 0", variable_names=["x"])

    assert record["state"] == "failed"
    assert record["result"]["variables"]["x"]["json"] == 42


async def test_an_exception_is_data(exec_api: ExecApi) -> None:
    """A cell that raises ends the run as failed with all that is known of the error."""
    record = await exec_api.run_cells("print(1)", "raise ValueError('no')", "print(2)")

    error = record["error"]
    assert record["state"] == "failed"
    assert (error["code"], error["ename"], error["evalue"]) == ("CodeError", "ValueError", "no")
    assert (error["cell_id"], error["cell_index"]) == ("c1", 1)
    assert "\x1b[" in "".join(error["traceback"])
    assert "\x1b[" not in error["traceback_text"]
    assert "raise ValueError('no')" in error["traceback_text"]
    assert record["result"]["stdout"] == "1\n"
    assert record["progress"] == {"done": 2, "total": 3}


async def test_on_error_continue_runs_all_and_still_fails(exec_api: ExecApi) -> None:
    """The later cells run; the first error is the record's."""
    record = await exec_api.run_cells("1/0", "print('on')", "int('x')", on_error="continue")

    assert record["state"] == "failed"
    assert record["error"]["ename"] == "ZeroDivisionError"
    assert record["result"]["stdout"] == "on\n"
    assert record["progress"]["done"] == 3


async def test_cell_tags_keep_their_meaning(exec_api: ExecApi) -> None:
    """``raises-exception`` may raise, ``skip-execution`` does not run and keeps its outputs."""
    old = {"output_type": "stream", "name": "stdout", "text": "old\n"}
    record = await exec_api.run_cells(
        {"source": "1/0", "metadata": {"tags": ["raises-exception"]}},
        {"source": "print('new')", "metadata": {"tags": ["skip-execution"]}, "outputs": [old]},
        "print('end')",
    )

    notebook = await exec_api.notebook(record)
    assert record["state"] == "succeeded"
    assert record["progress"]["total"] == 2
    assert notebook["cells"][0]["outputs"][0]["ename"] == "ZeroDivisionError"
    assert notebook["cells"][1]["outputs"] == [old]
    assert record["result"]["stdout"] == "end\n"


@pytest.mark.parametrize(
    ("cells", "printed"),
    [
        (["c2", 0], "0\n2\n"),
        ({"from": "c2"}, "2\n3\n"),
        ({"from": 3}, "3\n"),
        ({"up_to": "c1"}, "0\n1\n"),
        ({"tag": "pick"}, "1\n3\n"),
        (None, "0\n1\n2\n3\n"),
    ],
)
async def test_chosen_cells_run_in_document_order(
    exec_api: ExecApi, cells: Any, printed: str
) -> None:
    """Ids, indexes, from, up to and tags choose cells; the order is the document's."""
    tag = {"tags": ["pick"]}
    record = await exec_api.run_cells(
        "print(0)",
        {"source": "print(1)", "metadata": tag},
        "print(2)",
        {"source": "print(3)", "metadata": tag},
        cells=cells,
    )

    assert record["result"]["stdout"] == printed


async def test_notebooks_without_cell_ids_are_run_by_index(exec_api: ExecApi) -> None:
    """nbformat 4.4 has no ids: cells are named by index, also in errors."""
    notebook = nbformat.v4.new_notebook()
    notebook.nbformat_minor = 4
    for source in ("print('a')", "1/0"):
        cell = nbformat.v4.new_code_cell(source)
        del cell["id"]
        notebook.cells.append(cell)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "p"}
    (exec_api.root / "old.ipynb").write_text(json.dumps(notebook))

    record = await exec_api.run("old.ipynb", cells=[1])

    assert record["state"] == "failed"
    assert record["error"]["cell_index"] == 1
    assert "cell_id" not in record["error"]
    saved = await exec_api.notebook(record)
    nbformat.validate(saved)
    assert "id" not in saved["cells"][0]


async def test_the_working_directory_is_the_notebooks(exec_api: ExecApi) -> None:
    """As in JupyterLab a kernel works in the folder of its notebook."""
    exec_api.write_notebook("deep/er/nb.ipynb", "import os; here = os.getcwd()")

    record = await exec_api.run("deep/er/nb.ipynb", variable_names=["here"])

    here = record["result"]["variables"]["here"]["json"]
    assert here == str((exec_api.root / "deep" / "er").resolve())


async def test_without_save_to_the_file_is_not_touched(exec_api: ExecApi) -> None:
    """The executed notebook stays with the record."""
    path = exec_api.write_notebook("nb.ipynb", "1")
    before = (exec_api.root / path).read_bytes()

    record = await exec_api.run(path)

    assert (exec_api.root / path).read_bytes() == before
    assert (await exec_api.notebook(record))["cells"][0]["outputs"]
    assert "notebook_path" not in record["result"]


async def test_saved_in_place_it_keeps_what_is_not_output(exec_api: ExecApi) -> None:
    """Metadata, markdown and unselected cells stay; new outputs and counts are there."""
    old = {"output_type": "stream", "name": "stdout", "text": "old\n"}
    exec_api.write_notebook(
        "nb.ipynb",
        "print('new')",
        {"source": "print('no')", "outputs": [old], "execution_count": 9},
        custom={"kept": True},
    )

    record = await exec_api.run("nb.ipynb", cells=[0], save_to="in_place")

    saved = json.loads((exec_api.root / "nb.ipynb").read_text())
    nbformat.validate(saved)
    assert record["result"]["notebook_path"] == "nb.ipynb"
    assert saved["metadata"]["custom"] == {"kept": True}
    assert saved["metadata"]["language_info"]["name"] == "python"
    assert saved["cells"][0]["outputs"][0]["text"] in ("new\n", ["new\n"])
    assert saved["cells"][0]["execution_count"] == 1
    assert saved["cells"][1]["execution_count"] == 9
    assert "trusted" not in saved["cells"][0]["metadata"]


async def test_a_notebook_that_was_trusted_stays_so(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """Saved outputs are signed when all other cells were trusted, as after a run in JupyterLab."""
    manager = jp_serverapp.contents_manager
    exec_api.write_notebook("nb.ipynb", "from IPython.display import HTML; HTML('<b>x</b>')")

    await exec_api.run("nb.ipynb", save_to="in_place")

    model = await manager.get("nb.ipynb")
    assert model["content"]["cells"][0]["metadata"]["trusted"] is True


async def test_trusted_outputs_of_other_cells_stay_trusted(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """A run of some cells keeps the outputs of the others, and that their user trusts them."""
    manager = jp_serverapp.contents_manager
    shown = "from IPython.display import HTML; HTML('<b>x</b>')"
    exec_api.write_notebook("nb.ipynb", "1", shown)
    await exec_api.run("nb.ipynb", save_to="in_place")

    await exec_api.run("nb.ipynb", cells=[0], save_to="in_place")

    model = await manager.get("nb.ipynb")
    assert model["content"]["cells"][1]["outputs"]
    assert model["content"]["cells"][1]["metadata"]["trusted"] is True


async def test_an_untrusted_output_does_not_become_trusted(
    exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """Running one cell does not sign what another cell had brought along."""
    html = {"output_type": "display_data", "data": {"text/html": "<script>"}, "metadata": {}}
    exec_api.write_notebook("nb.ipynb", "1", {"source": "2", "outputs": [html]})

    await exec_api.run("nb.ipynb", cells=[0], save_to="in_place")

    model = await jp_serverapp.contents_manager.get("nb.ipynb")
    assert model["content"]["cells"][1]["metadata"]["trusted"] is False


async def test_a_failed_run_is_saved_with_its_outputs(exec_api: ExecApi) -> None:
    """The saved notebook of a failed run shows how far it came and why it failed."""
    exec_api.write_notebook("nb.ipynb", "print('before')", "1/0", {"source": "3", "outputs": []})

    record = await exec_api.run("nb.ipynb", save_to="copy.ipynb")

    saved = nbformat.read(exec_api.root / "copy.ipynb", as_version=4)
    nbformat.validate(saved)
    assert record["result"]["notebook_path"] == "copy.ipynb"
    assert saved.cells[0].outputs[0].text == "before\n"
    assert saved.cells[1].outputs[0].ename == "ZeroDivisionError"
    assert saved.cells[2].outputs == []


async def test_a_notebook_changed_meanwhile_is_not_overwritten(exec_api: ExecApi) -> None:
    """Saving in place beside somebody else's change makes a copy and names it."""
    source = (
        "import pathlib, time\nprint('here', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)"
    )
    exec_api.write_notebook("sub/nb.ipynb", source)
    record = await exec_api.start("sub/nb.ipynb", save_to="in_place")
    await exec_api.until_printed(record, "here")
    exec_api.write_notebook("sub/nb.ipynb", "somebody = 'else'")
    (exec_api.root / "sub" / "go").touch()

    record = await exec_api.final(record)

    conflict = record["result"]["save_conflict"]
    assert conflict == "sub/nb-executed.ipynb"
    assert "somebody" in (exec_api.root / "sub" / "nb.ipynb").read_text()
    assert "here" in (exec_api.root / conflict).read_text()


async def test_partial_outputs_log_and_progress_are_there_while_it_runs(exec_api: ExecApi) -> None:
    """A reader need not wait for the end."""
    exec_api.write_notebook(
        "nb.ipynb",
        "print('first')",
        "import pathlib, time\nprint('second', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)",
    )
    record = await exec_api.start("nb.ipynb")

    running = await exec_api.until_printed(record, "second")

    assert running["state"] == "running"
    assert running["progress"] == {
        "done": 1,
        "total": 2,
        "current_cell_id": "c1",
        "current_cell_index": 1,
    }
    assert await exec_api.log(record) == "first\nsecond\n"
    partial = await exec_api.notebook(record)
    assert partial["cells"][0]["outputs"][0]["text"] == "first\n"
    (exec_api.root / "go").touch()
    assert (await exec_api.final(record))["state"] == "succeeded"


async def test_what_was_accepted_is_what_runs(exec_api: ExecApi) -> None:
    """A notebook that changes after it was accepted runs as it was."""
    path = exec_api.write_notebook("nb.ipynb", "print('accepted')")
    record = await exec_api.start(path)
    exec_api.write_notebook("nb.ipynb", "print('later')")

    assert (await exec_api.final(record))["result"]["stdout"] == "accepted\n"


async def test_a_result_can_be_read_again_and_again(exec_api: ExecApi) -> None:
    """Ten readings give the same answer ten times."""
    record = await exec_api.run_cells("print('x' * 1000)", "40 + 2")

    readings = [await exec_api.get(record) for _ in range(10)]

    assert all(reading == record for reading in readings)


async def test_waiting_answers_200_only_when_it_is_final(exec_api: ExecApi) -> None:
    """``Prefer: wait`` and ``?wait=`` turn into 202 when the time is up, and kill nothing."""
    exec_api.write_notebook(
        "nb.ipynb", "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
    )
    body = {"notebook": {"path": "nb.ipynb"}}

    early = await exec_api.request(
        "POST", "executions", json=body, headers={"Prefer": "respond-async, wait=1"}
    )
    (exec_api.root / "go").touch()
    late = await exec_api.request("POST", "executions", json=body, params={"wait": 60})

    assert early.status == 202
    assert early.headers["Location"] == f"/user/a%40b/exec/executions/{early.json['id']}"
    assert early.headers["Retry-After"] == "1"
    assert late.status == 200
    assert late.json["state"] == "succeeded"
    assert (await exec_api.final(early.json))["state"] == "succeeded"


async def test_no_kernel_or_server_session_is_left(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """A one-off kernel ends with its execution, and so does its entry in the Running panel."""
    record = await exec_api.run_cells("1")

    await exec_api.until(record, lambda _: not jp_serverapp.kernel_manager.list_kernels())
    assert await jp_serverapp.session_manager.list_sessions() == []


async def test_a_choice_without_any_code_is_refused(exec_api: ExecApi) -> None:
    """Who chooses only text cells, or only skipped ones, learns that nothing would run."""
    text = {"cell_type": "markdown", "id": "t", "metadata": {}, "source": "# Title"}
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [text]}
    (exec_api.root / "text.ipynb").write_text(json.dumps(notebook))

    refused = await exec_api.request(
        "POST", "executions", json={"notebook": {"path": "text.ipynb", "cells": [0]}}
    )
    whole = await exec_api.run("text.ipynb")

    assert (refused.status, refused.json["target"]) == (422, "notebook.cells")
    assert whole["state"] == "succeeded"
    assert whole["progress"]["total"] == 0
