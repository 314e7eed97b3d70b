"""The wire format, field by field: recorded exchanges."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import WAIT_SECONDS, Answer, ExecApi
from tests.dialects.replay import recordings, replay

UNTIL_DONE = "x-until-done"
"""A request with this header, which is not sent, is repeated until the operation is done."""

DAILY = "reports/daily.ipynb"
IDLE = {DAILY: ["1"]}
SLOW = {DAILY: ["import time\ntime.sleep(100)"]}
RAISING = {DAILY: ["raise ValueError('no')"]}

NOTEBOOKS: dict[str, dict[str, list[str]]] = {
    "success": {
        DAILY: [
            "import os\ngreeting = 'Hello, ' + os.environ['NAME']",
            "total = int(os.environ['DAYS']) - 1\nprint(greeting)",
        ]
    },
    "success_without_json_header": {"team/reports/daily.ipynb": ["x = [1, 2.5, None]"]},
    "cell_v1": {DAILY: ["raise ValueError", "x = 'alone'\n5"]},
    "code_error": RAISING,
    "code_error_v1": RAISING,
    "code_error_with_outputs": {DAILY: ["a = 1\nb"]},
    "aborted": {DAILY: ["import os\nos._exit(3)"]},
    "time_out": SLOW,
    "cancelled_by_get": SLOW,
    "cancelled_by_post": SLOW,
    "projects": {"team/reports/a.ipynb": ["1"]},
}
"""What is there for a recording; by default `IDLE`."""

LIMITS = {"time_out": {"max_execution_seconds": 1.0}}


def parameters() -> list[Any]:
    """Return each recording with the traits of `ExecApp` that it needs."""
    files = recordings(Path(__file__).parent / "exchanges")
    return [pytest.param(LIMITS.get(file.stem, {}), file, id=file.stem) for file in files]


@pytest.mark.parametrize(("exec_config", "recording"), parameters())
async def test_each_exchange_is_as_recorded(
    exec_api: ExecApi, datasphere: httpx.AsyncClient, recording: Path
) -> None:
    """Status, headers and every field of the body, nothing more and nothing less."""
    for path, sources in NOTEBOOKS.get(recording.stem, IDLE).items():
        exec_api.write_notebook(path, *sources)

    async def send(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        request = datasphere.build_request(method, path, content=body)
        for name, value in headers.items():
            if value:
                request.headers[name] = value
            elif name in request.headers:
                del request.headers[name]
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                reply = await datasphere.send(request)
                if UNTIL_DONE not in headers or reply.json().get("done", True):
                    return Answer(reply.status_code, reply.headers, reply.content)
                await asyncio.sleep(0.05)

    await replay(recording, send)
