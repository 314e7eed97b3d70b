"""What speaks to the dialect as its clients do, without its path being touched."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from traitlets.config import Config

from tests.conftest import Answer
from tests.dialects.conftest import Call
from tests.process.conftest import start_server as start_server

NEW = "2025-10-02-preview"
OLD = "2024-02-02-preview"

FORM = '--B\r\nContent-Disposition: form-data; name="file"; filename="{}"\r\n\r\n{}\r\n--B--\r\n'


class Pool:
    """A session pool, as a client sees it."""

    def __init__(self, send: Call, token: str) -> None:
        self._send = send
        self.headers = {"Authorization": f"Bearer {token}"}

    async def call(
        self, method: str, path: str, identifier: str = "both", *, version: str = NEW, **kwargs: Any
    ) -> Answer:
        """Send a call; ``json`` is its body, ``query`` more of its query."""
        where = f"azure/{path}?api-version={version}&identifier={quote(identifier, safe='')}"
        body = json.dumps(kwargs["json"]).encode() if "json" in kwargs else kwargs.get("body")
        headers = {**self.headers, **kwargs.get("headers", {})}
        return await self._send(method, where + kwargs.get("query", ""), headers, body)

    async def run(self, code: str, identifier: str = "both", **members: Any) -> dict[str, Any]:
        """Run code and return the execution."""
        headers = members.pop("headers", {})
        body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": code, **members}
        answer = await self.call("POST", "executions", identifier, json=body, headers=headers)
        assert answer.status == 200, answer.body
        shown: dict[str, Any] = answer.json
        return shown

    async def upload(self, name: str, content: str = "x", **kwargs: Any) -> Answer:
        """Upload one file."""
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        body = FORM.format(name, content).encode()
        return await self.call("POST", "files", headers=headers, body=body, **kwargs)


@pytest.fixture
def azure_config() -> dict[str, Any]:
    """Options of the dialect for a test; override it by parametrizing."""
    return {}


@pytest.fixture
def jp_server_config(jp_server_config: Config, azure_config: dict[str, Any]) -> Config:
    jp_server_config["AzureDialect"] = Config(azure_config)
    return jp_server_config


@pytest.fixture
def pool(send: Call, token: str) -> Pool:
    return Pool(send, token)
