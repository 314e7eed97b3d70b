"""Uploads that are refused while they come, sent by the client that many services' SDKs use."""

import collections
import json
import os
import subprocess
from typing import Any

import aiohttp
import pytest

from tests.api.session_files import Files
from tests.conftest import ExecApi
from tests.dialects.clients import client_python
from tests.process.conftest import start_server as start_server

UPLOADS = 1_000
NO_SESSION = "exec/backendai/session/none/upload"

OLD_CLIENT = """
import asyncio, collections, json, os, aiohttp

async def main():
    seen = collections.Counter()
    headers = {"Authorization": "token " + os.environ["JUPYTER_TOKEN"]}
    async with aiohttp.ClientSession(headers=headers) as session:
        for _ in range(60):
            form = aiohttp.FormData()
            form.add_field("src", b"x" * 9_000_000, filename="a")
            async with session.post(os.environ["UPLOAD_URL"], data=form) as answer:
                seen[f"{answer.status} {len(await answer.read()) > 0}"] += 1
    print("TOLD", json.dumps(seen))

asyncio.run(main())
"""
"""aiohttp before 3.10 reuses a connection though it has not sent all of the body before."""


@pytest.mark.timeout(300)
async def test_the_answer_to_a_refused_upload_always_arrives_whole(
    exec_api: ExecApi, jp_http_port: int, jp_base_url: str, jp_auth_header: dict[str, str]
) -> None:
    """One after the other, by connections that the client may use again."""
    assert exec_api is not None
    url = f"http://127.0.0.1:{jp_http_port}{jp_base_url}{NO_SESSION}"
    seen: collections.Counter[Any] = collections.Counter()

    async with aiohttp.ClientSession(headers=jp_auth_header) as session:
        for _ in range(UPLOADS):
            form = aiohttp.FormData()
            form.add_field("src", b"x" * 20_000, filename="a")
            async with session.post(url, data=form) as answer:
                seen[answer.status, (await answer.json())["msg"] != ""] += 1

    assert seen == {(404, True): UPLOADS}


@pytest.mark.client
@pytest.mark.timeout(600)
def test_an_old_client_never_mistakes_a_request_for_the_rest_of_a_body(
    request: pytest.FixtureRequest, start_server: Any
) -> None:
    """Half of the answers were a bare 400 without a body."""
    python = client_python(request.config, "aiohttp==3.9.5")
    server = start_server()

    done = subprocess.run(
        [python, "-c", OLD_CLIENT],
        env={
            **os.environ,
            "UPLOAD_URL": f"{server.url}{NO_SESSION}",
            "JUPYTER_TOKEN": server.token,
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.partition("TOLD ")[2]) == {"404 True": 60}


async def test_an_early_refusal_ends_the_connection(files: Files, connect: Any) -> None:
    """The client is told so at once, and what it still sends is read before the end."""
    async with connect() as raw:
        await raw.begin(files, "..%2fx", 10)
        head = await raw.reader.readuntil(b"\r\n\r\n")
        await raw.send(b"0123456789")
        rest = await raw.reader.read()

    assert b" 422 " in head
    assert b"connection: close\r\n" in head.lower()
    assert json.loads(rest)["code"] == "InvalidArgument"
