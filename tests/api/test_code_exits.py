"""Code that ends its own run: `sys.exit`, `exit` and `quit`, and what becomes of the kernel."""

from typing import Any

import pytest

from tests.conftest import ExecApi

LATER = "open('later', 'w').close()"


async def run_in(exec_api: ExecApi, session: dict[str, Any], *sources: Any, **fields: Any) -> Any:
    return await exec_api.run_cells(*sources, session_id=session["id"], **fields)


@pytest.mark.parametrize("code", ["exit(0)", "import asyncio; await asyncio.sleep(0)\nquit()"])
async def test_exit_ends_the_run_and_the_kernel(exec_api: ExecApi, code: str) -> None:
    """No later cell runs, the record says so, and the session goes on in a fresh kernel."""
    session = await exec_api.new_session()

    record = await run_in(exec_api, session, "x = 1", code, LATER, variable_names=["x"])
    after = await exec_api.run_code("'x' in globals()", session_id=session["id"])
    last = await exec_api.run_code("1", session_id=session["id"])

    assert record["state"] == "succeeded", record
    exit_code = {"exit_code": 0} if code == "exit(0)" else {}
    assert record["code_exit"] == {
        "kernel_ended": True,
        "cell_id": "c1",
        "cell_index": 1,
        **exit_code,
    }
    assert record["progress"]["done"] == 2
    assert "the code ended the kernel" in record["result"]["variables"]["x"]["error"]
    assert not list(exec_api.root.rglob("later"))
    assert (after["state"], after["result"].get("value")) == ("succeeded", False), after
    assert after["kernel_lost"]["code"] == "KernelDied"
    assert "the code ended the kernel" in after["kernel_lost"]["message"]
    assert "kernel_lost" not in last


