"""The calls that move the files of a session, in both shapes."""

from contextlib import suppress
from http import HTTPStatus
from typing import ClassVar

from tornado.iostream import StreamClosedError
from tornado.web import authenticated

from jupyter_exec_ext.core.errors import (
    FileConflictError,
    MalformedRequestError,
    NoSuchFileError,
    TooLargeError,
)
from jupyter_exec_ext.core.files import NO_PRECONDITION, FileEntry
from jupyter_exec_ext.dialects.azure import wire
from jupyter_exec_ext.dialects.azure.base import FileCall
from jupyter_exec_ext.services.files import Receiver
from jupyter_exec_ext.web.forms import MULTIPART, FormField, FormFile, FormReader, boundary_of
from jupyter_exec_ext.web.reading import read_flag
from jupyter_exec_ext.web.rights import authorized

PAGE_SIZE = 10_000
"""How many files a list has at once."""

MAX_LISTED = 100_000
"""How many files a list of the older shape has, which is a single answer."""

FORM_BYTES = 1_000_000
"""How much a form may have besides the files."""

_BYTES = "application/octet-stream"


class _Upload(FileCall):
    """What takes a form with files.

    Attributes:
        decodes_names: Whether clients escape the names of files as in a URL.
    """

    upload_verb: ClassVar[str | None] = "POST"
    decodes_names: ClassVar[bool] = False

    @property
    def max_upload_bytes(self) -> int:
        """How large the body may be."""
        return min(self.dialect_options.max_upload_bytes, self.limits.max_file_bytes) + FORM_BYTES

    async def session_of_upload(self) -> str:
        """Return the id of the session that the files are for, which may be a new one.

        Some clients forget to say that a form comes, and where its parts end.
        """
        self._form: FormReader | None = None
        content_type = self.request.headers.get("Content-Type", "")
        if "boundary" in content_type.lower():
            self._form = FormReader(content_type, takes_fields=True)
        self._folder = self.parameter("path") or ""
        wire.path_of("", self._folder, await self.place_of_session())
        session = await self.need_session()
        self._place = self.services.files.place_of(session)
        return session.id

    async def begin_upload(self, receiver: Receiver) -> None:
        """Get ready."""
        receiver.max_file_bytes = min(
            receiver.max_file_bytes, self.dialect_options.max_upload_bytes
        )
        self._size = 0
        self._head = b""
        self._is_file = False

    async def take_upload(self, receiver: Receiver, chunk: bytes) -> None:
        """Take a piece of the form."""
        if self._form is None:
            self._head += chunk
            boundary = boundary_of(self._head)
            if boundary is None:
                return
            self._form = FormReader(f'{MULTIPART}; boundary="{boundary}"', takes_fields=True)
            chunk, self._head = self._head, b""
        for found in self._form.feed(chunk):
            if isinstance(found, FormField):
                self._is_file = False
            elif isinstance(found, FormFile):
                self._is_file = True
                name = wire.decoded_name(found.path) if self.decodes_names else found.path
                path = wire.path_of(name, self._folder, self._place, target="filename")
                await receiver.begin(path, target="filename")
            elif self._is_file:
                self._size += len(found)
                if self._size > self.dialect_options.max_upload_bytes:
                    raise TooLargeError(
                        f"at most {self.dialect_options.max_upload_bytes} bytes are taken"
                    )
                await receiver.write(found)

    async def put_in_place(self) -> list[FileEntry]:
        """Return the files of the form, which are in their places now."""
        assert self.receiver is not None
        try:
            if self._form is None or not self._form.is_complete:
                raise MalformedRequestError("the form has no end")
            done = await self.receiver.commit()
        finally:
            await self.receiver.close()
        if not done:
            raise MalformedRequestError("the form has no file", target="file")
        return [entry for entry, _ in done]


