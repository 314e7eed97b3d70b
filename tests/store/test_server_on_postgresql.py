"""A server whose records are in PostgreSQL, as in a hub whose user servers have no disk."""

from typing import Any

import pytest

from tests.conftest import ExecApi

from .conftest import Postgresql


@pytest.fixture
def exec_config(postgresql: Postgresql) -> dict[str, Any]:
    return {"db_url": postgresql.new_database()}


async def test_a_notebook_runs_with_its_record_in_postgresql(exec_api: ExecApi) -> None:
    """Outputs, log, list and deletion are the same as with SQLite."""
    record = await exec_api.run_cells(
        "print('\\0 nul and ü')", "x = [1]", variable_names=["x"], labels={"a": "b"}
    )
    listed = await exec_api.request("GET", "executions", params={"label": "a=b"})
    deleted = await exec_api.request("DELETE", "executions", record["id"])

    assert record["state"] == "succeeded"
    assert record["result"]["stdout"] == "\0 nul and ü\n"
    assert record["result"]["variables"]["x"]["json"] == [1]
    assert [item["id"] for item in listed.json["executions"]] == [record["id"]]
    assert deleted.status == 204
