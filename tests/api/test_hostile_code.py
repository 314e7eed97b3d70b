"""Code that sends what no kernel sends, prints without end, or does things to its surroundings."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_server.serverapp import ServerApp

from jupyter_exec_ext.app import ExecApp
from tests.conftest import ExecApi

FORGE = """
kernel = get_ipython().kernel
def forge(msg_type, content, parent=None, **changes):
    message = kernel.session.msg(msg_type, content, parent=parent)
    message.update(changes)
    kernel.session.send(kernel.iopub_socket, message)
parent = kernel.get_parent()
"""


@pytest.mark.parametrize(
    "attack",
    [
        "forge('stream', {'name': 'stdout', 'text': 'x'}, parent_header=[1])",
        "forge('stream', {'name': 'stdout', 'text': 'x'}, parent_header={'msg_id': [1]})",
        "forge('status', b'[1]', parent)",
        "forge('status', b'[1]')",
        "forge('stream', b'nonsense', parent)",
        "forge('display_data', {'data': 5}, parent)",
        "kernel.iopub_socket.send_multipart([b'<IDS|MSG>'])",
        "kernel.iopub_socket.send_multipart([b'stream'])",
        "kernel.iopub_socket.send_multipart([b'<IDS|MSG>', b'no', b'{}', b'{}', b'{}', b'{}'])",
    ],
)
async def test_a_malformed_message_does_not_end_the_output(exec_api: ExecApi, attack: str) -> None:
    """What comes after it, in this cell and the next, is there."""
    record = await exec_api.run_cells(f"{FORGE}\n{attack}\nprint('after')", "print('third')")

    assert record["state"] == "succeeded"
    assert record["result"]["stdout"] == "after\nthird\n"


async def test_a_forged_reply_is_an_error_of_the_code(exec_api: ExecApi) -> None:
    """A traceback that is none does not make the run a defect of ours."""
    record = await exec_api.run_cells(
        "async def forged(*a, **k): return {'status': 'error', 'traceback': 5, 'ename': None}\n"
        "get_ipython().kernel.do_execute = forged",
        "1",
    )

    assert record["state"] == "failed"
    assert record["error"]["code"] == "CodeError"


@pytest.mark.parametrize("count", ["{'a': 1}", "-1", "True", "10**30", "1.5"])
async def test_a_forged_prompt_number_is_ignored(exec_api: ExecApi, count: str) -> None:
    """The record and the notebook have the number that the kernel announced with the input."""
    record = await exec_api.run_cells(
        f"async def forged(*a, **k): return {{'status': 'ok', 'execution_count': {count}}}\n"
        "get_ipython().kernel.do_execute = forged",
        "1",
    )

    assert record["state"] == "succeeded"
    assert (await exec_api.notebook(record))["cells"][1]["execution_count"] == 2


async def test_numbers_that_are_no_json_arrive(exec_api: ExecApi) -> None:
    """NaN in a message does not lose the message."""
    record = await exec_api.run_cells(
        "from IPython.display import publish_display_data as show\n"
        "show({'application/json': {'a': float('nan')}, 'text/plain': 'nan'})"
    )

    assert record["state"] == "succeeded"
    assert record["result"]["outputs"][0]["data"]["text/plain"] == "nan"


async def test_an_endless_message_of_an_exception_is_cut(exec_api: ExecApi) -> None:
    """The record of a failed run stays small; the beginning and the end are kept."""
    record = await exec_api.run_cells("raise ValueError('begin' + 'x' * 20_000_000 + 'end')")

    answer = await exec_api.request("GET", "executions", record["id"], params={"view": "basic"})
    assert len(answer.body) < 100_000
    assert record["error"]["evalue"].startswith("begin")
    assert record["error"]["evalue"].endswith("end")
    assert "characters left out" in record["error"]["evalue"]


async def test_one_print_of_all_that_is_kept_ten_times(exec_api: ExecApi) -> None:
    """Beginning and end of 100 MB at once are kept, and what is missing is counted."""
    record = await exec_api.run_cells("print('begin' + 'x' * 100_000_000 + 'end')", "print('next')")

    result = record["result"]
    truncated = result["truncated"]
    assert record["state"] == "succeeded"
    assert truncated["total_bytes"] == 100_000_000 + len("beginend\nnext\n")
    assert truncated["kept_bytes"] <= 10_000_000
    assert result["stdout"].startswith("beginxxx")
    assert result["stdout"].endswith("xend\nnext\n")
    assert f"[... {100_000_014 - truncated['kept_bytes']} bytes left out ...]" in result["stdout"]
    log = await exec_api.log(record)
    assert log.startswith("begin")
    assert "[... output left out ...]" in log


async def test_runs_that_save_in_place_at_once_lose_nothing(exec_api: ExecApi) -> None:
    """One saves over the notebook, the others beside it, and each file is a whole notebook."""
    source = (
        "import pathlib, time, os\nprint(os.getpid(), flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.005)"
    )
    exec_api.write_notebook("nb.ipynb", source)
    started = [await exec_api.start("nb.ipynb", save_to="in_place") for _ in range(4)]
    for record in started:
        await exec_api.until(record, lambda shown: bool(shown["result"]["stdout"]))
    (exec_api.root / "go").touch()

    results = [(await exec_api.final(record))["result"] for record in started]

    paths = [result["notebook_path"] for result in results]
    assert len(set(paths)) == 4
    assert sum("save_conflict" not in result for result in results) == 1
    files = [file.name for file in exec_api.root.glob("*.ipynb*") if file.is_file()]
    assert sorted(files) == sorted(paths)
    for result in results:
        saved = nbformat.read(exec_api.root / result["notebook_path"], as_version=4)
        assert saved.cells[0].outputs[0].text == result["stdout"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
async def test_a_pipe_is_no_place_to_save_to(exec_api: ExecApi) -> None:
    """Refused when it is there already; an error of saving when the code makes it meanwhile."""
    os.mkfifo(exec_api.root / "pipe.ipynb")
    exec_api.write_notebook("nb.ipynb", "import os; os.mkfifo('later.ipynb')")

    refused = await exec_api.request(
        "POST", "executions", json={"notebook": {"path": "nb.ipynb", "save_to": "pipe.ipynb"}}
    )
    record = await exec_api.run("nb.ipynb", save_to="later.ipynb")

    assert (refused.status, refused.json["target"]) == (422, "notebook.save_to")
    assert record["state"] == "succeeded"
    assert "save_error" in record["result"]


async def test_a_database_that_is_removed_loses_no_live_execution(
    exec_api: ExecApi, exec_app: ExecApp, tmp_path: Path
) -> None:
    """What ran is stored anew at its end."""
    exec_api.write_notebook(
        "nb.ipynb",
        "import pathlib, time\nprint('here', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)",
    )
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "here")
    for file in (tmp_path / "store").glob("executions.sqlite*"):
        file.unlink()
    (exec_api.root / "go").touch()

    record = await exec_api.final(record)

    async def listed() -> list[str]:
        answer = await exec_api.request("GET", "executions")
        assert answer.status in (200, 503), answer.body
        return [item["id"] for item in answer.json.get("executions", [])]

    async with asyncio.timeout(30):
        while await listed() != [record["id"]]:
            await asyncio.sleep(0.05)
            await exec_app.turns.store_unstored()  # as upkeep does
    assert record["state"] == "succeeded"
    assert (await exec_api.get(record))["result"]["stdout"] == "here\n"


@pytest.mark.parametrize("length", ["abc", "5, 5", "-1", "9" * 5_000])
async def test_a_length_that_is_none_is_a_bad_request(
    exec_api: ExecApi, jp_serverapp: ServerApp, jp_auth_header: dict[str, Any], length: str
) -> None:
    """Never a status of 500, which would put all headers into the server's log."""
    reader, writer = await asyncio.open_connection("127.0.0.1", jp_serverapp.port)
    authorization = jp_auth_header["Authorization"]
    writer.write(
        f"POST /user/a%40b/exec/executions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: {authorization}\r\nContent-Length: {length}\r\n\r\n{{}}   ".encode()
    )

    async with asyncio.timeout(20):
        status_line = await reader.readline()

    writer.close()
    await writer.wait_closed()
    assert status_line.split()[1] == b"400"
