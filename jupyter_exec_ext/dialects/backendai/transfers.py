"""Handlers of the files of sessions."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import unquote

from tornado.iostream import StreamClosedError
from tornado.web import authenticated

from jupyter_exec_ext.core.errors import NoSuchFileError
from jupyter_exec_ext.core.files import FileEntry
from jupyter_exec_ext.dialects.backendai.base import BackendAIMixin, Handler
from jupyter_exec_ext.dialects.backendai.wire import RefusalError, files_view, home_path
from jupyter_exec_ext.services.files import Receiver
from jupyter_exec_ext.web.forms import FormField, FormFile, FormReader
from jupyter_exec_ext.web.rights import authorized
from jupyter_exec_ext.web.transfers import READ_BYTES, FileHandler

BYTES = "application/octet-stream"
MAX_LISTED = 10_000
"""How many files one list has; it is a single answer."""

_FORM_BYTES = 10_000
"""What the form adds to each file."""


class Transfer(BackendAIMixin, FileHandler):  # type: ignore[misc]
    """A handler that moves files."""


class UploadHandler(Transfer):
    """Files that come in a form."""

    upload_verb: ClassVar[str | None] = "POST"

    @property
    def max_upload_bytes(self) -> int:
        """How large all files of a form may be together, with what is between them."""
        options = self.dialect_options
        return (options.max_upload_file_bytes + _FORM_BYTES) * options.max_upload_files

    async def session_of_upload(self) -> str:
        """Return the id of the session that the files are for."""
        return (await self.session_of(self.path_args[0])).id

    async def begin_upload(self, receiver: Receiver) -> None:
        """Check that a form is coming."""
        receiver.max_file_bytes = min(
            receiver.max_file_bytes, self.dialect_options.max_upload_file_bytes
        )
        self._form = FormReader(self.request.headers.get("Content-Type", ""), takes_fields=True)
        self._count = 0
        self._is_file = False

    async def take_upload(self, receiver: Receiver, chunk: bytes) -> None:
        """Take a piece of the form."""
        for found in self._form.feed(chunk):
            if isinstance(found, FormField):
                self._is_file = False
            elif isinstance(found, FormFile):
                self._is_file = True
                self._count += 1
                if self._count > self.dialect_options.max_upload_files:
                    raise RefusalError("Missing or invalid API parameters.", "Too many files")
                # Clients escape it as a part of a URL.
                await receiver.begin(home_path(unquote(found.path)), target="filename")
            elif self._is_file:
                await receiver.write(found)

    @authenticated
    @authorized(action="write", resource="exec-files")
    async def post(self, key: str) -> None:
        """Put them in their places, all or none."""
        del key
        assert self.receiver is not None
        try:
            if not self._form.is_complete or not self._count:
                raise RefusalError("Missing or invalid API parameters.", "the form is not complete")
            await self.receiver.commit()
        finally:
            await self.receiver.close()
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class FilesHandler(Handler):
    """The list of files of a session."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, key: str) -> None:
        """Show what is in a folder."""
        paths = self.read_texts("path")
        path = paths[0] if paths else "."
        where = home_path(path)
        session = await self.session_of(key)
        entries: list[FileEntry] = []
        token: str | None = None
        while True:
            page = await self.services.files.list(
                session.id,
                where,
                is_recursive=False,
                page_size=min(MAX_LISTED, self.services.limits.max_page_size),
                page_token=token,
            )
            entries += page.files
            token = page.next_page_token
            if token is None or len(entries) >= MAX_LISTED:
                break
        note = "" if token is None else f"only the first {len(entries)} are shown"
        self.write_json(files_view(entries, path, note))


class DownloadHandler(Transfer):
    """Files of a session, each as a tar archive in a part of the answer."""

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, key: str) -> None:
        """Send them."""
        await self._send_files(key)

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def post(self, key: str) -> None:
        """Do the same; newer clients ask so."""
        await self._send_files(key)

    async def _send_files(self, key: str) -> None:
        paths = [home_path(path) for path in self.read_texts("files")]
        if not 0 < len(paths) <= self.dialect_options.max_download_files:
            raise RefusalError(
                "Missing or invalid API parameters.",
                f"1 to {self.dialect_options.max_download_files} files are downloaded at once",
            )
        session = await self.session_of(key)
        async with AsyncExitStack() as stack:
            parts: list[tuple[bytes, AsyncGenerator[bytes]]] = []
            for path in paths:
                pieces = await stack.enter_async_context(
                    aclosing(self.services.files.archive(session.id, [path], has_whole_paths=False))
                )
                try:
                    # What is not there shows now, before anything is sent.
                    parts.append((await anext(pieces), pieces))
                except NoSuchFileError as error:
                    raise RefusalError(
                        "Missing or invalid API parameters.", "The file is not found."
                    ) from error
            with suppress(StreamClosedError):
                await self._send(parts)

    async def _send(self, parts: list[tuple[bytes, AsyncGenerator[bytes]]]) -> None:
        boundary = secrets.token_hex(16)
        content_type = f"multipart/mixed; boundary={boundary}"
        self.set_header("Content-Type", content_type)
        head = f"--{boundary}\r\nContent-Encoding: identity\r\nContent-Type: {BYTES}\r\n\r\n"
        gathered = bytearray()
        for first, pieces in parts:
            gathered += head.encode() + first
            async for piece in pieces:
                gathered += piece
                if len(gathered) >= READ_BYTES:
                    await self.send(bytes(gathered))
                    gathered.clear()
            gathered += b"\r\n"
        await self.send(bytes(gathered) + f"--{boundary}--\r\n".encode())
        self.finish(set_content_type=content_type)


class DownloadSingleHandler(Transfer):
    """One file of a session, as it is."""

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, key: str) -> None:
        """Send it."""
        await self._send_file(key)

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def post(self, key: str) -> None:
        """Do the same; newer clients ask so."""
        await self._send_file(key)

    async def _send_file(self, key: str) -> None:
        paths = self.read_texts("file")
        if len(paths) != 1:
            raise RefusalError("Missing or invalid API parameters.", "file is missing")
        path = home_path(paths[0])
        session = await self.session_of(key)
        with suppress(StreamClosedError):
            async with self.services.files.open(session.id, path) as file:
                size = file.entry.size_bytes or 0
                self.set_header("Content-Type", BYTES)
                self.set_header("Content-Length", str(size))
                await self.send_part(file, 0, size)
                self.finish(set_content_type=BYTES)
