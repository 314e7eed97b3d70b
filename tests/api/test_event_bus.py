"""What the server's event bus hears of executions and sessions."""

from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.services.announcer import EXECUTION_SCHEMA_ID, SESSION_SCHEMA_ID
from tests.api.commanding import run_command
from tests.conftest import ExecApi


@pytest.fixture
def heard(exec_app: ExecApp) -> list[tuple[str, dict[str, Any]]]:
    """What a listener on the event bus has heard, each with its schema."""
    server: Any = exec_app.serverapp
    events: list[tuple[str, dict[str, Any]]] = []

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        events.append((schema_id, data))

    for schema_id in (EXECUTION_SCHEMA_ID, SESSION_SCHEMA_ID):
        server.event_logger.add_listener(schema_id=schema_id, listener=listen)
    return events


async def test_each_state_of_an_execution_is_told(
    exec_api: ExecApi, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    """In order, with what identifies it, and nothing of what it ran or left."""
    record = await exec_api.run_code(
        "print('secret-output'); 'secret-value'", inputs={"A": "secret-input"}
    )

    mine = [data for _, data in heard if data.get("execution_id") == record["id"]]
    assert [data["state"] for data in mine] == ["pending", "running", "succeeded"]
    assert {data["session_id"] for data in mine} == {record["session_id"]}
    assert {data["type"] for data in mine} == {"code"}
    assert "secret" not in str(heard)


async def test_a_command_is_told_as_one(
    exec_api: ExecApi, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    """What it runs is not."""
    record = await run_command(exec_api, "echo secret; exit 3")

    mine = [data for _, data in heard if data.get("execution_id") == record["id"]]
    assert [data["state"] for data in mine] == ["pending", "running", "failed"]
    assert {data["type"] for data in mine} == {"command"}
    assert mine[-1]["error_code"] == "CommandFailed"
    assert "secret" not in str(heard)


async def test_why_an_execution_failed_or_was_cancelled_is_told(
    exec_api: ExecApi, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    """By the code of its error; a cancelled one passes through cancelling."""
    failed = await exec_api.run_code("1/0")
    sleeper = await exec_api.start_code("import time; print('here', flush=True); time.sleep(60)")
    await exec_api.until_printed(sleeper, "here")
    await exec_api.request("POST", "executions", sleeper["id"], "cancel")
    await exec_api.final(sleeper)

    of_failed = [data for _, data in heard if data.get("execution_id") == failed["id"]]
    of_cancelled = [data for _, data in heard if data.get("execution_id") == sleeper["id"]]
    assert of_failed[-1]["error_code"] == "CodeError"
    assert [data["state"] for data in of_cancelled] == [
        "pending",
        "running",
        "cancelling",
        "cancelled",
    ]


async def test_the_life_of_a_session_is_told(
    exec_api: ExecApi, heard: list[tuple[str, dict[str, Any]]]
) -> None:
    """That it is there, that its kernel is ready, and that it ended."""
    session = await exec_api.new_session(name="mine")
    await exec_api.until_session(session["id"], lambda shown: "kernel_id" in shown)
    await exec_api.request("DELETE", "sessions", session["id"])

    states = [data["state"] for schema_id, data in heard if schema_id == SESSION_SCHEMA_ID]
    assert states[-1] == "ended"
    assert "idle" in states
    assert {data.get("name") for schema_id, data in heard if schema_id == SESSION_SCHEMA_ID} == {
        "mine"
    }


async def test_a_listener_that_fails_harms_nothing(exec_api: ExecApi, exec_app: ExecApp) -> None:
    """The execution ends as it would have."""
    server: Any = exec_app.serverapp

    async def fail(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        raise RuntimeError("a defect of the listener")

    server.event_logger.add_listener(schema_id=EXECUTION_SCHEMA_ID, listener=fail)

    assert (await exec_api.run_code("1"))["state"] == "succeeded"
