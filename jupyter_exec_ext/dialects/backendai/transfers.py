"""Handlers of the files of sessions."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, suppress
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import unquote

from tornado.iostream import StreamClosedError
from tornado.web import authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import MalformedRequestError, NoSuchFileError
from jupyter_exec_ext.dialects.backendai.base import BackendAIMixin, Handler
from jupyter_exec_ext.dialects.backendai.errors import bad_params
from jupyter_exec_ext.dialects.backendai.wire import files_view, home_path
from jupyter_exec_ext.services.files import Receiver
from jupyter_exec_ext.web.forms import MULTIPART, FormField, FormFile, FormReader
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
        content_type = self.request.headers.get("Content-Type", "")
        try:
            self._form = FormReader(content_type, takes_fields=True)
        except MalformedRequestError as error:
            raise bad_params(f"files come in a form, {MULTIPART} with a boundary") from error
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
                    raise bad_params("Too many files")
                await receiver.begin(home_path(_unescaped(found.path)), target="filename")
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
                raise bad_params("the form is not complete")
            await self.receiver.commit()
        finally:
            await self.receiver.close()
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


def _unescaped(name: str) -> str:
    """Return *name* without what clients escape in it, as in a part of a URL.

    Raises:
        RefusalError: What they escaped is no text.
    """
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError as error:
        raise bad_params("the name of a file is not UTF-8") from error


class FilesHandler(Handler):
    """The list of files of a session."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, key: str) -> None:
        """Show what is in a folder."""
        path = await self.read_text("path", default=".")
        where = home_path(path)
        session = await self.session_of(key)
        page = await self.services.files.list(
            session.id, where, is_recursive=False, page_size=MAX_LISTED, page_token=None
        )
        is_whole = page.next_page_token is None
        note = "" if is_whole else f"only the first {len(page.files)} are shown"
        await self.write_json(await threads.run_if_large(files_view, page.files, path, note))


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
        paths = [home_path(path) for path in await self.read_texts("files")]
        if not 0 < len(paths) <= self.dialect_options.max_download_files:
            raise bad_params(
                f"1 to {self.dialect_options.max_download_files} files are downloaded at once",
            )
        session = await self.session_of(key)
        async with AsyncExitStack() as stack:
            parts: list[tuple[bytes, AsyncGenerator[bytes]]] = []
            for path in paths:
                pieces = await stack.enter_async_context(
                    aclosing(
                        self.services.files.archive(
                            session.id, [path], has_whole_paths=False, user=self.share_key
                        )
                    )
                )
                try:
                    # What is not there shows now, before anything is sent.
                    parts.append((await anext(pieces), pieces))
                except NoSuchFileError as error:
                    raise bad_params("The file is not found.") from error
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
        name = await self.read_text("file", default="")
        if not name:
            raise bad_params("file is missing")
        path = home_path(name)
        session = await self.session_of(key)
        with suppress(StreamClosedError):
            async with self.services.files.open(session.id, path, user=self.share_key) as file:
                size = file.entry.size_bytes or 0
                self.set_header("Content-Type", BYTES)
                self.set_header("Content-Length", str(size))
                await self.send_part(file, 0, size)
                self.finish(set_content_type=BYTES)
