"""The service's exchanges, call by call."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.conftest import Answer
from tests.dialects.backendai.conftest import BackendClient
from tests.dialects.replay import recordings, replay

FOLDER = Path(__file__).parent / "exchanges"


def signing(client: BackendClient) -> Callable[..., Awaitable[Answer]]:
    """Return what sends a recorded request with a signature, unless it says ``Unsigned``."""

    async def send(method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        if "Unsigned" in headers:
            return await client.send(method, path, {}, body)
        return await client.request(
            method, path.removeprefix("backendai"), body, headers=dict(headers)
        )

    return send


@pytest.mark.parametrize("recording", recordings(FOLDER), ids=lambda recording: recording.stem)
@pytest.mark.usefixtures("echo_kernel_name")
async def test_the_server_answers_as_the_service(recording: Path, client: BackendClient) -> None:
    """Status, headers and every member of the body."""
    await replay(recording, signing(client))


@pytest.mark.parametrize("backendai_config", [{"run_timeout_seconds": 0.5}])
async def test_a_run_out_of_time_answers_as_the_service(client: BackendClient) -> None:
    """The limit is ours; the service has none."""
    await replay(FOLDER / "timeout" / "timeout.json", signing(client))
