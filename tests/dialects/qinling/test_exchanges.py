"""Qinling's exchanges, call by call."""

from pathlib import Path

import pytest

from jupyter_exec_ext.dialects.qinling.wire import function_id_of, runtime_id_of
from tests.conftest import Answer, ExecApi
from tests.dialects.conftest import Call
from tests.dialects.qinling.conftest import GREETING, UNTIL_GO, without_durations
from tests.dialects.replay import recordings, replay


@pytest.mark.parametrize(
    "recording",
    recordings(Path(__file__).parent / "exchanges"),
    ids=lambda recording: recording.stem,
)
async def test_the_server_answers_as_qinling(
    recording: Path, send: Call, exec_api: ExecApi, token: str, jp_http_port: int, jp_base_url: str
) -> None:
    """Status, headers and every member of the body, but how long it took."""
    exec_api.write_notebook("hello.ipynb", GREETING)
    exec_api.write_notebook("fails.ipynb", "1 / 0")
    slow = {"timeout": 1}
    exec_api.write_notebook("slow.ipynb", "import time\ntime.sleep(60)", qinling=slow)
    exec_api.write_notebook("running.ipynb", UNTIL_GO)
    ids = {name: function_id_of(f"{name}.ipynb") for name in ("hello", "fails", "slow", "running")}

    async def send_it(
        method: str, path: str, headers: dict[str, str], body: bytes | None
    ) -> Answer:
        answer = await send(method, path, headers, body)
        return answer._replace(body=without_durations(answer.body))

    await replay(
        recording,
        send_it,
        token=token,
        url=f"http://127.0.0.1:{jp_http_port}{jp_base_url}exec/qinling/",
        runtime=runtime_id_of("python3"),
        **ids,
    )
