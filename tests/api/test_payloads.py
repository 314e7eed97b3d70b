"""What a kernel requests of its client with a reply: pages to show, text for the next cell."""

from typing import Any

import pytest

from tests.api.following import FollowingClient
from tests.conftest import ExecApi


async def test_a_page_is_an_output(exec_api: ExecApi, following: FollowingClient) -> None:
    """As in JupyterLab: after the cell's other outputs, and in the saved notebook."""
    exec_api.write_notebook("nb.ipynb", "print('first')\nlen?", "%pinfo print", "x = 1")

    record = await exec_api.run("nb.ipynb", save_to="out.ipynb")
    events = await following.events(record)

    stream, first, second = record["result"]["outputs"]
    assert stream["text"] == "first\n"
    assert first["output_type"] == second["output_type"] == "display_data"
    assert "Return the number of items" in first["data"]["text/plain"]
    assert "Prints the values to a stream" in second["data"]["text/plain"]
    assert "payloads" not in record["result"]
    cells = (await exec_api.notebook(record))["cells"]
    assert [len(cell["outputs"]) for cell in cells] == [2, 1, 0]
    outputs = [event for event in events if event["type"] == "output"]
    assert [(event["cell_index"], event["output"]) for event in outputs] == [
        (0, first),
        (1, second),
    ]


async def test_other_payloads_are_events_and_in_the_record(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Whatever their kind; a cell that fails may have some too."""
    (exec_api.root / "helper.py").write_text("x = 'é'\n")
    exec_api.write_notebook("nb.ipynb", "1", "%load helper.py", "exit(keep_kernel=True)\n1/0")

    record = await exec_api.run("nb.ipynb")
    events = await following.events(record)

    load = {"source": "set_next_input", "text": "# %load helper.py\nx = 'é'\n", "replace": True}
    leave = {"source": "ask_exit", "keepkernel": True}
    payloads = [{"cell_index": 1, "payload": load}, {"cell_index": 2, "payload": leave}]
    assert record["result"]["payloads"] == payloads
    assert [
        {key: event[key] for key in ("cell_index", "payload")}
        for event in events
        if event["type"] == "payload"
    ] == payloads


async def test_help_of_r_is_an_output(exec_api: ExecApi, ir_kernel: str) -> None:
    """IRkernel makes pages in several types."""
    record = await exec_api.run_code("?mean", kernel_name=ir_kernel)

    (output,) = record["result"]["outputs"]
    assert "Arithmetic Mean" in output["data"]["text/html"]


@pytest.mark.parametrize("exec_config", [{"max_display_bytes": 10_000}])
async def test_payloads_keep_to_the_limits_of_outputs(exec_api: ExecApi) -> None:
    """What is too large is left out, and the record says that something was."""
    text = "get_ipython().set_next_input('x' * {})"
    session = await exec_api.new_session()

    small = await exec_api.run_code(text.format(9_000), session_id=session["id"])
    large = await exec_api.run_code(text.format(11_000), session_id=session["id"])

    payloads: list[dict[str, Any]] = small["result"]["payloads"]
    assert payloads[0]["payload"]["text"] == "x" * 9_000
    assert "truncated" not in small["result"]
    assert "payloads" not in large["result"]
    truncated = large["result"]["truncated"]
    assert truncated["kept_bytes"] == 0
    assert truncated["total_bytes"] > 11_000
