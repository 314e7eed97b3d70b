"""Two dialects on one session: what one uploads or defines, the other reads."""

import json
from typing import Any

from tests.conftest import WAIT_SECONDS, ExecApi

AZURE = {"api-version": "2025-02-02-preview", "identifier": "demo-01"}
BOUNDARY = "frontier"


def form(field: str, name: str, data: bytes) -> bytes:
    """Return a form with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"'
    return f"{head}\r\n\r\n".encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


async def test_two_dialects_share_one_session(exec_api: ExecApi, jp_fetch: Any) -> None:
    """Variables and files, both ways; the native API shows the executions of both."""

    async def call(method: str, *parts: str, **options: Any) -> Any:
        if "json" in options:
            options["body"] = json.dumps(options.pop("json"))
            options["headers"] = {"Content-Type": "application/json"}
        if "files" in options:
            options["body"] = form(*options.pop("files"))
            options["headers"] = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        return await jp_fetch(
            "exec",
            *parts,
            method=method,
            allow_nonstandard_methods=True,
            request_timeout=WAIT_SECONDS,
            **options,
        )

    async def azure(code: str) -> Any:
        body = {
            "codeInputType": "Inline",
            "executionType": "Synchronous",
            "code": code,
            "timeoutInSeconds": 60,
        }
        answer = await call("POST", "azure", "executions", params=AZURE, json=body)
        return json.loads(answer.body)["result"]

    async def backendai(code: str) -> str:
        run: dict[str, Any] = {"mode": "query", "code": code, "runId": None}
        console = ""
        while True:
            answer = await call("POST", "backendai", "session", "demo-01", json=run)
            result = json.loads(answer.body)["result"]
            console += "".join(data for _, data in result["console"])
            if result["status"] == "finished":
                return console
            run = {"mode": "continue", "code": "", "runId": result["runId"]}

    await azure("x = 41")
    await call("POST", "azure", "files", params=AZURE, files=("file", "of-azure.txt", b"one"))
    created = await call(
        "POST",
        *("backendai", "session"),
        json={"name": "demo-01", "image": "python", "reuseIfExists": True},
    )
    seen = await backendai("x + 1, open('of-azure.txt').read()")
    await backendai("y = 6")
    await call(
        "POST",
        *("backendai", "session", "demo-01", "upload"),
        files=("src", "of-backendai.txt", b"two"),
    )
    result = await azure("y * 7")
    content = await call("GET", "azure", "files", "of-backendai.txt", "content", params=AZURE)
    (session,) = (await exec_api.request("GET", "sessions")).json["sessions"]
    records = (await exec_api.request("GET", "executions")).json["executions"]

    assert json.loads(created.body)["created"] is False
    assert "(42, 'one')" in seen
    assert result["executionResult"] == 42
    assert content.body == b"two"
    assert session["name"] == "demo-01"
    assert session["keep_files"] is False
    assert {record["session_id"] for record in records} == {session["id"]}
    assert {record["labels"]["dialect"] for record in records} == {"azure", "backendai"}
