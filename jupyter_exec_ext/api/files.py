"""REST handlers of the files of sessions."""

from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Any, ClassVar

from tornado.iostream import StreamClosedError
from tornado.web import authenticated

from jupyter_exec_ext.api.lists import PAGE_PARAMETERS, read_page_size
from jupyter_exec_ext.api.operations import CONTENT_RANGE, Answer, Parameter, header, operation
from jupyter_exec_ext.api.responses import UploadedFiles
from jupyter_exec_ext.core.errors import (
    InvalidArgumentError,
    MalformedRequestError,
    PreconditionFailedError,
)
from jupyter_exec_ext.core.files import FileEntry, FilePage, Precondition
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.ports import OpenFile
from jupyter_exec_ext.services.files import FileService, Receiver
from jupyter_exec_ext.web.conditions import range_applies, read_precondition
from jupyter_exec_ext.web.forms import MULTIPART, FormFile, FormReader
from jupyter_exec_ext.web.ranges import read_range
from jupyter_exec_ext.web.reading import read_flag
from jupyter_exec_ext.web.rights import authorized
from jupyter_exec_ext.web.transfers import READ_BYTES, FileHandler, attachment

BYTES = "application/octet-stream"
TAR = "application/x-tar"

_STRING: dict[str, Any] = {"type": "string"}
_IF_MATCH = Parameter(
    name="If-Match",
    description="Go on only if the file has this `ETag`, or with `*` if it is there; else 412.",
    schema=_STRING,
    place="header",
)
_ETAG = header("ETag", "Another one once the content has changed.")
_DISPOSITION = header("Content-Disposition", "It is an attachment with the name of the file.")
_FILE_HEADERS = (
    _ETAG,
    _DISPOSITION,
)
_REFUSALS = (HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY)
_WRITE_REFUSALS = (*_REFUSALS, HTTPStatus.CONFLICT)
_UPLOAD_REFUSALS = (
    *_WRITE_REFUSALS,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INSUFFICIENT_STORAGE,
)


class FilesHandler(FileHandler):
    """The files of a session."""

    upload_verb: ClassVar[str | None] = "POST"

    def initialize(self, *, files: FileService, limits: Limits) -> None:  # type: ignore[override]
        """Take the service."""
        super().initialize(files=files, limits=limits)
        # Who looks at a list again and again does not keep the server from being culled.
        self._track_activity = self.is_upload

    @property
    def max_upload_bytes(self) -> int:
        """How large all files of a form may be together, with what is between them."""
        return (self.limits.max_file_bytes + 10_000) * self.limits.max_files_per_request

    @operation(
        "List the files of a session",
        description="In the order of the names along their paths, a page at a time. Links are"
        " shown and never followed; what is hidden is shown only where the server shows it.",
        parameters=(
            Parameter(
                name="path",
                description="The folder to list. Absent: the session's own.",
                schema=_STRING,
            ),
            Parameter(
                name="recursive",
                description="Also what is in the folders in it.",
                schema={"type": "boolean", "default": False},
            ),
            *PAGE_PARAMETERS,
        ),
        answers={HTTPStatus.OK: FilePage},
        errors=(*_REFUSALS, HTTPStatus.CONFLICT),
    )
    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, session_id: str) -> None:
        """List them."""
        page = await self.files.list(
            session_id,
            self.path_of_query(),
            is_recursive=read_flag("recursive", self.get_query_argument("recursive", None)),
            page_size=read_page_size(self, max_page_size=self.limits.max_page_size),
            page_token=self.get_query_argument("page_token", None) or None,
        )
        self.write_value(page)

    def path_of_query(self) -> str:
        """Return the folder that the request names."""
        return "".join(self.query_texts("path")).strip("/")

    async def begin_upload(self, receiver: Receiver) -> None:
        """Check that a form is coming."""
        del receiver
        self._form = FormReader(self.request.headers.get("Content-Type", ""))
        self._folder = self.path_of_query()

    async def take_upload(self, receiver: Receiver, chunk: bytes) -> None:
        """Take a piece of the form."""
        for found in self._form.feed(chunk):
            if isinstance(found, bytes):
                await receiver.write(found)
            elif isinstance(found, FormFile):
                path = f"{self._folder}/{found.path}" if self._folder else found.path
                await receiver.begin(path, target="filename")

    @operation(
        "Upload files",
        description="A form in which each part is a file; its `filename` is a path, whose folders"
        " are made as needed. All files are checked and received before the first is put in its"
        " place, and each replaces what is there whole or not at all.",
        parameters=(
            Parameter(
                name="path",
                description="The folder that the names are relative to. Absent: the session's own.",
                schema=_STRING,
            ),
        ),
        body=MULTIPART,
        answers={HTTPStatus.CREATED: UploadedFiles},
        errors=_UPLOAD_REFUSALS,
    )
    @authenticated
    @authorized(action="write", resource="exec-files")
    async def post(self, session_id: str) -> None:
        """Put them in their places."""
        del session_id
        receiver = self.receiver
        assert receiver is not None
        try:
            if not self._form.is_complete:
                raise MalformedRequestError("the form has no end")
            done = await receiver.commit()
        finally:
            await receiver.close()
        if not done:
            raise InvalidArgumentError("the form has no file", target="filename")
        self.write_value(UploadedFiles(files=[entry for entry, _ in done]), HTTPStatus.CREATED)