class Files(_Upload):
    """The files of a session."""

    @authenticated
    @authorized(action="write", resource="exec-files")
    async def post(self) -> None:
        """Put a file in its place; the answer is about the first."""
        self.write_value(wire.file_view((await self.put_in_place())[0]))

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self) -> None:
        """List them; the session is made if there is none, so that its kernel starts early."""
        is_old = self.is_old
        is_recursive = is_old or read_flag("recursive", self.parameter("recursive") or None)
        path = wire.path_of("", self.parameter("path") or "", await self.place_of_session())
        token = self.parameter("pageToken")
        session = await (self.need_session() if token is None else self.find_session())
        entries: list[FileEntry] = []
        async with self.services.sessions.used(session.id, may_have_ended=True):
            while True:
                page = await self.files.list(
                    session.id,
                    path,
                    is_recursive=is_recursive,
                    page_size=PAGE_SIZE,
                    page_token=token,
                )
                entries += page.files
                token = page.next_page_token
                if token is None or not is_old or len(entries) >= MAX_LISTED:
                    break
        shown = {"value": wire.shown_entries(entries, is_old=is_old)}
        self.write_value(shown if is_old else {**shown, "nextLink": self._next_link(token)})

    def _next_link(self, token: str | None) -> str | None:
        if token is None:
            return None
        kept = {name: self.parameter(name) for name in ("path", "recursive")}
        named = {name: value for name, value in kept.items() if value is not None}
        return self.call_url("files", **named, pageToken=token)


class _OneFile(FileCall):
    """One file of a session."""

    async def find_file(self, name: str) -> tuple[str, str]:
        """Return the id of the session, and where in its folder the file is."""
        session = await self.find_session()
        place = self.services.files.place_of(session)
        return session.id, wire.path_of(name, self.parameter("path") or "", place)

    async def send_content(self, name: str) -> None:
        """Send the content of a file."""
        session_id, path = await self.find_file(name)
        try:
            # When the client is gone there is nobody to tell.
            with suppress(StreamClosedError):
                async with self.files.open(session_id, path, user=self.share_key) as file:
                    size = file.entry.size_bytes or 0
                    self.set_header("Content-Type", _BYTES)
                    self.set_header("Content-Length", str(size))
                    await self.send_part(file, 0, size)
                    self.finish(set_content_type=_BYTES)
        except FileConflictError as error:
            raise FileConflictError("only a file has content") from error

    async def show(self, name: str) -> None:
        """Answer with what a list would say of a file."""
        entry = await self.files.stat(*await self.find_file(name))
        if not entry.name or entry.type not in wire.KNOWN_TYPES:
            raise NoSuchFileError
        if self.is_old:
            self.write_value(wire.old_file_view(entry))
        else:
            self.write_value(wire.file_view(entry))

    async def remove(self, name: str) -> None:
        """Remove a file, or an empty directory."""
        session_id, path = await self.find_file(name)
        await self.files.delete(
            session_id,
            path,
            is_recursive=False,
            precondition=NO_PRECONDITION,
            user=self.share_key,
        )
        if self.is_old:
            self.write_value({"message": "the file was deleted"})
            return
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class OneFile(_OneFile):
    """What is known of a file."""

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, name: str) -> None:
        """Show it."""
        await self.show(name)

    @authenticated
    @authorized(action="write", resource="exec-files")
    async def delete(self, name: str) -> None:
        """Remove it."""
        await self.remove(name)


class Content(_OneFile):
    """The content of a file."""

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, name: str) -> None:
        """Send it."""
        await self.send_content(name)


class Upload(_Upload, _OneFile):  # type: ignore[misc]
    """The upload of the older shape; to other verbs, a file that is called so."""

    decodes_names: ClassVar[bool] = True

    @authenticated
    @authorized(action="write", resource="exec-files")
    async def post(self) -> None:
        """Put files in their places."""
        entries = await self.put_in_place()
        self.write_value({"value": [wire.old_file_view(entry) for entry in entries]})

    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self) -> None:
        """Show the file that is called ``upload``."""
        await self.show("upload")

    @authenticated
    @authorized(action="write", resource="exec-files")
    async def delete(self) -> None:
        """Remove the file that is called ``upload``."""
        await self.remove("upload")
