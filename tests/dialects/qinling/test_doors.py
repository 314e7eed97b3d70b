"""One record and one notebook, whatever door: Qinling's and the native one."""

import json
import logging

import pytest

from jupyter_exec_ext.dialects.qinling.wire import function_id_of
from tests.dialects.qinling.conftest import Qinling, form_of, notebook_text, package_of


async def test_the_native_api_has_what_qinling_ran(qinling: Qinling) -> None:
    """With the notebook, the output and who made it; deleted there, it is gone here."""
    qinling.api.write_notebook("nb.ipynb", "print('seen')", "6 * 7")

    shown = await qinling.create("nb.ipynb", input='{"a": "1"}', description="why")
    native = await qinling.api.get(shown)

    assert native["state"] == "succeeded"
    assert native["source"] == {"path": "nb.ipynb"}
    assert native["labels"] == {"dialect": "qinling"}
    assert native["input_names"] == ["a"]
    assert native["description"] == "why"
    assert native["result"]["stdout"] == "seen\n"
    assert (await qinling.api.notebook(shown))["cells"][1]["outputs"]
    deleted = await qinling.api.request("DELETE", "executions", shown["id"])
    assert deleted.status == 204
    assert (await qinling.request("GET", f"executions/{shown['id']}")).status == 404


async def test_qinling_has_what_the_native_api_ran(qinling: Qinling) -> None:
    """A notebook is of its function; a piece of code is of none. Both have a log."""
    notebook = await qinling.api.run(qinling.api.write_notebook("a/nb.ipynb", "print('n')", "1"))
    code = await qinling.api.run_code("print('c')\n'two'")

    listed = {shown["id"]: shown for shown in await qinling.listed()}

    assert list(listed) == [notebook["id"], code["id"]]
    assert listed[notebook["id"]]["function_id"] == function_id_of("a/nb.ipynb")
    assert json.loads(listed[notebook["id"]]["result"])["output"] == 1
    assert listed[code["id"]]["function_id"] is None
    assert json.loads(listed[code["id"]]["result"])["output"] == "two"
    for record, text in ((notebook, "n"), (code, "c")):
        log = await qinling.request("GET", f"executions/{record['id']}/log")
        assert log.body.decode().splitlines()[1] == text
        assert (await qinling.get(f"executions/{record['id']}"))["id"] == record["id"]
    assert (await qinling.request("DELETE", f"executions/{code['id']}")).status == 204
    assert (await qinling.api.request("GET", "executions", code["id"])).status == 404


async def test_what_runs_can_be_stopped_at_either_door(
    qinling: Qinling, echo_kernel_name: str
) -> None:
    """Cancelled natively it has failed here; deleted here it is gone there, kernel and all."""
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "!sleep 60", kernelspec=spec)
    first = await qinling.create("nb.ipynb", sync=False)
    second = await qinling.create("nb.ipynb", sync=False)

    await qinling.api.until(second, lambda record: record["started"])
    assert (await qinling.request("DELETE", f"executions/{second['id']}")).status == 204
    await qinling.api.request("POST", "executions", first["id"], "cancel", params={"wait": 60})

    shown = await qinling.get(f"executions/{first['id']}")
    assert (shown["status"], json.loads(shown["result"])["output"]) == (
        "failed",
        "Function execution cancelled.",
    )
    left = (await qinling.api.request("GET", "executions")).json["executions"]
    assert [record["id"] for record in left] == [first["id"]]


async def test_a_function_runs_natively(qinling: Qinling) -> None:
    """What is uploaded here is a notebook there, and what is written there a function here."""
    package = package_of(nb__ipynb=notebook_text("6 * 7"))
    body, content_type = form_of(package, code='{"source": "package"}', name="up.ipynb")
    created = await qinling.request("POST", "functions", body, Content_Type=content_type)

    native = await qinling.api.run("up.ipynb")
    qinling.api.write_notebook("down.ipynb", "1")
    functions = (await qinling.get("functions"))["functions"]

    assert created.status == 201
    assert native["state"] == "succeeded"
    counts = {function["name"]: function["count"] for function in functions}
    assert counts == {"up.ipynb": 1, "down.ipynb": 0}


async def test_nothing_secret_is_logged(
    qinling: Qinling, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    """Not the token, whoever refuses it, nor code, inputs or outputs; and the log is a full one."""
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    code = "import os\nprint('s-code'.upper())\nos.environ['a'] + 's-output'"
    qinling.api.write_notebook("nb.ipynb", code)
    package = package_of(up__ipynb=notebook_text("'s-package'"), other__ipynb="s-package")
    body, content_type = form_of(package, code="s-code", description="s-form")

    await qinling.create("nb.ipynb", input='{"a": "s-input"}')
    await qinling.listed()
    refused = await qinling.request("GET", "executions", X_Auth_Token="s-wrong")
    await qinling.request("POST", "functions", body, Content_Type=content_type)
    text = notebook_text("'s-package'").replace('"nbformat": 4', '"nbformat": 9')
    bad = package_of(bad__ipynb=text)
    body, content_type = form_of(bad, code='{"source": "package"}')
    invalid = await qinling.request("POST", "functions", body, Content_Type=content_type)
    await qinling.request("GET", "jobs", X_Auth_Key="s-wrong")

    assert (refused.status, invalid.status) == (401, 400)
    assert "qinling/v1/executions" in caplog.text
    for secret in (token, "s-input", "s-output", "S-CODE", "s-code", "s-wrong", "s-package"):
        assert secret not in caplog.text
