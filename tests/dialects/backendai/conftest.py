"""What speaks to the dialect as its clients do: every request is signed, and goes as it is."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect
from traitlets.config import Config

from jupyter_exec_ext.dialects.backendai.signing import UNSENT_TYPE, SignedRequest
from tests.conftest import WAIT_SECONDS, Answer
from tests.dialects.conftest import Call

VERSION = "v7.20230615"


def signed_headers(
    secret: str,
    *,
    method: str,
    uri: str,
    host: str,
    content_type: str | None,
    access_key: str = "me",
    date: datetime | None = None,
    hash_name: str = "sha256",
    signed_uri: str | None = None,
    signed_host: str | None = None,
) -> dict[str, str]:
    """Return the headers with which a client signs a request."""
    date = date or datetime.now(UTC)
    request = SignedRequest(
        method=method,
        uri=uri if signed_uri is None else signed_uri,
        host=signed_host or host,
        date_text=date.isoformat(),
        version=VERSION,
        content_type=content_type or UNSENT_TYPE,
    )
    signature = request.signature(secret, date, hash_name)
    headers = {
        "Authorization": f"BackendAI signMethod=HMAC-{hash_name.upper()},"
        f" credential={access_key}:{signature}",
        "Date": date.isoformat(),
        "X-BackendAI-Version": VERSION,
    }
    return headers if content_type is None else {**headers, "Content-Type": content_type}


class BackendClient:
    """The dialect of the server under test, spoken with a signature."""

    def __init__(self, send: Call, token: str, base_url: str, port: int) -> None:
        self.send = send
        self.token = token
        self.base_url = base_url
        self.host = f"127.0.0.1:{port}"

    def headers(self, method: str, path: str, content_type: str | None, **how: Any) -> Any:
        """Return the headers of a request for a path below ``backendai``."""
        uri = f"{self.base_url}exec/backendai{path}"
        how = {"host": self.host, "secret": self.token, **how}
        return signed_headers(method=method, uri=uri, content_type=content_type, **how)

    async def request(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send a request; a body that is no bytes is sent as JSON."""
        content_type = "text/plain" if body is None else "application/json"
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        content_type = (headers or {}).get("Content-Type", content_type)
        signed = self.headers(method, path, content_type.partition(";")[0])
        return await self.send(
            method, f"backendai{path}", {"Host": self.host, **signed, **(headers or {})}, body
        )

    async def create(self, name: str = "demo-01", image: str = "python", **more: Any) -> Any:
        """Create a session, or find it."""
        answer = await self.request("POST", "/session", {"name": name, "image": image, **more})
        assert answer.status == 201, answer.body
        return answer.json

    async def execute(self, mode: str, code: str = "", key: str = "demo-01", **more: Any) -> Any:
        """Send a request of a run that is answered with a result."""
        body = {"mode": mode, "code": code, **more}
        answer = await self.request("POST", f"/session/{key}", body)
        assert answer.status == 200, answer.body
        return answer.json["result"]

    async def run(
        self, mode: str, code: str = "", *, inputs: tuple[str, ...] = (), **more: Any
    ) -> Any:
        """Return the results of a whole run, as the loop of a client has it."""
        left = list(inputs)
        results = [await self.execute(mode, code, **more)]
        while results[-1]["status"] != "finished":
            run_id = results[-1]["runId"]
            if results[-1]["status"] == "waiting-input":
                results.append(await self.execute("input", left.pop(0), runId=run_id))
            else:
                results.append(await self.execute("continue", "", runId=run_id))
        return results

    async def stream(self, key: str, **how: Any) -> WebSocketClientConnection:
        """Open the stream of a run."""
        path = f"/stream/session/{key}/execute"
        headers = {"Host": self.host, **self.headers("GET", path, None, **how)}
        url = f"ws://{self.host}{self.base_url}exec/backendai{path}"
        return await websocket_connect(
            HTTPRequest(url, headers=headers, request_timeout=WAIT_SECONDS)
        )


async def messages(socket: WebSocketClientConnection) -> list[Any]:
    """Return all that comes until the socket is closed."""
    found = []
    while (message := await socket.read_message()) is not None:
        found.append(json.loads(message))
    socket.close()
    return found


def text_of(results: list[Any], kind: str = "stdout") -> str:
    """Return the text of one stream."""
    return "".join(data for one in results for name, data in one["console"] if name == kind)


def statuses(results: list[Any]) -> list[tuple[str, int | None]]:
    """Return the ends that were told."""
    return [(one["status"], one["exitCode"]) for one in results if one["status"] != "continued"]


@pytest.fixture
def backendai_config() -> dict[str, Any]:
    """Options of the dialect for a test; override it by parametrizing."""
    return {}


@pytest.fixture
def jp_server_config(jp_server_config: Config, backendai_config: dict[str, Any]) -> Config:
    jp_server_config["BackendAI"] = Config(backendai_config)
    return jp_server_config


@pytest.fixture
def client(send: Call, token: str, jp_base_url: str, jp_http_port: int) -> BackendClient:
    """A client of the dialect."""
    return BackendClient(send, token, jp_base_url, jp_http_port)
