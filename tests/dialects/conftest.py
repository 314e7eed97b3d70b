"""What sends requests as the clients of other services do, without their path being touched."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import WAIT_SECONDS, Answer, ExecApi

Call = Callable[..., Awaitable[Answer]]


@pytest.fixture
def token(jp_auth_header: dict[str, str]) -> str:
    return jp_auth_header["Authorization"].split()[1]


@pytest.fixture
def send(http_server_client: Any, jp_base_url: str, exec_api: ExecApi) -> Call:
    """Send a request to a path below ``exec/``, as it is."""
    assert exec_api is not None

    async def send_it(
        method: str, path: str, headers: dict[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        answer = await http_server_client.fetch(
            f"{jp_base_url}exec/{path}",
            method=method,
            headers=headers or {},
            body=body,
            raise_error=False,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            request_timeout=WAIT_SECONDS,
        )
        return Answer(answer.code, answer.headers, answer.body)

    return send_it
