"""A client of the files of one session, as tests speak to it."""

from typing import Any, Protocol
from urllib.parse import quote

from tests.conftest import Answer, ExecApi


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
