"""Executions of code found by the notebook and the cell that the code comes from."""

from typing import Any

import pytest

from tests.conftest import ExecApi


async def ids(exec_api: ExecApi, **filters: str) -> list[str]:
    answer = await exec_api.request(
        "GET", "executions", params={"order_by": "created_time", **filters}
    )
    assert answer.status == 200, answer.body
    return [execution["id"] for execution in answer.json["executions"]]


async def test_code_is_found_by_its_notebook_and_cell(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """By each alone and by both, with other filters; the record and lists show the origin."""
    path = "RTC:Ordner/ä b.ipynb"
    origins: list[dict[str, Any]] = [
        {"path": path, "cell_id": "c1"},
        {"path": path, "cell_id": "c2"},
        {"path": "other.ipynb", "cell_id": "c1"},
        {"path": path},
    ]
    records = [
        await exec_api.run_code("1", kernel_name=echo_kernel_name, origin=origin)
        for origin in origins
    ]
    await exec_api.run_code("1", kernel_name=echo_kernel_name)
    one, two, three, four = [record["id"] for record in records]

    assert [record["origin"] for record in records] == origins
    assert await ids(exec_api, origin_path=path) == [one, two, four]
    assert await ids(exec_api, origin_path=path, origin_cell_id="c1") == [one]
    assert await ids(exec_api, origin_cell_id="c1") == [one, three]
    assert await ids(exec_api, origin_path=path, state="succeeded", type="code") == [one, two, four]
    assert await ids(exec_api, origin_path=path, state="failed") == []
    assert await ids(exec_api, origin_path=path, origin_cell_id="c3") == []
    assert await ids(exec_api, origin_path="") == []
    assert await ids(exec_api, path=path) == []
    listed = await exec_api.request("GET", "executions", params={"origin_cell_id": "c2"})
    assert [execution["origin"] for execution in listed.json["executions"]] == [origins[1]]
    deleted = await exec_api.request("DELETE", "executions", params={"origin_path": path})
    assert deleted.json == {"deleted": 3}
    assert await ids(exec_api, origin_cell_id="c1") == [three]


async def test_an_origin_has_a_limit(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """1,024 characters each; long texts that differ at their end only are told apart."""
    longest = "ä" * 1_024
    request = {"code": "1", "kernel_name": echo_kernel_name}
    accepted = await exec_api.request(
        "POST", "executions", json={**request, "origin": {"path": longest, "cell_id": longest}}
    )
    assert accepted.status == 202
    assert await ids(exec_api, origin_path=longest, origin_cell_id=longest) == [accepted.json["id"]]
    assert await ids(exec_api, origin_path=f"{longest[:-1]}o") == []

    for origin, target in (
        ({"path": longest + "ä"}, "origin.path"),
        ({"path": ""}, "origin.path"),
        ({"path": "a", "cell_id": longest + "ä"}, "origin.cell_id"),
        ({"path": "a", "cell_id": ""}, "origin.cell_id"),
    ):
        answer = await exec_api.request("POST", "executions", json={**request, "origin": origin})
        assert (answer.status, answer.json["target"]) == (422, target)


@pytest.mark.parametrize(
    "source", [{"notebook": {"path": "nb.ipynb"}}, {"command": {"exec": "true"}}]
)
async def test_only_code_has_an_origin(exec_api: ExecApi, source: dict[str, Any]) -> None:
    """A notebook has its path already."""
    exec_api.write_notebook("nb.ipynb", "1")

    answer = await exec_api.request(
        "POST", "executions", json={**source, "origin": {"path": "nb.ipynb"}}
    )

    assert (answer.status, answer.json["target"]) == (422, "origin")


async def test_the_event_bus_has_the_origin(
    exec_api: ExecApi, echo_kernel_name: str, jp_serverapp: Any
) -> None:
    """So that a page finds out about the cells that another page runs."""
    seen: list[dict[str, Any]] = []

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        seen.append(data)

    schema_id = "https://events.jupyter.org/jupyter_exec_ext/execution/v1"
    jp_serverapp.event_logger.add_listener(schema_id=schema_id, listener=listen)

    await exec_api.run_code(
        "1", kernel_name=echo_kernel_name, origin={"path": "nb.ipynb", "cell_id": "c1"}
    )

    assert {data["state"] for data in seen} >= {"pending", "running", "succeeded"}
    assert {(data["origin_path"], data["origin_cell_id"]) for data in seen} == {("nb.ipynb", "c1")}
