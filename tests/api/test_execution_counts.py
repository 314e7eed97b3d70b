"""The execution counts of cells: the kernel's prompt numbers, in events and in results."""

from typing import Any

from tests.api.following import EventData, FollowingClient
from tests.conftest import ExecApi


def counts_in(events: list[EventData]) -> list[tuple[int, int]]:
    return [
        (event["cell_index"], event["execution_count"])
        for event in events
        if event["type"] == "execution_count"
    ]


async def test_each_cell_has_its_execution_count(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """A cell that failed has one; a cell that did not run has none."""
    exec_api.write_notebook("nb.ipynb", "print('a')", "# nothing", "1/0", "never")
    record = await exec_api.start("nb.ipynb")

    events = await following.events(record)

    record = await exec_api.final(record)
    assert counts_in(events) == [(0, 1), (1, 2), (2, 3)]
    assert record["result"]["execution_counts"] == [
        {"cell_index": index, "execution_count": index + 1} for index in range(3)
    ]
    ends = [event for event in events if "ended_cell_index" in event]
    assert [(end["type"], end["ended_cell_index"], end["execution_count"]) for end in ends] == [
        ("progress", index, index + 1) for index in range(3)
    ]
    assert [end.get("current_cell_index") for end in ends] == [1, 2, None]
    answer = await exec_api.request("GET", "executions", record["id"], "notebook")
    assert [cell["execution_count"] for cell in answer.json["cells"]] == [1, 2, 3, None]


async def test_the_count_comes_before_the_output(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """The kernel announces it when the cell starts, so that a client can show it at once."""
    record = await exec_api.start_code("import time; print(1, flush=True); time.sleep(300)")

    async with following.stream(record) as stream:
        events = await stream.until("stream")
        shown = await exec_api.request("GET", "executions", record["id"])
        await exec_api.request("POST", "executions", record["id"], "cancel", body="")
        await stream.rest()

    assert [event["type"] for event in events[-2:]] == ["execution_count", "stream"]
    assert counts_in(events) == [(0, 1)]
    expected = [{"cell_index": 0, "execution_count": 1}]
    assert shown.json["result"]["execution_counts"] == expected
    final = await exec_api.final(record)
    assert final["state"] == "cancelled"
    assert final["result"]["execution_counts"] == expected


async def test_code_in_a_session_continues_the_count(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Requests of the service itself, as for inputs and variables, do not count."""
    fields: dict[str, Any] = {"session_name": "s", "inputs": {"A": "1"}, "variable_names": ["a"]}
    records = [await exec_api.run_code(f"a = {number}", **fields) for number in range(3)]

    for count, record in enumerate(records, 1):
        events = await following.events(record)
        assert counts_in(events) == [(0, count)]
        (progress,) = [e for e in events if e["type"] == "progress" and e["done"] == 1]
        assert progress["execution_count"] == count
        assert "ended_cell_index" not in progress
        assert record["result"]["execution_counts"] == [{"cell_index": 0, "execution_count": count}]


async def test_a_count_that_code_forges_is_announced_once(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Code can publish any number; only the first announcement and the reply are taken."""
    record = await exec_api.run_code(
        "k = get_ipython().kernel\n"
        "for n in range(1000, 1200):\n"
        "  k.session.send(k.iopub_socket, 'execute_input',\n"
        "    {'code': '', 'execution_count': n}, parent=k.get_parent())"
    )

    assert counts_in(await following.events(record)) == [(0, 1)]
    assert record["result"]["execution_counts"] == [{"cell_index": 0, "execution_count": 1}]


async def test_a_command_has_no_execution_counts(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Its steps are no cells of the user."""
    answer = await exec_api.request(
        "POST", "executions", params={"wait": 60}, json={"command": {"exec": "true"}}
    )

    assert "execution_counts" not in answer.json["result"]
    assert counts_in(await following.events(answer.json)) == []
