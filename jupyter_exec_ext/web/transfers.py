"""What is common to handlers that move files: bodies that are not kept, answers piece by piece."""

import asyncio
import sys
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import quote

from tornado.web import HTTPError

from jupyter_exec_ext.core.errors import ConflictError, ExecError
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.ports import OpenFile
from jupyter_exec_ext.services.files import FileService, Receiver
from jupyter_exec_ext.services.supervisor import log_defect
from jupyter_exec_ext.web.errors import status_of
from jupyter_exec_ext.web.handler import ExecHandler

READ_BYTES = 1024 * 1024
"""How much of a file is read at once, and of an archive sent at once."""

FLUSH_BYTES = 64 * 1024
"""How much a client has to take in time for more to be sent."""

LINGER_SECONDS = 10.0
"""How long a client may go on sending what was refused: cut at once, many miss the answer."""


class FileHandler(ExecHandler):
    """A handler of files.

    Attributes:
        upload_verb: The method whose body is files. Rights are checked before anything of it is
            kept, and a refusal is sent while it comes.
    """

    upload_verb: ClassVar[str | None] = None

    def initialize(self, *, files: FileService, limits: Limits) -> None:  # type: ignore[override]
        """Take the service."""
        super().initialize(max_body_bytes=limits.max_body_bytes)
        self.files = files
        self.limits = limits
        self.receiver: Receiver | None = None
        self._watch: asyncio.TimerHandle | None = None

    @property
    def is_upload(self) -> bool:
        """Whether the body of this request is files."""
        return self.request.method == self.upload_verb

    @property
    def max_upload_bytes(self) -> int:
        """How large the body of an upload may be."""
        return self.limits.max_file_bytes

    async def prepare(self) -> None:  # type: ignore[override]
        """Authenticate; of an upload also check the rights, and get ready to take it."""
        if self.is_upload:
            self._max_body_bytes = self.max_upload_bytes
            # The server's own limit is for bodies that are kept in memory.
            connection: Any = self.request.connection
            connection.set_max_body_size(sys.maxsize)
        await super().prepare()
        if self.is_refused:
            return
        try:
            if not self.is_upload:
                if self.request.method in ("GET", "HEAD") and self.current_user:
                    # As for Jupyter's own files: a page of another site gets none by a cookie.
                    self.check_xsrf_cookie()
                return
            await self.require("write", "exec-files")
            self.receiver = await self.files.receive(
                await self.session_of_upload(), user=self.share_key
            )
            await self.begin_upload(self.receiver)
            self._watch_for(self.limits.transfer_timeout_seconds)
        except (HTTPError, ExecError) as refusal:
            await self._drop()
            self.refuse(refusal)

    async def session_of_upload(self) -> str:
        """Return the id of the session that the files are for."""
        return str(self.path_args[0])

    async def begin_upload(self, receiver: Receiver) -> None:
        """Check what can be known before the body comes."""

    async def take_upload(self, receiver: Receiver, chunk: bytes) -> None:
        """Take a piece of the body."""

    async def data_received(self, chunk: bytes) -> None:  # type: ignore[override]
        """Take a piece of the body; the next is read when this returns."""
        if not self.is_upload:
            super().data_received(chunk)
        elif self.receiver is not None:
            self._watch_for(self.limits.transfer_timeout_seconds)
            try:
                await self.take_upload(self.receiver, chunk)
            except Exception as error:  # noqa: BLE001 - the client gets an answer in any case
                await self._drop()
                self.refuse(error)

    def refuse(self, refusal: Exception) -> None:
        """Answer with *refusal*: of an upload at once, whatever still comes of it."""
        if not self.is_upload:
            super().refuse(refusal)
            return
        if self.is_refused:
            return  # It has its answer.
        self._body = None
        error = refusal if isinstance(refusal, ExecError) else None
        if isinstance(refusal, HTTPError):
            status = refusal.status_code
        elif error is not None:
            status = status_of(type(error))
        else:
            log_defect(self.log, refusal)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        self.set_status(status)
        body = self.error_body(status, error)
        # Else aiohttp before 3.10 stops sending, and takes the connection for its next request,
        # which is then read as the rest of this body, and answered by a bare 400.
        self.set_header("Connection", "close")
        if "Expect" in self.request.headers:
            # It waits for the word to go on, and does not get it.
            self.finish(body, set_content_type=self.error_content_type)
            return
        self.set_header("Content-Type", self.error_content_type)
        self.set_header("Content-Length", str(len(body)))
        self.write(body)
        # Whether it arrives is up to the client; the connection stays, to be read until the end.
        self.flush()

        async def end(*_: str) -> None:
            await self.finish()
            self.cut()

        setattr(self, str(self.request.method).lower(), end)
        self._watch_for(LINGER_SECONDS)

    def _watch_for(self, seconds: float) -> None:
        """Cut the connection after so long, unless this is called again before."""
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.get_running_loop().call_later(seconds, self.cut)

    async def _drop(self) -> None:
        """Leave nothing of what came."""
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            await receiver.close()

    def on_connection_close(self) -> None:
        """Leave nothing of an upload that was cut."""
        super().on_connection_close()
        self._leave()

    def on_finish(self) -> None:
        """Let go of everything."""
        super().on_finish()
        self._leave()

    def _leave(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            self.files.close_soon(receiver)

    async def send_part(self, file: OpenFile, start: int, stop: int) -> None:
        """Send the bytes of *file* at these positions.

        Raises:
            ConflictError: They are not there any more; what was sent must not look whole.
            StreamClosedError: The client is gone.
        """
        while start < stop:
            data = await file.read(start, min(READ_BYTES, stop - start))
            if not data:
                raise ConflictError("the file became shorter while it was read")
            start += len(data)
            await self.send(data)

    async def send(self, data: bytes) -> None:
        """Send a piece of the answer; a client that takes nothing for too long is cut off.

        Raises:
            StreamClosedError: The client is gone.
        """
        for start in range(0, len(data), FLUSH_BYTES):
            self.write(data[start : start + FLUSH_BYTES])
            await self.flush_within(self.limits.transfer_timeout_seconds)


def attachment(name: str) -> str:
    """Return the value of ``Content-Disposition`` that offers *name*, whatever is in it."""
    plain = "".join(
        letter if letter.isascii() and letter.isprintable() and letter not in '"\\%' else "_"
        for letter in name
    )
    value = f'attachment; filename="{plain}"'
    return value if plain == name else f"{value}; filename*=UTF-8''{quote(name, safe='')}"
