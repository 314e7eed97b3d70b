"""What a run gets, and what comes back of it: inputs, specs, values, cells, and their records."""

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import ExecApi
from tests.dialects.datasphere.conftest import execute, finished
from tests.imperfect import code, notebook, text
from tests.stalling import taken_when_cut

SHOW = "import os\nshown = {name: os.environ.get(name) for name in sorted(os.environ)}"


async def test_inputs_are_environment_variables_and_doubles_are_plain(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Text as it is, whole doubles without a fraction, all else as compact JSON; null unsets."""
    exec_api.write_notebook("nb.ipynb", SHOW)
    inputs = {
        "TEXT": "Ada é",
        "WHOLE": 3.0,
        "LARGEST": 2.0**53,
        "INT": 7,
        "HALF": 1.5,
        "HUGE": 1e300,
        "YES": True,
        "LIST": [1.0, "a", None, {"b": 2.0}],
        "LANG": None,
    }

    operation = await execute(
        datasphere, notebookId="nb.ipynb", inputVariables=inputs, outputVariableNames=["shown"]
    )

    shown = operation["response"]["outputVariables"]["shown"]
    assert {name: shown.get(name) for name in inputs} == {
        "TEXT": "Ada é",
        "WHOLE": "3",
        "LARGEST": "9007199254740992",
        "INT": "7",
        "HALF": "1.5",
        "HUGE": "1e+300",
        "YES": "true",
        "LIST": '[1,"a",null,{"b":2}]',
        "LANG": None,
    }


async def test_a_notebook_that_is_not_valid_runs(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Its cells have ids to run them by, also where the file has none; what cannot run is a 400."""
    cells = [text(id=...), code("x = 'one'", id=..., outputs=...)]
    (exec_api.root / "nb.ipynb").write_text(json.dumps(notebook(*cells)), "utf-8-sig")
    (exec_api.root / "no.ipynb").write_text("[]")

    shown = await datasphere.get(
        "datasphere/v1/projects/default:notebookMetadata", params={"notebookPath": "nb.ipynb"}
    )
    _, cell_id = shown.json()["cellIds"]
    operation = await execute(datasphere, cellId=cell_id, outputVariableNames=["x"])
    refused = await datasphere.post(
        "datasphere/v2/projects/default:execute", json={"notebookId": "no.ipynb"}
    )

    assert operation["response"]["outputVariables"] == {"x": "one"}
    assert refused.status_code == 400
    assert "its JSON is not an object" in refused.json()["message"]


async def test_a_run_leaves_nothing_for_the_next(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Each has a kernel of its own: no inputs and no variables of another."""
    exec_api.write_notebook("nb.ipynb", "import os\nx = ('y' in dir(), os.environ.get('A'))\ny = 1")
    fields: dict[str, Any] = {"notebookId": "nb.ipynb", "outputVariableNames": ["x"]}

    first = await execute(datasphere, **fields, inputVariables={"A": "a"})
    second = await execute(datasphere, **fields)

    assert first["response"]["outputVariables"] == {"x": [False, "a"]}
    assert second["response"]["outputVariables"] == {"x": [False, None]}


async def test_values_come_as_the_kernel_has_them(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Digits are kept; what is not JSON is its text; what is not there is left out."""
    exec_api.write_notebook("nb.ipynb", "big = 2**70\nnan = float('nan')\nset_ = {1}")
    names = ["big", "nan", "set_", "missing", "big"]

    operation = await execute(datasphere, notebookId="nb.ipynb", outputVariableNames=names)

    values = operation["response"]["outputVariables"]
    assert list(values) == ["big", "nan", "set_"]
    assert values == {"big": 2**70, "nan": "nan", "set_": "{1}"}
    assert operation["response"]["executionStatus"] == "OK"


async def test_integers_beyond_all_doubles_are_texts(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Python reads no JSON with very long ones; what looks like one in a text is left alone."""
    exec_api.write_notebook(
        "nb.ipynb", "a = [-10**308, 10**307, '\\\\\\\"' + '9' * 400, {'9' * 309: 10**6000}]"
    )

    operation = await execute(datasphere, notebookId="nb.ipynb", outputVariableNames=["a"])
    where = "datasphere/v1/projects/default:stateVariables?notebookId=nb.ipynb"
    state = (await datasphere.get(where)).json()

    digits = f"1{'0' * 6000}"
    a = [f"-1{'0' * 308}", 10**307, '\\"' + "9" * 400, {"9" * 309: digits}]
    assert operation["response"]["outputVariables"] == {"a": a}
    assert state == {"variables": {"a": a}}


async def test_code_that_asks_for_input_meets_its_end(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """At once: no request of the service could answer it."""
    exec_api.write_notebook("nb.ipynb", "name = input('who? ')")

    operation = await execute(datasphere, notebookId="nb.ipynb", outputVariableNames=["name"])

    assert operation["response"]["executionStatus"] == "ERROR"
    assert operation["response"]["errorDetails"]["errorName"] == "EOFError"


@pytest.mark.parametrize("datasphere_config", [{"max_output_variables_bytes": 10}])
async def test_values_that_do_not_fit_are_left_out(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """In the order in which they were asked for; the native record has all."""
    exec_api.write_notebook("nb.ipynb", "a = '123456'\nb = 'xyz'\nc = 1")

    operation = await execute(
        datasphere, notebookId="nb.ipynb", outputVariableNames=["a", "b", "c"]
    )
    state = await datasphere.get(
        "datasphere/v2/projects/default:stateVariables?notebookId=nb.ipynb&variableNames=b"
    )
    native = await exec_api.get(operation)

    assert operation["response"]["outputVariables"] == {"a": "123456", "c": 1}
    assert state.json() == {"variables": {"b": "xyz"}}
    assert set(native["result"]["variables"]) == {"a", "b", "c"}


async def test_a_spec_is_a_kernelspec_with_an_environment(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """From the table, or by the kernelspec's own name; what the client sends counts more."""
    exec_api.write_notebook(
        "nb.ipynb", SHOW, kernelspec={"name": "python3", "display_name": "Python 3"}
    )
    seen = []

    for spec, inputs in (
        ("", {}),
        ("python3", {}),
        ("c1.4", {}),
        ("g1.1", {}),
        ("own", {}),
        ("own", {"SIZE": "mine"}),
    ):
        operation = await execute(
            datasphere,
            notebookId="nb.ipynb",
            spec=spec,
            sparkConnectorId="cluster",
            outputVariableNames=["shown"],
            inputVariables=inputs,
        )
        shown = operation["response"]["outputVariables"]["shown"]
        assert shown["SPARK_REMOTE"] == "sc://host:15002"
        seen.append(shown.get("SIZE"))
    assert seen == [None, None, None, "big", "own", "mine"]


async def test_v1_knows_no_spec(exec_api: ExecApi, datasphere: httpx.AsyncClient) -> None:
    """There both fields are unknown, and unknown fields are ignored."""
    exec_api.write_notebook("nb.ipynb", "1")

    operation = await execute(
        datasphere,
        project="v1/projects/default",
        notebookId="nb.ipynb",
        spec="unknown",
        sparkConnectorId="unknown",
    )

    response = {"@type": "type.googleapis.com/yandex.cloud.datasphere.v1.ProjectExecutionResponse"}
    assert operation["response"] == response


async def test_an_unknown_spec_is_refused_and_the_known_ones_named(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Those of the table and the kernelspecs, which count as specs too."""
    exec_api.write_notebook("nb.ipynb", "1")
    body = {"notebookId": "nb.ipynb", "spec": "c9.99"}

    answer = await datasphere.post("datasphere/v2/projects/default:execute", json=body)

    assert (answer.status_code, answer.json()["code"]) == (400, 3)
    text, known = answer.json()["message"].split("; this server has: ")
    assert text == "no spec is called 'c9.99'"
    assert {"c1.4", "g1.1", "own", "python3"} <= set(known.split(", "))


@pytest.mark.parametrize("datasphere_config", [{"strict_spec": False}])
async def test_an_unknown_spec_can_mean_the_notebooks_own_kernel(
    exec_api: ExecApi, datasphere: httpx.AsyncClient, echo_kernel_name: str
) -> None:
    """Where the operator says so; a repeated request is still the same request."""
    spec = {"name": echo_kernel_name, "display_name": "Echo"}
    exec_api.write_notebook("nb.ipynb", "1", kernelspec=spec)
    body = {"notebookId": "nb.ipynb", "spec": "c9.99"}
    where = "datasphere/v2/projects/default:execute"

    answers = [
        await datasphere.post(where, json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
    first, second = (answer.json() for answer in answers)
    assert first["id"] == second["id"]
    assert (await exec_api.final(first))["kernel_name"] == echo_kernel_name


async def test_outputs_of_a_cell_are_those_of_its_last_run(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Texts of all that has one; a run of other cells does not count, a checkpoint is one run."""
    exec_api.write_notebook(
        "nb.ipynb",
        "import os, sys\nprint(os.environ['N']); print('!', file=sys.stderr); 'v'",
        "raise KeyError('k')",
    )
    cell = "nb.ipynb/cell/c0"
    where = "datasphere/v2/projects/default:cellOutputs"

    first = await execute(datasphere, cellId=cell, inputVariables={"N": 1})
    await execute(datasphere, notebookId="nb.ipynb", inputVariables={"N": 2})
    await execute(datasphere, cellId="nb.ipynb/cell/c1")
    last = (await datasphere.get(where, params={"cellId": cell})).json()
    checkpoint = {"cellId": cell, "checkpointId": f"default/checkpoint/{first['id']}"}
    of_first = (await datasphere.get(where, params=checkpoint)).json()
    raised = (await datasphere.get(where, params={"cellId": "nb.ipynb/cell/c1"})).json()
    later = {"cellId": cell, "startAt": "2999-01-01T00:00:00.123456789Z"}
    none = (await datasphere.get(where, params=later)).json()
    missing = await datasphere.get(where, params={"cellId": "nb.ipynb/cell/none"})
    foreign = await datasphere.get(where, params={**checkpoint, "cellId": "other.ipynb/cell/c0"})

    assert sorted(last["outputs"]) == ["!\n", "'v'", "2\n"]
    assert sorted(of_first["outputs"]) == ["!\n", "'v'", "1\n"]
    assert raised["outputs"] == ["KeyError: 'k'"]
    assert none == {"outputs": []}
    assert (missing.status_code, missing.json()["code"]) == (404, 5)
    assert (foreign.status_code, foreign.json()["code"]) == (404, 5)


async def test_start_at_does_not_hide_what_runs(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """A run that was accepted before that moment, and goes on after it, puts out after it too."""
    exec_api.write_notebook("nb.ipynb", "print('on', flush=True)\nimport time\ntime.sleep(100)")
    where = "datasphere/v2/projects/default:cellOutputs"
    body = {"notebookId": "nb.ipynb"}
    run = (await datasphere.post("datasphere/v2/projects/default:execute", json=body)).json()
    started = await exec_api.until_printed(run, "on")
    begin = {"cellId": "nb.ipynb/cell/c0", "startAt": started["start_time"]}

    running = (await datasphere.get(where, params=begin)).json()
    await datasphere.get(f"operations/{run['id']}:cancel")
    ended = await exec_api.final(run)
    final = (await datasphere.get(where, params=begin)).json()
    end = datetime.fromisoformat(ended["end_time"])
    later = {**begin, "startAt": (end + timedelta(seconds=1)).isoformat()}
    none = (await datasphere.get(where, params=later)).json()

    assert running["outputs"] == ["on\n"]
    assert final["outputs"][0] == "on\n"
    assert none == {"outputs": []}


@pytest.mark.parametrize("exec_config", [{"transfer_timeout_seconds": 1.0}])
async def test_a_client_that_takes_no_outputs_is_cut_off(
    exec_api: ExecApi,
    datasphere: httpx.AsyncClient,
    jp_http_port: int,
    jp_base_url: str,
    jp_auth_header: dict[str, str],
) -> None:
    """No answer waits for ever to be taken; who takes it has all of it."""
    exec_api.write_notebook("nb.ipynb", "print('x' * 9_000_000)")
    await execute(datasphere, notebookId="nb.ipynb")
    path = "datasphere/v1/projects/default:cellOutputs?cellId=nb.ipynb/cell/c0"

    whole = await datasphere.get(path)
    taken = await taken_when_cut(jp_http_port, f"{jp_base_url}exec/{path}", jp_auth_header)

    assert whole.json() == {"outputs": ["x" * 9_000_000 + "\n"]}
    assert taken.startswith(b"HTTP/1.1 200 ")
    assert len(taken) < 9_000_000


async def test_state_variables_are_those_of_the_last_run_that_left_any(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """From one run, never mixed; a checkpoint names it; nothing is there before the first."""
    exec_api.write_notebook("nb.ipynb", "import os\na = os.environ.get('A')\nb = a")
    where = "datasphere/v1/projects/default:stateVariables"
    notebook = {"notebookId": "/home/jupyter/datasphere/project/nb.ipynb"}

    none = (await datasphere.get(where, params=notebook)).json()
    first = await execute(
        datasphere,
        notebookId="nb.ipynb",
        inputVariables={"A": "1"},
        outputVariableNames=["a", "b"],
    )
    await execute(
        datasphere, notebookId="nb.ipynb", inputVariables={"A": "2"}, outputVariableNames=["a"]
    )
    await execute(datasphere, notebookId="nb.ipynb", outputVariableNames=["missing"])
    await execute(datasphere, notebookId="nb.ipynb")

    async def shown(**params: Any) -> Any:
        return (await datasphere.get(where, params={**notebook, **params})).json()["variables"]

    assert none == {"variables": {}}
    assert await shown() == {"a": "2"}
    assert await shown(variableNames=["a", "b"]) == {"a": "2"}
    assert await shown(variable_names=["b"]) == {"b": "1"}
    assert await shown(variableNames="no") == {}
    checkpoint = first["response"]["checkpointId"]
    assert await shown(checkpointId=checkpoint) == {"a": "1", "b": "1"}


@pytest.mark.parametrize("datasphere_config", [{}, {"max_runs_read": 12}])
async def test_state_variables_are_looked_for_in_as_many_runs_as_the_option_says(
    exec_api: ExecApi, datasphere: httpx.AsyncClient, datasphere_config: dict[str, Any]
) -> None:
    """However many of them were asked for the variable, and did not leave it."""
    code = "n = globals().get('n', 0) + 1\na = 1\nif n > 1: del a"
    fields: dict[str, Any] = {"session_name": "one", "variable_names": ["a"]}
    where = "datasphere/v1/projects/default:stateVariables?notebookId=nb.ipynb&variableNames=a"
    exec_api.write_notebook("nb.ipynb", code)

    for _ in range(12):
        await exec_api.run("nb.ipynb", **fields)
    near = (await datasphere.get(where)).json()
    await exec_api.run("nb.ipynb", **fields)
    far = (await datasphere.get(where)).json()

    assert near == {"variables": {"a": 1}}
    assert far == {"variables": {} if datasphere_config else {"a": 1}}


async def test_one_record_whatever_the_door(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """An operation is an execution: listed, shown, its notebook and log natively."""
    exec_api.write_notebook("team/reports/nb.ipynb", "print('hi')\nx = 5")

    operation = await execute(
        datasphere,
        project="v2/projects/reports",
        notebookId="nb.ipynb",
        outputVariableNames=["x"],
        inputVariables={"A": "secret"},
    )
    listed = (
        await exec_api.request("GET", "executions", params={"label": "dialect=datasphere"})
    ).json["executions"]
    record = await exec_api.get(operation)
    notebook = await exec_api.notebook(operation)

    assert [one["id"] for one in listed] == [operation["id"]]
    assert record["source"] == {"path": "team/reports/nb.ipynb"}
    assert record["result"]["variables"]["x"]["json"] == 5
    assert record["result"]["stdout"] == "hi\n"
    assert record["annotations"]["datasphere.notebook_id"] == "nb.ipynb"
    assert record["input_names"] == ["A"]
    assert notebook["cells"][0]["outputs"][0]["text"] == "hi\n"
    assert await exec_api.log(operation) == "hi\n"
    assert record["owner"] == operation["createdBy"]
    await exec_api.request("DELETE", "executions", operation["id"])
    gone = await datasphere.get(f"operations/{operation['id']}")
    assert (gone.status_code, gone.json()["code"]) == (404, 5)


async def test_native_executions_are_operations(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Shown, waited for and cancelled, with no metadata that nobody gave; and the other way."""
    exec_api.write_notebook("nb.ipynb", "import time\nprint('on', flush=True)\ntime.sleep(100)")
    code = await exec_api.run_code("x = 1", variable_names=["x"], description="native")
    waiting = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(waiting, "on")
    body = {"notebookId": "nb.ipynb"}
    ours = (await datasphere.post("datasphere/v2/projects/default:execute", json=body)).json()

    shown = (await datasphere.get(f"operations/{code['id']}")).json()
    running = (await datasphere.get(f"operations/{waiting['id']}")).json()
    await datasphere.get(f"operations/{waiting['id']}:cancel")
    await exec_api.request("POST", "executions", ours["id"], "cancel")

    assert "metadata" not in shown
    assert shown["description"] == "native"
    assert shown["response"]["executionStatus"] == "OK"
    assert shown["response"]["outputVariables"] == {"x": 1}
    assert not {"error", "response", "description"} & set(running)
    assert running["done"] is False
    assert (await exec_api.final(waiting))["state"] == "cancelled"
    assert (await finished(datasphere, ours))["error"]["code"] == 1


async def test_a_key_is_one_for_all_doors(
    exec_api: ExecApi, datasphere: httpx.AsyncClient, echo_kernel_name: str
) -> None:
    """Requests at once with one key are one run; a native one with the key is another request."""
    spec = {"name": echo_kernel_name, "display_name": "Echo"}
    exec_api.write_notebook("nb.ipynb", "1", kernelspec=spec)
    headers = {"Idempotency-Key": "k" * 36}
    where = "datasphere/v2/projects/default:execute"

    answers = await asyncio.gather(
        *(
            datasphere.post(where, json={"notebookId": "nb.ipynb"}, headers=headers)
            for _ in range(5)
        )
    )
    native = await exec_api.request(
        "POST", "executions", json={"notebook": {"path": "nb.ipynb"}}, headers=headers
    )

    assert len({answer.json()["id"] for answer in answers}) == 1
    assert native.status == 409
    await exec_api.final(answers[0].json())


async def test_strict_readers_can_read_a_run_without_outputs(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """Without names nothing is there but what today's protocol has, also after a failure."""
    exec_api.write_notebook("nb.ipynb", "1/0")

    operation = await execute(datasphere, notebookId="nb.ipynb", outputVariableNames=[])

    assert set(operation["response"]) == {"@type", "executionStatus"}


async def test_an_interrupted_run_was_aborted(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """In v2; v1 has no status, so that it is an error there."""
    exec_api.write_notebook("nb.ipynb", "raise KeyboardInterrupt")

    second = await execute(datasphere, notebookId="nb.ipynb")
    first = await execute(datasphere, project="v1/projects/default", notebookId="nb.ipynb")

    assert second["response"]["executionStatus"] == "ABORTED"
    assert first["error"]["code"] == 10


async def test_a_kernel_that_cannot_start_is_an_error(
    exec_api: ExecApi, datasphere: httpx.AsyncClient, jp_data_dir: Any
) -> None:
    """It is none of the user's code: `INTERNAL`."""
    folder = jp_data_dir / "kernels" / "broken"
    folder.mkdir(parents=True)
    argv = ["/no/such/program", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Broken", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    exec_api.write_notebook("nb.ipynb", "1")

    operation = await execute(datasphere, notebookId="nb.ipynb", spec="broken")

    assert operation["error"]["code"] == 13
    assert "response" not in operation
