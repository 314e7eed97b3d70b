"""What speaks to the dialect as its clients do, without its path being touched."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from traitlets.config import Config

from jupyter_exec_ext.app import ExecApp
from tests.conftest import WAIT_SECONDS, Answer
from tests.process.conftest import start_server as start_server

Call = Callable[..., Awaitable[Answer]]
NEW = "2025-10-02-preview"
OLD = "2024-02-02-preview"


@pytest.fixture
def azure_config() -> dict[str, Any]:
    """Options of the dialect for a test; override it by parametrizing."""
    return {}


@pytest.fixture
def jp_server_config(jp_server_config: Config, azure_config: dict[str, Any]) -> Config:
    jp_server_config["AzureDialect"] = Config(azure_config)
    return jp_server_config


@pytest.fixture
def token(jp_auth_header: dict[str, str]) -> str:
    return jp_auth_header["Authorization"].split()[1]


@pytest.fixture
def send(http_server_client: Any, jp_base_url: str, exec_app: ExecApp) -> Call:
    """Send a request to a path below ``exec/``, as it is."""
    assert exec_app is not None

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
