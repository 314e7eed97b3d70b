"""What the tests of the dialect need besides a server: a client that sends what it is told to."""

import asyncio
from collections.abc import Iterator
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx
import pytest
from traitlets.config import Config

from tests.conftest import WAIT_SECONDS, ExecApi

OPTIONS: dict[str, Any] = {
    "projects": {"default": "", "reports": "team/reports", "gone": "no/such/folder"},
    "specs": {
        "c1.4": "python3",
        "g1.1": {"kernel_name": "python3", "env": {"SIZE": "big"}},
        "own": {"env": {"SIZE": "own"}},
    },
    "spark_connectors": {"cluster": {"SPARK_REMOTE": "sc://host:15002"}},
}


@pytest.fixture
def datasphere_config() -> dict[str, Any]:
    """Traits of `DataSphere` for a test; override it by parametrizing."""
    return {}


@pytest.fixture
def jp_server_config(jp_server_config: Config, datasphere_config: dict[str, Any]) -> Config:
    jp_server_config["DataSphere"] = Config({**OPTIONS, **datasphere_config})
    return jp_server_config


@pytest.fixture
def datasphere(
    exec_api: ExecApi,
    jp_http_port: int,
    jp_base_url: str,
    jp_auth_header: dict[str, str],
    jp_asyncio_loop: asyncio.AbstractEventLoop,
) -> Iterator[httpx.AsyncClient]:
    """A client of the dialect; paths are relative to ``exec/``, and no cookies are kept."""
    assert exec_api is not None
    token = jp_auth_header["Authorization"].split()[1]
    http = httpx.AsyncClient(
        base_url=f"http://localhost:{jp_http_port}{jp_base_url}exec/",
        headers={"Authorization": f"Bearer {token}"},
        timeout=WAIT_SECONDS,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
    yield http
    jp_asyncio_loop.run_until_complete(http.aclose())


async def finished(http: httpx.AsyncClient, operation: dict[str, Any]) -> dict[str, Any]:
    """Return an operation when it is done."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not operation["done"]:
            await asyncio.sleep(0.05)
            answer = await http.get(f"operations/{operation['id']}")
            assert answer.status_code == 200, answer.text
            operation = answer.json()
    return operation


async def execute(
    http: httpx.AsyncClient, *, project: str = "v2/projects/default", **fields: Any
) -> dict[str, Any]:
    """Run something and return the operation that is done."""
    answer = await http.post(f"datasphere/{project}:execute", json=fields)
    assert answer.status_code == 200, answer.text
    return await finished(http, answer.json())
