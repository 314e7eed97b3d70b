"""The service's exchanges, call by call."""

from pathlib import Path

import pytest

from tests.dialects.conftest import Call
from tests.dialects.replay import recordings, replay


@pytest.mark.parametrize(
    "recording",
    recordings(Path(__file__).parent / "exchanges"),
    ids=lambda recording: recording.stem,
)
async def test_the_server_answers_as_the_service(
    recording: Path, send: Call, token: str, jp_http_port: int, jp_base_url: str
) -> None:
    """Status, headers and every member of the body."""
    url = f"http://127.0.0.1:{jp_http_port}{jp_base_url}exec/azure/"

    await replay(recording, send, token=token, url=url)
