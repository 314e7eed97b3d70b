"""Who may do what through the dialect: the native rights, and errors as the service has them."""

import logging
from typing import Any

import httpx
import pytest
from traitlets.config import Config

from tests.api.test_rights import (
    EXECUTE,
    EXECUTE_KERNELS,
    READ,
    Recorder,
)
from tests.conftest import ExecApi
from tests.dialects.datasphere.conftest import execute, finished

READ_CONTENTS = ("read", "contents")
NOBODY = "00000000-0000-4000-8000-000000000000"
V1, V2 = "datasphere/v1/projects", "datasphere/v2/projects"

RIGHTS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("POST", f"{V2}/default:execute", [EXECUTE, EXECUTE_KERNELS, READ_CONTENTS]),
    ("POST", f"{V1}/default%3Aexecute", [EXECUTE, EXECUTE_KERNELS, READ_CONTENTS]),
    ("GET", "operations/{id}", [READ]),
    ("GET", "datasphere/operations/{id}", [READ]),
    ("GET", "operations/{id}:cancel", [EXECUTE]),
    ("POST", "operations/{id}%3Acancel", [EXECUTE]),
    ("POST", "datasphere/operations/{id}:cancel", [EXECUTE]),
    ("GET", f"{V2}/default:stateVariables?notebookId=nb.ipynb", [READ]),
    ("GET", f"{V2}/default:stateVariables?notebookId=other.ipynb", [READ, READ_CONTENTS]),
    ("GET", f"{V1}/default:cellOutputs?cellId=nb.ipynb/cell/c0", [READ]),
    ("GET", f"{V1}/default:cellOutputs?cellId=other.ipynb/cell/c0", [READ, READ_CONTENTS]),
    ("GET", f"{V1}/default:notebookMetadata?notebookPath=nb.ipynb", [READ_CONTENTS]),
    ("GET", f"{V2}/default", [READ_CONTENTS]),
    ("GET", V1, [READ_CONTENTS]),
    ("POST", V1, []),
    ("GET", "datasphere/nothing", []),
]
"""What each request asks the authorizer, in this order."""


@pytest.fixture
def jp_server_config(jp_server_config: Config) -> Config:
    jp_server_config["ServerApp"]["authorizer_class"] = Recorder
    return jp_server_config


@pytest.fixture
def recorder(jp_serverapp: Any) -> Recorder:
    """The authorizer of the server under test."""
    assert isinstance(jp_serverapp.authorizer, Recorder)
    return jp_serverapp.authorizer


async def test_each_request_asks_for_exactly_the_native_rights(
    exec_api: ExecApi, datasphere: httpx.AsyncClient, recorder: Recorder
) -> None:
    """Each single one is needed, and a refusal is `PERMISSION_DENIED`; nothing has happened."""
    exec_api.write_notebook("nb.ipynb", "1")
    exec_api.write_notebook("other.ipynb", "1")
    one = await execute(datasphere, notebookId="nb.ipynb", outputVariableNames=["x"])

    for method, path, rights in RIGHTS * 2:
        where = path.format(id=one["id"])
        recorder.take()
        recorder.denied = set()
        body = {"notebookId": "none.ipynb"} if "execute" in path else None
        answer = await datasphere.request(method, where, json=body)
        asked = recorder.take()
        if "cancel" in where:
            assert asked.pop() == READ  # Only the body of the answer needs this right.
        assert asked == rights, where
        if rights and "execute" not in path:
            assert answer.status_code == 200, (where, answer.text)
        for right in rights:
            recorder.denied = {right}
            body = {"notebookId": "nb.ipynb"} if "execute" in path else None
            refused = await datasphere.request(method, where, json=body)
            assert (refused.status_code, refused.json()["code"]) == (403, 7), where
    recorder.denied = set()
    left = (await exec_api.request("GET", "executions")).json["executions"]
    assert [record["id"] for record in left] == [one["id"]]


async def test_who_may_not_read_sees_the_id_and_whether_it_is_done_alone(
    exec_api: ExecApi, datasphere: httpx.AsyncClient, recorder: Recorder
) -> None:
    """Of what is cancelled, and of another user's request that is repeated."""
    exec_api.write_notebook("nb.ipynb", "secret = 1")
    body = {"notebookId": "nb.ipynb", "outputVariableNames": ["secret"]}
    key = {"Idempotency-Key": "k"}
    created = await datasphere.post(f"{V2}/default:execute", json=body, headers=key)
    one = (await finished(datasphere, created.json()))["id"]
    recorder.denied = {READ}

    again = await datasphere.post(f"{V2}/default:execute", json=body, headers=key)
    cancelled = await datasphere.get(f"operations/{one}:cancel")

    assert again.json() == cancelled.json() == {"id": one, "done": True}


