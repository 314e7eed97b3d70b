"""One request with one key is one execution, however often it is sent."""

import asyncio
from typing import Any

import pytest

from tests.conftest import Answer, ExecApi


async def submit(exec_api: ExecApi, key: str, **fields: Any) -> Answer:
    body = {"notebook": {"path": "nb.ipynb"}, **fields}
    headers = {"Idempotency-Key": key}
    return await exec_api.request("POST", "executions", json=body, headers=headers)


async def test_a_request_sent_again_is_the_same_execution(exec_api: ExecApi) -> None:
    """At once, twenty times at the same moment, and after the end: one execution, run once."""
    source = "open('count', 'a').write('x')"
    exec_api.write_notebook("nb.ipynb", source)

    answers = await asyncio.gather(
        *(submit(exec_api, "a key", inputs={"A": "1"}) for _ in range(20))
    )
    record = await exec_api.final(answers[0].json)
    late = await submit(exec_api, "a key", inputs={"A": "1"})

    assert {answer.json["id"] for answer in [*answers, late]} == {record["id"]}
    assert {answer.status for answer in answers} == {202}
    assert (late.status, late.json) == (200, record)
    assert record["idempotency_key"] == "a key"
    assert (exec_api.root / "count").read_text() == "x"


@pytest.mark.parametrize(
    "other", [{"description": "other"}, {"inputs": {"A": "2"}}, {"inputs": {"B": "1"}}]
)
async def test_another_request_with_the_key_is_refused(
    exec_api: ExecApi, other: dict[str, Any]
) -> None:
    """409 names the header; the values of inputs count too."""
    exec_api.write_notebook("nb.ipynb", "1")
    first = await submit(exec_api, "k", inputs={"A": "1"})

    refused = await submit(exec_api, "k", **{"inputs": {"A": "1"}, **other})

    assert first.status == 202
    assert refused.status == 409
    assert refused.json["code"] == "IdempotencyConflict"
    assert refused.json["target"] == "Idempotency-Key"
    await exec_api.final(first.json)


async def test_a_deleted_executions_key_is_free_again(exec_api: ExecApi) -> None:
    """The key is kept as long as the record."""
    exec_api.write_notebook("nb.ipynb", "1")
    first = await exec_api.final((await submit(exec_api, "k")).json)
    await exec_api.request("DELETE", "executions", first["id"])

    second = await submit(exec_api, "k", description="other")

    assert second.status == 202
    assert (await exec_api.final(second.json))["id"] != first["id"]


async def test_a_refused_request_does_not_take_its_key(exec_api: ExecApi) -> None:
    """Sent again after what was wrong is repaired, it is accepted."""
    refused = await submit(exec_api, "k")
    exec_api.write_notebook("nb.ipynb", "1")
    accepted = await submit(exec_api, "k")

    assert refused.status == 404
    assert accepted.status == 202
    await exec_api.final(accepted.json)


@pytest.mark.parametrize("key", ["x" * 257, "a\tb"])
async def test_a_bad_key_is_refused(exec_api: ExecApi, key: str) -> None:
    """422 names the header."""
    exec_api.write_notebook("nb.ipynb", "1")

    refused = await submit(exec_api, key)

    assert refused.status == 422
    assert refused.json["target"] == "Idempotency-Key"
