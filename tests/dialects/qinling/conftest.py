"""What speaks to the dialect as its clients do, and notebooks that are its functions."""

import io
import json
import re
import zipfile
from typing import Any
from uuid import uuid4

import pytest

from tests.api.conftest import keep_final as keep_final
from tests.conftest import Answer, ExecApi
from tests.dialects.conftest import Call
from tests.process.conftest import start_server as start_server

GREETING = "import os\nprint('Hello')\nf\"Hello, {os.environ['name']}\""
UNTIL_GO = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"


class Qinling:
    """The dialect of the server under test, spoken with Qinling's own credentials."""

    def __init__(self, send: Call, token: str, api: ExecApi) -> None:
        self.send = send
        self.token = token
        self.api = api

    async def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request below ``v1/``; a body that is no bytes is sent as JSON."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            named.setdefault("Content-Type", "application/json")
        return await self.send(
            method, f"qinling/v1/{path}", {"X-Auth-Token": self.token, **named}, body
        )

    async def get(self, path: str) -> Any:
        """Return what is at *path*, which has to be there."""
        answer = await self.request("GET", path)
        assert answer.status == 200, answer.body
        return answer.json

    async def create(self, function: str, **fields: Any) -> dict[str, Any]:
        """Execute a function; the request has to be accepted."""
        body = {"function_id": function, **fields}
        answer = await self.request("POST", "executions", body)
        assert answer.status == 201, answer.body
        execution: dict[str, Any] = answer.json
        return execution

    async def output(self, function: str, **fields: Any) -> Any:
        """Execute a function, and return its output."""
        return json.loads((await self.create(function, **fields))["result"])["output"]

    async def listed(self, query: str = "") -> list[dict[str, Any]]:
        """Return a list of executions."""
        executions: list[dict[str, Any]] = (await self.get(f"executions{query}"))["executions"]
        return executions


@pytest.fixture
def qinling(send: Call, token: str, exec_api: ExecApi) -> Qinling:
    """A client of the dialect."""
    return Qinling(send, token, exec_api)


def package_of(**files: str | bytes) -> bytes:
    """Return a ZIP file with *files*; ``__`` stands for the dot of a name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "."), content)
    return buffer.getvalue()


def notebook_text(*sources: str, **metadata: Any) -> str:
    """Return a notebook of code cells."""
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "metadata": {},
            "outputs": [],
            "execution_count": None,
            "source": source,
        }
        for number, source in enumerate(sources)
    ]
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
    return json.dumps(notebook)


def form_of(package: bytes | None = None, **fields: str) -> tuple[bytes, str]:
    """Return the body of a form as clients send it, and its type."""
    boundary = uuid4().hex
    lines: list[bytes] = []
    for name, value in fields.items():
        lines += [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode(),
            value.encode(),
            b"\r\n",
        ]
    if package is not None:
        head = 'Content-Disposition: form-data; name="package"; filename="package"'
        lines += [f"--{boundary}\r\n{head}\r\n\r\n".encode(), package, b"\r\n"]
    lines.append(f"--{boundary}--\r\n".encode())
    return b"".join(lines), f"multipart/form-data; boundary={boundary}"


def without_durations(body: bytes) -> bytes:
    """Return a body whose durations, which are in a text, are all 0."""
    return re.sub(rb'(\\"duration\\": )[0-9.e-]+', rb"\g<1>0", body)