async def test_exit_without_a_session(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """Code alone has no cell to name; an error after the exit is the code's failure."""
    first = await exec_api.run_code("print('here')\nexit()")
    second = await exec_api.run_cells("exit(); 1/0", LATER, on_error="continue")

    assert (first["state"], first["code_exit"]) == ("succeeded", {"kernel_ended": True})
    assert first["result"]["stdout"] == "here\n"
    assert (second["state"], second["error"]["ename"]) == ("failed", "ZeroDivisionError")
    assert second["code_exit"]["kernel_ended"] is True
    assert not (exec_api.root / "later").exists()
    assert jp_serverapp.kernel_manager.list_kernels() == []


async def test_what_waits_when_code_ends_the_kernel_runs_in_a_fresh_one(
    exec_api: ExecApi,
) -> None:
    """An exit is not a death of the kernel: only what requests `on_kernel_death: fail` fails."""
    session = await exec_api.new_session()
    await exec_api.run_code("x = 1", session_id=session["id"])
    exits = await exec_api.start_code("exit() if input() else None", session_id=session["id"])
    await exec_api.until(exits, lambda shown: "input_request" in shown)
    code = "'x' in globals()"
    waiting = [
        await exec_api.start_code(code, session_id=session["id"], **fields)
        for fields in ({}, {"on_kernel_death": "fail"}, {"on_kernel_death": "continue"}, {})
    ]

    await exec_api.request("POST", "executions", exits["id"], "input", json={"value": "go"})
    exits = await exec_api.final(exits)
    next_one, fails, continues, last = [await exec_api.final(record) for record in waiting]

    assert (exits["state"], exits["code_exit"]) == ("succeeded", {"kernel_ended": True})
    for record in (next_one, continues, last):
        assert (record["state"], record["result"]["value"]) == ("succeeded", False)
    assert next_one["kernel_lost"]["code"] == "KernelDied"
    assert "the code ended the kernel" in next_one["kernel_lost"]["message"]
    assert not [record for record in (continues, last) if "kernel_lost" in record]
    assert "on_kernel_death" not in next_one
    assert (fails["state"], fails["error"]["code"]) == ("failed", "SessionLost")
    assert (fails["started"], fails["on_kernel_death"]) == (False, "fail")


async def test_exit_in_a_kernel_of_another_client(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """The server restarts it; the next execution of the attached session waits for that."""
    kernel_id = await jp_serverapp.kernel_manager.start_kernel(kernel_name="python3", path="")
    session = await exec_api.new_session(kernel_id=kernel_id)

    record = await exec_api.run_code("exit()", session_id=session["id"])
    after = await exec_api.run_code("'fresh'", session_id=session["id"])

    assert record["code_exit"]["kernel_ended"] is True
    assert after["result"]["value"] == "fresh", after
    assert after["kernel_lost"]["code"] == "KernelDied"
    assert after["kernel_id"] == kernel_id


async def test_exit_that_keeps_the_kernel(exec_api: ExecApi) -> None:
    """`exit(keep_kernel=True)` ends the run, and the variables stay."""
    session = await exec_api.new_session()

    record = await run_in(exec_api, session, "x = 1", "exit(keep_kernel=True)", "x = 2")
    after = await exec_api.run_code("x", session_id=session["id"])

    assert record["state"] == "succeeded"
    assert record["code_exit"] == {"kernel_ended": False, "cell_id": "c1", "cell_index": 1}
    assert after["result"]["value"] == 1
    assert "kernel_lost" not in after


async def test_quitting_r(exec_api: ExecApi, ir_kernel: str) -> None:
    """IRkernel leaves it to its client to end it."""
    session = await exec_api.new_session(kernel_name=ir_kernel)

    record = await exec_api.run_code("x <- 1; q()", session_id=session["id"])
    after = await exec_api.run_code("cat(exists('x'))", session_id=session["id"])

    assert (record["state"], record["code_exit"]) == ("succeeded", {"kernel_ended": True})
    assert after["result"]["stdout"] == "FALSE"
    assert after["kernel_lost"]["code"] == "KernelDied"


ENDS_WELL = ("sys.exit(0)", "sys.exit()", "raise SystemExit", "sys.exit(None)", "sys.exit(False)")
FAILS = {
    "sys.exit(3)": 3,
    "sys.exit('no data')": 1,
    "sys.exit(True)": 1,
    "sys.exit(-1)": 255,
    "sys.exit(2**40 + 5)": 5,
    "exit(3)": 3,
    "exit('no data')": 1,
}


async def test_the_exit_status_decides(exec_api: ExecApi) -> None:
    """Status 0 is a success that ends the run; any other is a failure that has the status."""
    session = await exec_api.new_session()

    for code in (*ENDS_WELL, *FAILS):
        record = await run_in(
            exec_api, session, f"import sys; x = 1\n{code}", "x = 2", variable_names=["x"]
        )

        status = FAILS.get(code, 0)
        assert record["state"] == ("failed" if status else "succeeded"), code
        assert record["code_exit"] == {
            "exit_code": status,
            "kernel_ended": False,
            "cell_id": "c0",
            "cell_index": 0,
        }
        assert record["progress"]["done"] == 1
        assert record["result"]["variables"]["x"]["json"] == 1
        if status:
            assert (record["error"]["code"], record["error"]["exit_code"]) == ("CodeError", status)
            assert ("ename" in record["error"]) == code.startswith("sys.")


async def test_an_exit_is_an_exception_where_those_are_allowed(exec_api: ExecApi) -> None:
    """By the cell's tag in any case, by `on_error` where the status is a failure."""
    session = await exec_api.new_session()
    allowed = {"source": "sys.exit(0)", "metadata": {"tags": ["raises-exception"]}}

    record = await run_in(
        exec_api,
        session,
        "import sys; x = 1",
        allowed,
        "x += 1; sys.exit(3)",
        "x += 1",
        on_error="continue",
        variable_names=["x"],
    )

    assert (record["state"], record["error"]["exit_code"]) == ("failed", 3)
    assert record["result"]["variables"]["x"]["json"] == 3
    assert "code_exit" not in record
