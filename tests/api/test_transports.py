"""Ways to a kernel other than plain TCP, as operators can choose them for their server."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from traitlets.config import Config

from tests.conftest import ExecApi

IPC = {"KernelManager": {"transport": "ipc"}}
ENCRYPTED = {"KernelManager": {"transport_encryption": "required"}}


@pytest.fixture
def jp_runtime_dir() -> Iterator[Path]:
    """A folder with a short name, since that of a Unix socket has no more than 107 characters."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def jp_server_config(jp_server_config: Config, request: pytest.FixtureRequest) -> Config:
    jp_server_config.merge(Config(request.param))
    return jp_server_config


@pytest.mark.parametrize("jp_server_config", [IPC, ENCRYPTED], ids=["ipc", "curve"], indirect=True)
async def test_sessions_work_over_any_transport(exec_api: ExecApi) -> None:
    """Output, values, questions, interrupts and a restart, for which each channel is needed."""
    session = await exec_api.new_session()
    in_session = {"session_id": session["id"]}

    first = await exec_api.run_code("print('out'); input()", stdin=["Ada"], **in_session)
    assert first["state"] == "succeeded", first
    sleeper = await exec_api.start_code(
        "import time; print('here', flush=True); time.sleep(60)", **in_session
    )
    await exec_api.until_printed(sleeper, "here")
    await exec_api.request("POST", "executions", sleeper["id"], "cancel")
    cancelled = await exec_api.final(sleeper)
    await exec_api.request("POST", "sessions", session["id"], "restart")
    after = await exec_api.run_code("6 * 7", **in_session)

    assert first["result"]["stdout"].startswith("out\n")
    assert first["result"]["value"] == "Ada"
    assert cancelled["state"] == "cancelled"
    assert after["result"]["value"] == 42
    assert after["kernel_lost"]["code"] == "KernelRestarted"
