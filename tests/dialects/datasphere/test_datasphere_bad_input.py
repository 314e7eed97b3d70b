"""What no client should send: a 4xx with the service's code and shape, and the server goes on."""

import json
from typing import Any

import httpx
import pytest

from tests.conftest import ExecApi

EXECUTE = "datasphere/v2/projects/default:execute"
NOTEBOOK = {"notebookId": "nb.ipynb"}
DEEP = 100_000

INVALID_BODIES: list[Any] = [
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
    {},
    {"notebookId": ""},
    {"notebookId": []},
    {"notebookId": {"a": 1}},
    {"notebookId": True},
    {"cellId": ""},
    {"notebookId": "x" * 100_000},
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

UNKNOWN_TARGETS: list[Any] = [
    b'{"notebookId": "a\\u0000b"}',
    {"cellId": "/cell/"},
    {"cellId": "/cell/c0"},
    {"cellId": "nb.ipynb/cell/"},
    {"notebookId": "../nb.ipynb"},
    {"notebookId": "/etc/passwd"},
    {"notebookId": "/home/jupyter/datasphere/project/"},
    {"notebookId": "."},
    {"notebookId": "a\\..\\nb.ipynb"},
    {"notebookId": ".hidden.ipynb"},
]

INVALID_ADDRESSES = [
    "datasphere/v2/projects/%FF:execute",
    f"datasphere/v2/projects/{'x' * 51}:execute",
    f"datasphere/v2/projects/{'x' * 51}",
    f"datasphere/v1/projects/{'x' * 201}",
    "datasphere/v2/projects?pageSize=x",
    "datasphere/v2/projects?pageSize=-1",
    "datasphere/v2/projects?pageSize=1.5",
    "datasphere/v2/projects?pageSize=1001",
    f"datasphere/v2/projects?pageSize={'9' * 5000}",
    "datasphere/v2/projects?pageSize=\u0661",
    "datasphere/v2/projects?pageToken=%FF",
    f"datasphere/v2/projects?pageToken={'x' * 101}",
    f"datasphere/v2/projects?projectNamePattern={'x' * 201}",
    "datasphere/v2/projects/default:stateVariables?notebookId=%FF",
    "datasphere/v1/projects/default:notebookMetadata?notebookPath=text.txt",
    "datasphere/v1/projects/default:cellOutputs?cellId=nb.ipynb/cell/c0&startAt=now",
    "operations/%FF",
]

UNKNOWN_ADDRESSES = [
    "datasphere/v2/projects/%00:execute",
    "datasphere/v2/projects/..%2F..:execute",
    f"datasphere/v1/projects/{'x' * 200}:execute",
    "datasphere/v2/projects/:execute",
    "datasphere//v2/projects",
    "datasphere/v2/projects/",
    "datasphere/v2/projects/default:stateVariables?notebookId=../nb.ipynb",
    "datasphere/v2/projects/default:stateVariables?notebookId=nb.ipynb&checkpointId=none",
    "datasphere/v2/projects/default:stateVariables?notebookId=a%00",
    "datasphere/v1/projects/default:notebookMetadata?notebookPath=%2e%2e/nb.ipynb",
    "datasphere/v1/projects/default:notebookMetadata?notebookPath=.hidden.ipynb",
    "datasphere/v2/projects/default:notebookMetadata?notebookPath=nb.ipynb",
    "datasphere/v1/projects/default:cellOutputs?cellId=nb.ipynb",
    "operations/%00",
    f"operations/{'x' * 3000}",
    "operations/a%2Fb:cancel",
    "operations/:cancel",
    "operations/a:b:cancel",
    "operations/a/b",
]


def assert_refused(answer: httpx.Response, status: int = 400, code: int = 3) -> None:
    body = answer.json()
    told = (answer.status_code, body["code"])
    assert told == (status, code), (answer.request.url, answer.request.content[:100], body)
    assert set(body) == {"code", "message", "details"}
    assert body["message"]
    assert body["details"][-1]["requestId"] == answer.headers["x-request-id"]


async def test_bad_bodies_are_refused(exec_api: ExecApi, datasphere: httpx.AsyncClient) -> None:
    """Nothing runs of any."""
    exec_api.write_notebook("nb.ipynb", "1")
    exec_api.write_notebook(".hidden.ipynb", "1")
    (exec_api.root / "text.txt").write_text("text")

    for bodies, refusal in ((INVALID_BODIES, (400, 3)), (UNKNOWN_TARGETS, (404, 5))):
        for body in bodies:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            assert_refused(await datasphere.post(EXECUTE, content=content), *refusal)
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

    for paths, refusal in ((INVALID_ADDRESSES, (400, 3)), (UNKNOWN_ADDRESSES, (404, 5))):
        for path in paths:
            method = "POST" if path.endswith((":execute", ":cancel")) else "GET"
            content = b"{}" if method == "POST" else None
            assert_refused(await datasphere.request(method, path, content=content), *refusal)
    for content in (
        b"{",
        b"[]",
        b"\xff",
        b'{"pageSize": []}',
        b'{"pageSize": true}',
        b'{"pageSize": 1.5}',
        b'{"pageSize": 1e300}',
        b'{"pageSize": %b}' % (b"1" * 5000),
        b'{"pageToken": 5}',
        b'{"projectNamePattern": "%b"}' % (b"*a" * 300_000),
    ):
        assert_refused(await datasphere.request("GET", "datasphere/v2/projects", content=content))


@pytest.mark.parametrize("exec_config", [{"max_body_bytes": 1000}])
async def test_a_body_that_is_too_large_is_refused(datasphere: httpx.AsyncClient) -> None:
    """With an answer that a client can read."""
    assert_refused(await datasphere.post(EXECUTE, json={"notebookId": "x" * 2000}))


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
