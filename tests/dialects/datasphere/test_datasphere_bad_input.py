"""What no client should send: always a 4xx in the service's shape, and the server goes on."""

import json
from typing import Any

import httpx
import pytest

from tests.conftest import ExecApi

EXECUTE = "datasphere/v2/projects/default:execute"
NOTEBOOK = {"notebookId": "nb.ipynb"}
DEEP = 100_000

BODIES: list[Any] = [
    b"\xff\xfe",
    b'{"notebookId": "\xff"}',
    b"{",
    b"[]",
    b"null",
    b"5",
    b'"text"',
    b'{"notebookId": NaN}',
    b'{"inputVariables": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    b'{"notebookId": "nb.ipynb", "inputVariables": {"A": '
    + b"[" * 900
    + b"1.0"
    + b"]" * 900
    + b"}}",
    b'{"notebookId": "\\ud800"}',
    b'{"cellId": "nb.ipynb/cell/\\ud800"}',
    b'{"notebookId": "a\\u0000b"}',
    {},
    {"notebookId": ""},
    {"notebookId": []},
    {"notebookId": {"a": 1}},
    {"notebookId": True},
    {"cellId": ""},
    {"cellId": "/cell/"},
    {"cellId": "/cell/c0"},
    {"cellId": "nb.ipynb/cell/"},
    {"notebookId": "x" * 100_000},
    {"notebookId": "../nb.ipynb"},
    {"notebookId": "/etc/passwd"},
    {"notebookId": "/home/jupyter/datasphere/project/"},
    {"notebookId": "."},
    {"notebookId": "a\\..\\nb.ipynb"},
    {"notebookId": ".hidden.ipynb"},
    {"notebookId": "text.txt"},
    {**NOTEBOOK, "inputVariables": []},
    {**NOTEBOOK, "inputVariables": {"": "x"}},
    {**NOTEBOOK, "inputVariables": {"A=B": "x"}},
    {**NOTEBOOK, "inputVariables": {"JUPYTER_TOKEN": "x"}},
    {**NOTEBOOK, "inputVariables": {"A": "\0"}},
    {**NOTEBOOK, "inputVariables": {f"A{n}": n for n in range(300)}},
    {**NOTEBOOK, "inputVariables": {"A": "x" * 200_000}},
    {**NOTEBOOK, "outputVariableNames": [1]},
    {**NOTEBOOK, "outputVariableNames": [""]},
    {**NOTEBOOK, "outputVariableNames": ["a\nb"]},
    {**NOTEBOOK, "outputVariableNames": [f"a{n}" for n in range(300)]},
    {**NOTEBOOK, "spec": 5},
    {**NOTEBOOK, "spec": "\0"},
    {**NOTEBOOK, "spec": "x" * 100_000},
    {**NOTEBOOK, "sparkConnectorId": "x" * 201},
    {**NOTEBOOK, "sparkConnectorId": {}},
]

PATHS = [
    "datasphere/v2/projects/%FF:execute",
    "datasphere/v2/projects/%00:execute",
    "datasphere/v2/projects/..%2F..:execute",
    f"datasphere/v2/projects/{'x' * 300}:execute",
    "datasphere/v2/projects/:execute",
    "datasphere//v2/projects",
    "datasphere/v2/projects/",
    "datasphere/v2/projects?pageSize=x",
    "datasphere/v2/projects?pageSize=-1",
    "datasphere/v2/projects?pageSize=1.5",
    "datasphere/v2/projects?pageSize=\u0661",
    "datasphere/v2/projects?pageToken=%FF",
    "datasphere/v2/projects/default:stateVariables?notebookId=%FF",
    "datasphere/v2/projects/default:stateVariables?notebookId=../nb.ipynb",
    "datasphere/v2/projects/default:stateVariables?notebookId=nb.ipynb&checkpointId=none",
    "datasphere/v2/projects/default:stateVariables?notebookId=a%00",
    "datasphere/v1/projects/default:notebookMetadata?notebookPath=%2e%2e/nb.ipynb",
    "datasphere/v1/projects/default:notebookMetadata?notebookPath=.hidden.ipynb",
    "datasphere/v1/projects/default:notebookMetadata?notebookPath=text.txt",
    "datasphere/v1/projects/default:cellOutputs?cellId=nb.ipynb",
    "datasphere/v1/projects/default:cellOutputs?cellId=nb.ipynb/cell/c0&startAt=now",
    "operations/%FF",
    "operations/%00",
    f"operations/{'x' * 3000}",
    "operations/a%2Fb:cancel",
    "operations/:cancel",
    "operations/a:b:cancel",
    "operations/a/b",
]


def assert_refused(answer: httpx.Response) -> None:
    assert 400 <= answer.status_code < 500, (answer.request.url, answer.status_code, answer.text)
    body = answer.json()
    assert set(body) == {"code", "message", "details"}
    assert body["message"]
    assert body["details"][-1]["requestId"] == answer.headers["x-request-id"]


async def test_bad_bodies_are_refused(exec_api: ExecApi, datasphere: httpx.AsyncClient) -> None:
    """Nothing runs of any."""
    exec_api.write_notebook("nb.ipynb", "1")
    exec_api.write_notebook(".hidden.ipynb", "1")
    (exec_api.root / "text.txt").write_text("text")

    for body in BODIES:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await datasphere.post(EXECUTE, content=content)
        assert_refused(answer)
    for key in ("", "x" * 300):
        answer = await datasphere.post(EXECUTE, json=NOTEBOOK, headers={"Idempotency-Key": key})
        assert_refused(answer)

    listed = await exec_api.request("GET", "executions")
    assert listed.json["executions"] == []


async def test_bad_addresses_are_refused(exec_api: ExecApi, datasphere: httpx.AsyncClient) -> None:
    """Also with a body that is none where a GET may have one."""
    exec_api.write_notebook("nb.ipynb", "1")
    exec_api.write_notebook(".hidden.ipynb", "1")
    (exec_api.root / "text.txt").write_text("text")

    for path in PATHS:
        method = "POST" if path.endswith((":execute", ":cancel")) else "GET"
        assert_refused(
            await datasphere.request(method, path, json={} if method == "POST" else None)
        )
    for body in (b"{", b"[]", b'{"pageSize": []}', b'{"pageToken": 5}', b"\xff"):
        assert_refused(await datasphere.request("GET", "datasphere/v2/projects", content=body))


@pytest.mark.parametrize("exec_config", [{"max_body_bytes": 1000}])
async def test_a_body_that_is_too_large_is_refused(datasphere: httpx.AsyncClient) -> None:
    """With an answer that a client can read."""
    answer = await datasphere.post(EXECUTE, json={"notebookId": "x" * 2000})

    assert_refused(answer)
    assert answer.json()["code"] == 3


@pytest.mark.parametrize("exec_config", [{"max_pending": 1, "max_running": 1}])
async def test_too_many_are_refused_for_now(
    exec_api: ExecApi, datasphere: httpx.AsyncClient
) -> None:
    """`RESOURCE_EXHAUSTED`, and when to come again."""
    exec_api.write_notebook("nb.ipynb", "import time\ntime.sleep(100)")

    answers = [await datasphere.post(EXECUTE, json=NOTEBOOK) for _ in range(4)]

    assert answers[0].status_code == 200
    refused = answers[-1]
    assert (refused.status_code, refused.json()["code"]) == (429, 8)
    assert int(refused.headers["Retry-After"]) > 0
    for answer in answers:
        if answer.status_code == 200:
            await datasphere.get(f"operations/{answer.json()['id']}:cancel")