class OneFileHandler(FileHandler):
    """One file of a session."""

    upload_verb: ClassVar[str | None] = "PUT"

    async def begin_upload(self, receiver: Receiver) -> None:
        """Check what can be known of the file before it comes."""
        headers = self.request.headers
        for name in ("Content-Range", "Content-Encoding"):
            if headers.get(name, "identity").lower() != "identity":
                raise MalformedRequestError("the body is the file, whole and as it is", target=name)
        receiver.check_size(int(headers.get("Content-Length") or 0))
        await receiver.begin(self.path_args[1])

    async def take_upload(self, receiver: Receiver, chunk: bytes) -> None:
        """Take a piece of the file."""
        await receiver.write(chunk)

    @operation(
        "Upload a file",
        description="The body is the file, whatever its `Content-Type`. Folders on its path are"
        " made as needed. What is there is replaced whole or not at all.",
        parameters=(
            _IF_MATCH,
            Parameter(
                name="If-None-Match",
                description="With `*`, go on only if nothing is there; else 412.",
                schema=_STRING,
                place="header",
            ),
        ),
        body=BYTES,
        answers={
            HTTPStatus.OK: Answer(FileEntry, (_ETAG,)),
            HTTPStatus.CREATED: Answer(FileEntry, (_ETAG,)),
        },
        errors=(*_UPLOAD_REFUSALS, HTTPStatus.PRECONDITION_FAILED),
    )
    @authenticated
    @authorized(action="write", resource="exec-files")
    async def put(self, session_id: str, path: str) -> None:
        """Put it in its place."""
        del session_id, path
        receiver = self.receiver
        assert receiver is not None
        try:
            precondition = read_precondition(self.request.headers)
            ((entry, is_new),) = await receiver.commit(precondition)
        finally:
            await receiver.close()
        self.set_header("ETag", str(entry.etag))
        self.write_value(entry, HTTPStatus.CREATED if is_new else HTTPStatus.OK)

    @operation(
        "Download a file",
        parameters=(
            Parameter(
                name="Range",
                description="One range of bytes; another `Range` is as none.",
                schema=_STRING,
                place="header",
            ),
            Parameter(
                name="If-Range",
                description="The `ETag` for which the range is meant; of another file all comes.",
                schema=_STRING,
                place="header",
            ),
            Parameter(
                name="If-None-Match",
                description="The `ETag` that the client has: 304 if it is still the same.",
                schema=_STRING,
                place="header",
            ),
            _IF_MATCH,
        ),
        answers={
            HTTPStatus.OK: Answer(BYTES, _FILE_HEADERS),
            HTTPStatus.PARTIAL_CONTENT: Answer(BYTES, (*_FILE_HEADERS, CONTENT_RANGE)),
            HTTPStatus.NOT_MODIFIED: Answer(None, (_ETAG,)),
        },
        errors=(
            *_WRITE_REFUSALS,
            HTTPStatus.PRECONDITION_FAILED,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    )
    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, session_id: str, path: str) -> None:
        """Send it."""
        # When the client is gone there is nobody to tell.
        with suppress(StreamClosedError):
            async with self.files.open(session_id, path, user=self.share_key) as file:
                if self._describe(file.entry):
                    await self._send(file)

    @operation(
        "Show what a download would have",
        description="The headers of a download alone.",
        parameters=(_IF_MATCH,),
        answers={
            HTTPStatus.OK: Answer(None, _FILE_HEADERS),
            HTTPStatus.NOT_MODIFIED: Answer(None, (_ETAG,)),
        },
        errors=(
            *_WRITE_REFUSALS,
            HTTPStatus.PRECONDITION_FAILED,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    )
    @authenticated
    @authorized(action="read", resource="exec-files")
    async def head(self, session_id: str, path: str) -> None:
        """Answer with headers only."""
        async with self.files.open(session_id, path, user=self.share_key) as file:
            if self._describe(file.entry):
                self.set_header("Content-Length", str(file.entry.size_bytes))
                self.finish(set_content_type=BYTES)

    def _describe(self, entry: FileEntry) -> bool:
        """Set the headers of a download; return whether there is more to send than these.

        Raises:
            PreconditionFailedError: It is not the file that is asked for.
        """
        condition = read_precondition(self.request.headers)
        Precondition(if_match=condition.if_match).check(entry.etag)
        self.set_header("Cache-Control", "private, no-cache")
        self.set_header("ETag", str(entry.etag))
        try:
            Precondition(if_none_match=condition.if_none_match).check(entry.etag)
        except PreconditionFailedError:
            self.set_status(HTTPStatus.NOT_MODIFIED)
            self.finish(set_content_type=BYTES)
            return False
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Content-Disposition", attachment(entry.name))
        return True

    async def _send(self, file: OpenFile) -> None:
        size = file.entry.size_bytes or 0
        wanted = None
        if range_applies(self.request.headers, file.entry.etag):
            wanted = read_range(self.request.headers.get("Range"), size)
        if wanted is not None:
            self.set_status(HTTPStatus.PARTIAL_CONTENT)
            self.set_header("Content-Range", f"bytes {wanted.start}-{wanted.stop - 1}/{size}")
        position, stop = (0, size) if wanted is None else (wanted.start, wanted.stop)
        self.set_header("Content-Type", BYTES)
        self.set_header("Content-Length", str(stop - position))
        await self.send_part(file, position, stop)
        self.finish(set_content_type=BYTES)

    @operation(
        "Delete a file or a folder",
        description="For good. A folder has to be empty, unless `recursive` is set.",
        parameters=(
            Parameter(
                name="recursive",
                description="Delete a folder with all that is in it.",
                schema={"type": "boolean", "default": False},
            ),
            _IF_MATCH,
        ),
        answers={HTTPStatus.NO_CONTENT: None},
        errors=(
            *_WRITE_REFUSALS,
            HTTPStatus.PRECONDITION_FAILED,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    )
    @authenticated
    @authorized(action="write", resource="exec-files")
    async def delete(self, session_id: str, path: str) -> None:
        """Delete it."""
        await self.files.delete(
            session_id,
            path,
            is_recursive=read_flag("recursive", self.get_query_argument("recursive", None)),
            precondition=read_precondition(self.request.headers),
            user=self.share_key,
        )
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class ArchiveHandler(FileHandler):
    """Many files of a session as one."""

    @operation(
        "Download files as an archive",
        description="A tar file (pax) of files, and of folders with all that is in them. Links"
        " in folders are left out, and so is what is hidden where the server does not show it; one"
        " that is named itself is refused, as is what is neither a file nor a folder.",
        parameters=(
            Parameter(
                name="path",
                description="What to take; can be given many times. Absent: all there is.",
                schema={"type": "array", "items": _STRING},
            ),
        ),
        answers={HTTPStatus.OK: Answer(TAR, (_DISPOSITION,))},
        errors=(*_WRITE_REFUSALS, HTTPStatus.TOO_MANY_REQUESTS),
    )
    @authenticated
    @authorized(action="read", resource="exec-files")
    async def get(self, session_id: str) -> None:
        """Send it."""
        paths = self.query_texts("path")
        with suppress(StreamClosedError):
            async with aclosing(
                self.files.archive(session_id, paths, user=self.share_key)
            ) as pieces:
                self.set_header("Content-Disposition", attachment(f"{session_id}.tar"))
                self.set_header("Content-Type", TAR)
                gathered = bytearray()
                async for piece in pieces:
                    gathered += piece
                    if len(gathered) >= READ_BYTES:
                        await self.send(bytes(gathered))
                        gathered.clear()
            self.finish(bytes(gathered), set_content_type=TAR)
