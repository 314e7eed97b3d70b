"""A client of the files of one session, as tests speak to it."""

import asyncio
import re
from typing import Any, Protocol
from urllib.parse import quote

from tests.conftest import WAIT_SECONDS, Answer, ExecApi


class BareRequest(Protocol):
    """Sends a request as it is: the path is not escaped, and there are no credentials."""

    async def __call__(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: Any = None
    ) -> Answer: ...


class Files:
    """The files of one session of the server under test.

    Attributes:
        key: The id of the session.
        folder: Where they are on the disk.
    """

    def __init__(
        self, api: ExecApi, bare: BareRequest, headers: dict[str, str], session: dict[str, Any]
    ) -> None:
        self.api = api
        self.bare = bare
        self.headers = headers
        self.key: str = session["id"]
        self.folder = api.root / session["path"]

    async def request(self, method: str, path: str = "", **kwargs: Any) -> Answer:
        """Send a request for the file at *path*, escaped as a client does."""
        return await self.raw(method, quote(path), **kwargs)

    async def raw(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: Any = None
    ) -> Answer:
        """Send a request whose path is taken as it is."""
        where = f"exec/sessions/{self.key}/files{'/' if path else ''}{path}"
        return await self.bare(
            method, where, headers={**self.headers, **(headers or {})}, body=body
        )

    async def put(self, path: str, body: bytes = b"data") -> dict[str, Any]:
        """Upload a file that has to be taken."""
        answer = await self.request("PUT", path, body=body)
        assert answer.status in (200, 201), answer.body
        entry: dict[str, Any] = answer.json
        return entry

    async def list(self, **params: Any) -> list[dict[str, Any]]:
        """Return one page of a list."""
        answer = await self.api.request("GET", "sessions", self.key, "files", params=params)
        assert answer.status == 200, answer.body
        entries: list[dict[str, Any]] = answer.json["files"]
        return entries


class Raw:
    """One connection to the server under test, spoken byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def begin(self, files: Files, path: str, size: int, **headers: str) -> None:
        """Send the head of an upload of *size* bytes."""
        where = f"/user/a%40b/exec/sessions/{files.key}/files/{path}"
        named = {"Host": "localhost", "Content-Length": str(size), **files.headers, **headers}
        head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
        self.writer.write(f"PUT {where} HTTP/1.1\r\n{head}\r\n".encode())
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        async with asyncio.timeout(WAIT_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            found = re.search(r"(?i)content-length: (\d+)", head)
            assert found is not None, head
            return int(head.split()[1]), await self.reader.readexactly(int(found[1]))
