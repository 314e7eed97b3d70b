"""Secrets that clients give: where they go, and that they are nowhere else."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.services.announcer import EXECUTION_SCHEMA_ID, SESSION_SCHEMA_ID
from tests.conftest import ExecApi

USE_ALL = """
import os, getpass
n = len(os.environ['A_KEY'] + os.environ['B_KEY'] + input() + getpass.getpass())
"""


def install_broken_kernel(data_dir: Path) -> str:
    """Write the kernelspec of a kernel whose program is missing, and return its name."""
    folder = data_dir / "kernels" / "broken"
    folder.mkdir(parents=True)
    argv = ["/no/such/program", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Broken", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    return "broken"


async def test_secrets_are_nowhere_but_in_the_kernel(
    exec_api: ExecApi,
    exec_app: ExecApp,
    jp_data_dir: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Inputs, environments and answers: in no answer, log, event or file; code is in its record."""
    caplog.set_level(logging.DEBUG)
    server: Any = exec_app.serverapp
    heard: list[Any] = []

    async def listen(logger: Any, schema_id: str, data: dict[str, Any]) -> None:
        heard.append(data)

    for schema_id in (EXECUTION_SCHEMA_ID, SESSION_SCHEMA_ID):
        server.event_logger.add_listener(schema_id=schema_id, listener=listen)
    answers = []

    async def send(method: str, *parts: str, **kwargs: Any) -> Any:
        answer = await exec_api.request(method, *parts, **kwargs)
        answers.append(answer)
        return answer.json if answer.body else None

    # Where all goes well: prepared answers, and such that are sent.
    session = await send("POST", "sessions", json={"environment": {"B_KEY": "canary-env"}})
    path = ("sessions", session["id"])
    body = {"session_id": session["id"], "code": USE_ALL, "inputs": {"A_KEY": "canary-input"}}
    prepared = await send(
        "POST",
        "executions",
        params={"wait": 60},
        json={**body, "stdin": ["canary-stdin", "canary-stdin"], "variable_names": ["n"]},
    )
    asking = await send("POST", "executions", json=body)
    of_asking = ("executions", asking["id"])
    for _ in range(2):
        await exec_api.until(asking, lambda shown: "input_request" in shown)
        await send("POST", *of_asking, "input", json={"value": "canary-answer"})
    asked = await exec_api.final(asking)
    await send("POST", *path, "restart")
    assert (prepared["state"], asked["state"]) == ("succeeded", "succeeded")
    assert prepared["result"]["variables"]["n"]["json"] == len("canary-inputcanary-env") + 24

    # Where it does not.
    headers = {"Idempotency-Key": "k"}
    for wrong in (
        {"inputs": {"A KEY": "canary-input"}},
        {"inputs": {"A_KEY": "canary-input\0"}},
        {"inputs": {"PATH": "canary-input"}},
        {"stdin": ["canary-stdin", 5]},
        {"stdin": ["canary-stdin"] * 1001},
        {"inputs": {"A_KEY": "canary-input"}},
        {"inputs": {"A_KEY": "canary-input-2"}},
    ):
        fields = {**body, "code": "1", **wrong}
        await send("POST", "executions", json=fields, headers=headers)
    for environment in ({"B KEY": "canary-env"}, {"B_KEY": "canary-env\0"}, {"PATH": "canary-env"}):
        await send("POST", "sessions", json={"environment": environment})
    await send("POST", *of_asking, "input", json={"value": "canary-answer"})
    await send("POST", *of_asking, "input", json={"value": ["canary-answer"]})
    broken = {"kernel_name": install_broken_kernel(jp_data_dir)}
    await send(
        "POST",
        "executions",
        params={"wait": 60},
        json={
            **broken,
            "code": "1",
            "inputs": {"A_KEY": "canary-input"},
            "stdin": ["canary-stdin"],
        },
    )
    await send("POST", "sessions", json={**broken, "environment": {"B_KEY": "canary-env"}})
    await exec_api.run_code(
        "import os; os._exit(1)", session_id=session["id"], inputs={"A_KEY": "canary-input"}
    )
    coded = await exec_api.run_code("'canary-code'", session_id=session["id"])
    await send("GET", "executions")
    for what in ("", "/events", "/log", "/notebook"):
        answers += [await exec_api.request("GET", f"executions/{asking['id']}{what}")]
    await send("GET", *path)
    await send("DELETE", *path)

    log = caplog.text + "".join(capfd.readouterr())
    assert "DEBUG" in log
    assert "canary" not in log
    assert "canary" not in str(heard)
    given = ("canary-input", "canary-env", "canary-stdin", "canary-answer")
    answered = b"".join(answer.body for answer in answers)
    files = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert coded["id"].encode() in files
    assert b"canary-code" in files
    for secret in given:
        assert secret.encode() not in answered
        assert secret.encode() not in files