async def test_tokens_count_as_bearer_and_as_api_key(
    datasphere: httpx.AsyncClient, jp_auth_header: dict[str, str]
) -> None:
    """In any case, as Jupyter's own; anything else is `UNAUTHENTICATED`."""
    token = jp_auth_header["Authorization"].split()[1]

    for scheme in ("Bearer", "bearer", "Api-Key", "API-KEY", "token"):
        headers = {"Authorization": f"{scheme} {token}"}
        answer = await datasphere.get(V2, headers=headers)
        assert answer.status_code == 200, scheme
    for wrong in (f"Api-Key {token}x", f"Api-Key{token}", "Api-Key", f"OAuth {token}", token):
        answer = await datasphere.get(V2, headers={"Authorization": wrong})
        assert (answer.status_code, answer.json()["code"]) == (401, 16), wrong


async def test_a_page_of_another_origin_cannot_cancel_with_the_users_cookie(
    exec_api: ExecApi,
    datasphere: httpx.AsyncClient,
    jp_auth_header: dict[str, str],
) -> None:
    """Not even by a GET, which needs no form: an image of that address does nothing."""
    exec_api.write_notebook("nb.ipynb", "import time\ntime.sleep(100)")
    body = {"notebookId": "nb.ipynb"}
    one = (await datasphere.post(f"{V2}/default:execute", json=body)).json()
    token = jp_auth_header["Authorization"].split()[1]
    async with httpx.AsyncClient(base_url=datasphere.base_url) as http:
        await http.get(f"executions?token={token}")
        assert (await http.get(f"operations/{one['id']}")).json()["done"] is False
        for method in ("GET", "POST"):
            for headers in ({}, {"Referer": "https://evil.example/"}, {"Origin": "https://e.com"}):
                where = f"operations/{one['id']}:cancel"
                answer = await http.request(method, where, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (403, 7)

    running = (await datasphere.get(f"operations/{one['id']}")).json()
    assert running["done"] is False
    await datasphere.get(f"operations/{one['id']}:cancel")
    await finished(datasphere, one)


async def test_options_and_heads_are_answered(datasphere: httpx.AsyncClient) -> None:
    """A browser's question has an empty answer, and a verb that is not served one of 501."""
    for path in (f"{V2}/default:execute", f"operations/{NOBODY}", V2):
        answer = await datasphere.options(path)
        assert (answer.status_code, answer.content) == (200, b"")
        answer = await datasphere.head(path)
        assert (answer.status_code, answer.content) == (501, b"")


async def test_secrets_are_in_no_log(
    exec_api: ExecApi,
    datasphere: httpx.AsyncClient,
    jp_auth_header: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Tokens, inputs, code, values and outputs: not even in one that tells everything."""
    for name in ("httpx", "httpcore"):
        caplog.set_level(logging.CRITICAL, logger=name)
    caplog.set_level(logging.DEBUG)
    token = jp_auth_header["Authorization"].split()[1]
    exec_api.write_notebook("nb.ipynb", "import os\nx = os.environ['A'] + 'canary-code'\nx")
    caplog.clear()
    capfd.readouterr()

    for scheme in ("Bearer", "Api-Key"):
        datasphere.headers["Authorization"] = f"{scheme} {token}"
        operation = await execute(
            datasphere,
            notebookId="nb.ipynb",
            inputVariables={"A": "canary-input"},
            outputVariableNames=["x"],
        )
        assert operation["response"]["outputVariables"]["x"] == "canary-inputcanary-code"
    where = f"{V2}/default:execute"
    for body in (
        {"notebookId": "nb.ipynb", "inputVariables": {"A": "canary-input\0"}},
        {"notebookId": "nb.ipynb", "inputVariables": {"A B": "canary-input"}},
        {"notebookId": "nb.ipynb", "inputVariables": "canary-input"},
    ):
        assert (await datasphere.post(where, json=body)).status_code == 400
    for wrong in ("Bearer canary-token", "Api-Key canary-token"):
        answer = await datasphere.post(where, headers={"Authorization": wrong}, json={})
        assert answer.status_code == 401
        assert "canary" not in answer.text

    log = caplog.text + "".join(capfd.readouterr())
    assert "DEBUG" in log
    assert "canary" not in log
    assert token not in log
