"""A run over a WebSocket: one socket, one run, and its output as it comes."""

import contextlib
from http import HTTPStatus
from typing import Any

import anyio
import msgspec
from tornado.web import authenticated
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import ExecError, NoInputRequestError
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.dialects.backendai.answers import CONTINUED, FINISHED
from jupyter_exec_ext.dialects.backendai.base import BackendAIMixin
from jupyter_exec_ext.dialects.backendai.errors import bad_params
from jupyter_exec_ext.dialects.backendai.runs import Run
from jupyter_exec_ext.dialects.backendai.wire import ExecuteBody
from jupyter_exec_ext.web.handler import ExecHandler
from jupyter_exec_ext.web.reading import decode_body
from jupyter_exec_ext.web.rights import authorized

IDLE_SECONDS = 30.0
"""For how long one look waits for the first news of a run."""

PING_SECONDS = 30.0


class StreamHandler(BackendAIMixin, WebSocketHandler, ExecHandler):  # type: ignore[misc]
    """The stream of one run, which ends with its socket."""

    _session: Session | None = None
    _run: Run | None = None
    _is_closed = False

    @property
    def ping_interval(self) -> float | None:
        """How often the client is asked whether it is there."""
        return PING_SECONDS

    @property
    def max_message_size(self) -> int:
        """Largest message that is taken, in bytes."""
        return int(self.services.limits.max_body_bytes)

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """Return true, or refuse a page of another origin."""
        return ExecHandler.check_origin(self, origin_to_satisfy_tornado)

    @authenticated
    @authorized(action="execute", resource="executions")
    async def get(self, key: str) -> None:  # type: ignore[override]
        """Open the socket, once it is known to lead somewhere."""
        await self.require("execute", "kernels")
        self._session = await self.session_of(key)
        self._check_handshake()
        self._user = self.current_user.username
        await WebSocketHandler.get(self, key)

    def _check_handshake(self) -> None:
        """Raise `RefusalError` for what Tornado would refuse in its own words."""
        headers = self.request.headers
        options = [option.strip().lower() for option in headers.get("Connection", "").split(",")]
        if headers.get("Upgrade", "").lower() != "websocket" or "upgrade" not in options:
            raise bad_params("this is a WebSocket")
        if headers.get("Sec-WebSocket-Version") != "13" or not headers.get("Sec-WebSocket-Key"):
            raise bad_params("this takes version 13 of WebSockets, with a key")

    async def on_message(self, message: str | bytes) -> None:
        """Begin the run with the first message; what follows is its input."""
        if self._run is not None:
            if isinstance(message, str):
                # What is sent although nobody asks goes nowhere.
                with contextlib.suppress(NoInputRequestError):
                    await self.runs.send_input(self._run, message)
            return
        assert self._session is not None
        try:
            data = (
                message.encode("utf-8", "surrogateescape") if isinstance(message, str) else message
            )
            body = await threads.run_if_large(decode_body, data, ExecuteBody)
            if body.mode not in ("query", "batch"):
                raise bad_params("no such mode")
            # There is no loop of requests that would need an id.
            body = msgspec.structs.replace(body, run_id=None, snake_run_id=None)
            run = await self.runs.start(self._session, body, owner=self._user, is_remembered=False)
        except ExecError as error:
            await self._fail(error)
            return
        self._run = run
        if self._is_closed:
            self.services.executions.cancel_soon(run.execution_id)
            return
        self.services.supervisor.spawn(self._tell, run)

    async def _tell(self, run: Run) -> None:
        """Send what the run prints, until its end or that of the socket."""
        try:
            while not self._is_closed:
                answer = await self.runs.answer(
                    run,
                    user=self.share_key,
                    seconds=self.dialect_options.stream_flush_seconds,
                    idle_seconds=IDLE_SECONDS,
                )
                if answer["status"] != CONTINUED or answer["console"]:
                    await self._send(answer)
                if answer["status"] == FINISHED:
                    self.close()
                    return
        except ExecError as error:
            await self._fail(error)

    async def _send(self, answer: dict[str, Any]) -> None:
        """Send one message; a client that takes nothing for too long is cut off."""
        text = await threads.run_if_large(_encode, answer)
        try:
            with anyio.fail_after(self.services.limits.transfer_timeout_seconds):
                await self.write_message(text)
        except WebSocketClosedError:
            self._is_closed = True
        except TimeoutError:
            self._is_closed = True
            connection: Any = self.ws_connection
            if connection is not None:
                connection.abort()

    async def _fail(self, error: ExecError) -> None:
        """Say what is wrong, and close: a client goes on for ever otherwise."""
        body = self.failure(HTTPStatus.BAD_REQUEST, error).body
        await self._send({"status": "error", "msg": f"{body['title']} {body['msg']}"})
        self.close()

    def on_close(self) -> None:
        """End the run with its socket."""
        self._is_closed = True
        if self._run is not None and not self._run.has_ended:
            self.services.executions.cancel_soon(self._run.execution_id)


def _encode(answer: dict[str, Any]) -> str:
    return msgspec.json.encode(answer).decode()
