"""REST handlers that go on while a client follows an execution: its events and its log."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from http import HTTPStatus

from tornado.iostream import StreamClosedError
from tornado.web import authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.api.operations import CONTENT_RANGE, Answer, Parameter, operation
from jupyter_exec_ext.core.errors import (
    ConflictError,
    ExecutionNotFoundError,
    InvalidArgumentError,
    MalformedRequestError,
    ServerStoppingError,
)
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.services.executions import ExecutionService
from jupyter_exec_ext.services.following import Following, LogFold, log_size
from jupyter_exec_ext.services.log_reader import LogReader
from jupyter_exec_ext.services.merging import MAX_ENDED, MAX_EXECUTIONS, Cursor, MergedStreams
from jupyter_exec_ext.services.session_log import SessionLog, SessionLogReader
from jupyter_exec_ext.services.sessions import SessionService
from jupyter_exec_ext.web.handler import ExecHandler
from jupyter_exec_ext.web.ranges import read_range, read_start
from jupyter_exec_ext.web.reading import read_flag, read_position, read_time
from jupyter_exec_ext.web.rights import authorized
from jupyter_exec_ext.web.streams import (
    NDJSON_HEARTBEAT,
    SSE_HEARTBEAT,
    Encoding,
    encode_ndjson,
    encode_sse,
)

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"
TEXT = "text/plain; charset=utf-8"

END_OF_LIVE_RANGE = 2**53 - 1
"""The end of a range that still grows (RFC 8673)."""

_NUMBER = {"type": "integer", "minimum": 0}
_LAST_EVENT_ID = Parameter(
    name="Last-Event-ID",
    description="The `id` of the last event that the client has: only what follows is sent.",
    schema=_NUMBER,
    place="header",
)
_AFTER = Parameter(
    name="after",
    description="The same, for clients that cannot set the header, which wins.",
    schema=_NUMBER,
)
_FOLLOW = Parameter(
    name="follow",
    description="Go on until the execution is final.",
    schema={"type": "boolean", "default": False},
)
_RANGE = Parameter(
    name="Range",
    description="One range of bytes; with `follow`, while it runs, only as `bytes=N-`. Another"
    " `Range`, or one with `If-Range`, is as none.",
    schema={"type": "string"},
    place="header",
)


class _Handler(ExecHandler):
    """What the handlers that follow share."""

    _track_activity = False

    def initialize(  # type: ignore[override]
        self, *, executions: ExecutionService, following: Following, limits: Limits
    ) -> None:
        """Take the services."""
        super().initialize(max_body_bytes=limits.max_body_bytes)
        self.executions = executions
        self.following = following
        self.limits = limits


class _EventsHandler(_Handler):
    """What the handlers of events share."""

    @property
    def last_event(self) -> tuple[str, str | None]:
        """The last event that the client has, ``None`` without one, after its parameter's name."""
        header = self.request.headers.get("Last-Event-ID")
        if header:
            return "Last-Event-ID", header
        return "after", self.get_query_argument("after", None) or None

    async def send_events(self, follower: LogReader) -> None:
        """Send what *follower* reads until nothing more can come; 204 if nothing follows at all."""
        is_ndjson = NDJSON in self.request.headers.get("Accept", "").lower()
        content_type, encode, heartbeat = (
            (NDJSON, encode_ndjson, NDJSON_HEARTBEAT)
            if is_ndjson
            else (SSE, encode_sse, SSE_HEARTBEAT)
        )
        self.when_gone(follower.close)
        data = await _read(follower, encode, seconds=0)
        if follower.has_ended and not data:
            self.set_status(HTTPStatus.NO_CONTENT)
            self.finish()
            return
        self.set_header("Content-Type", content_type)
        self.set_header("Vary", "Accept")
        self.set_header("X-Accel-Buffering", "no")
        # Nothing can be sent after the client has left or the execution was deleted.
        with contextlib.suppress(StreamClosedError, ExecutionNotFoundError):
            while True:
                self.write(data or heartbeat)
                # While a slow client takes it only the connection holds it.
                del data
                await self.flush_within(self.limits.transfer_timeout_seconds)
                if follower.has_ended:
                    break
                data = await _read(follower, encode, seconds=self.limits.heartbeat_seconds)
        self.finish(set_content_type=content_type)


class EventsHandler(_EventsHandler):
    """What happens in one execution, as it happens."""

    @operation(
        "Follow an execution",
        description="A stream of events as `text/event-stream`, or with `Accept:"
        " application/x-ndjson` as lines of JSON. It begins with the first event, or after the"
        " one that the client has, and ends with the event `end`; 204 says that nothing follows."
        " The guide describes the events.",
        parameters=(_LAST_EVENT_ID, _AFTER),
        answers={HTTPStatus.OK: (SSE, NDJSON), HTTPStatus.NO_CONTENT: None},
        errors=(HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS),
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, execution_id: str) -> None:
        """Send events until the last."""
        after = read_position(*self.last_event)
        with self.following.follow(execution_id, after=after, user=self.share_key) as follower:
            await self.send_events(follower)


class MergedEventsHandler(_EventsHandler):
    """What happens in several executions, as it happens."""

    def initialize(  # type: ignore[override]
        self,
        *,
        executions: ExecutionService,
        merged: MergedStreams,
        following: Following,
        limits: Limits,
    ) -> None:
        """Take the services."""
        super().initialize(executions=executions, following=following, limits=limits)
        self.merged = merged

    @operation(
        "Follow several executions",
        description="One stream with the events of the executions of a session, new ones included,"
        " or of a list of executions. Each event has its `execution_id` and a `cursor`, which is"
        " the `id` of the server-sent event. The stream ends when nothing more can come; 204"
        " reports that nothing follows. The guide describes it.",
        parameters=(
            Parameter(
                name="session_id",
                description="The session whose executions are followed: those that are not final,"
                " and all that come later.",
                schema={"type": "string"},
            ),
            Parameter(
                name="id",
                description="An execution to follow; can be given up to"
                f" {MAX_EXECUTIONS} times, without `session_id`.",
                schema={"type": "array", "items": {"type": "string"}, "maxItems": MAX_EXECUTIONS},
            ),
            Parameter(
                name="created_after",
                description="With `session_id`: also the executions that are final already, if they"
                f" were created then or later; at most {MAX_ENDED}. A request that resumes a stream"
                " ignores it.",
                schema={"type": "string", "format": "date-time"},
            ),
            Parameter(
                name="Last-Event-ID",
                description="The `cursor` of the last event that the client has: only what follows"
                " is sent. The other parameters must be the same as before.",
                schema={"type": "string"},
                place="header",
            ),
            Parameter(
                name="after",
                description="A `cursor` as in `Last-Event-ID`, for clients that cannot set the"
                " header, which wins.",
                schema={"type": "string"},
            ),
        ),
        answers={HTTPStatus.OK: (SSE, NDJSON), HTTPStatus.NO_CONTENT: None},
        errors=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.UNPROCESSABLE_ENTITY,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Send events until nothing more can come."""
        session_id = self.get_query_argument("session_id", None)
        ids = list(dict.fromkeys(self.get_query_arguments("id")))
        created_after = read_time("created_after", self.get_query_argument("created_after", None))
        if (session_id is None) == (not ids):
            raise InvalidArgumentError("give either session_id or id", target="session_id")
        if len(ids) > MAX_EXECUTIONS:
            raise MalformedRequestError(f"at most {MAX_EXECUTIONS} ids are taken", target="id")
        if session_id is None and created_after is not None:
            raise InvalidArgumentError("created_after requires session_id", target="created_after")
        after = self.read_cursor()
        followed = (
            self.merged.follow_executions(ids, after=after, user=self.share_key)
            if session_id is None
            else self.merged.follow_session(
                session_id, after=after, created_after=created_after, user=self.share_key
            )
        )
        async with followed as reader:
            await self.send_events(reader)

    def read_cursor(self) -> Cursor | None:
        """Return the position that the client has reached; ``None`` when it has none."""
        name, text = self.last_event
        try:
            return None if text is None else Cursor.decode(text)
        except ValueError as error:
            raise InvalidArgumentError(
                f"{name} must be the cursor of an event of this stream", target=name
            ) from error


class _LogHandler(_Handler):
    """What the handlers of logs share: parts of a log, and a log as it grows."""

    @property
    def range_header(self) -> str | None:
        """The range that is asked for; what would make it depend on a validator we have not."""
        headers = self.request.headers
        return None if "If-Range" in headers else headers.get("Range")

    def set_log_headers(self) -> None:
        """Say what it is, before it begins."""
        self.set_header("Content-Type", TEXT)
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("X-Accel-Buffering", "no")

    async def send_so_far(self, read: Callable[[], LogReader]) -> None:
        """Write the log as it is now, or the range of it that the client requests.

        Args:
            read: Called for a new reader of what is there.
        """
        wanted = None
        if self.range_header is not None:
            size = await log_size(read())
            wanted = read_range(self.range_header, size)
            if wanted is not None:
                self.set_status(HTTPStatus.PARTIAL_CONTENT)
                self.set_header("Content-Range", f"bytes {wanted.start}-{wanted.stop - 1}/{size}")
                self.set_header("Content-Length", str(len(wanted)))
        sent = await self.send_log(read(), wanted)
        if wanted is not None and sent < len(wanted):
            raise ConflictError("retention cut the log while it was read")

    async def follow(self, followed: AbstractContextManager[LogReader]) -> None:
        """Write it until nothing more can come."""
        start = read_start(self.range_header)
        wanted = None
        if start is not None:
            wanted = range(start, END_OF_LIVE_RANGE + 1)
            self.set_status(HTTPStatus.PARTIAL_CONTENT)
            self.set_header("Content-Range", f"bytes {start}-{END_OF_LIVE_RANGE}/*")
        with followed as follower:
            self.when_gone(follower.close)
            await self.send_log(follower, wanted)
        if not follower.has_ended:
            # It must not look whole.
            raise ServerStoppingError("the server is stopping")

    async def send_log(self, follower: LogReader, wanted: range | None) -> int:
        """Write the bytes of the log at the positions *wanted*, ``None`` for all; count them."""
        log, position, sent, seconds = LogFold(), 0, 0, 0.0
        start, stop = (0, END_OF_LIVE_RANGE) if wanted is None else (wanted.start, wanted.stop)
        while not follower.has_ended and position < stop:
            data = log.add(await follower.read(seconds=seconds))
            piece = data[max(0, start - position) : stop - position]
            position += len(data)
            sent += len(piece)
            self.write(piece)
            # While a slow client takes it only the connection holds it.
            del data, piece
            await self.flush_within(self.limits.transfer_timeout_seconds)
            seconds = self.limits.heartbeat_seconds
        return sent


class LogHandler(_LogHandler):
    """What one execution printed."""

    @operation(
        "Read the log of an execution",
        description="The printed text of both streams in order, as far as it is there.",
        parameters=(_FOLLOW, _RANGE),
        answers={
            HTTPStatus.OK: "text/plain",
            HTTPStatus.PARTIAL_CONTENT: Answer("text/plain", (CONTENT_RANGE,)),
        },
        errors=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, execution_id: str) -> None:
        """Write it piece by piece."""
        self.set_log_headers()
        is_following = read_flag("follow", self.get_query_argument("follow", None))
        with contextlib.suppress(StreamClosedError):
            if is_following and not (await self.executions.get(execution_id)).state.is_final:
                await self.follow(self.following.follow(execution_id, user=self.share_key))
            else:
                await self.send_so_far(lambda: self.following.so_far(execution_id))
        self.finish(set_content_type=TEXT)

    @operation(
        "Show how long the log of an execution is",
        description="In `Content-Length`, as far as it is there.",
        answers={HTTPStatus.OK: None},
        errors=(HTTPStatus.NOT_FOUND,),
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def head(self, execution_id: str) -> None:
        """Answer with headers only."""
        size = await log_size(self.following.so_far(execution_id))
        self.set_log_headers()
        self.set_header("Content-Length", str(size))
        self.finish(set_content_type=TEXT)


class SessionLogHandler(_LogHandler):
    """What the kernel of one session printed after the executions that started it had ended."""

    def initialize(  # type: ignore[override]
        self,
        *,
        executions: ExecutionService,
        sessions: SessionService,
        following: Following,
        limits: Limits,
    ) -> None:
        """Take the services."""
        super().initialize(executions=executions, following=following, limits=limits)
        self.sessions = sessions

    @operation(
        "Read the log of a session",
        description="What its kernel printed after the executions that started it had ended: by"
        " threads and tasks that they left behind, for instance. The text of both streams, or with"
        " `Accept: application/x-ndjson` lines of JSON, with the `execution_id` where the kernel"
        " names the request. It is in memory, and ends with the session.",
        parameters=(
            Parameter(
                name="follow",
                description="Go on until the session ends.",
                schema={"type": "boolean", "default": False},
            ),
            Parameter(
                name="after",
                description="Of the lines of JSON, only those whose `id` is higher.",
                schema=_NUMBER,
            ),
            _RANGE,
        ),
        answers={
            HTTPStatus.OK: ("text/plain", NDJSON),
            HTTPStatus.PARTIAL_CONTENT: Answer("text/plain", (CONTENT_RANGE,)),
        },
        errors=(
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            HTTPStatus.TOO_MANY_REQUESTS,
        ),
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, session_id: str) -> None:
        """Write it piece by piece."""
        is_following = read_flag("follow", self.get_query_argument("follow", None))
        after = read_position("after", self.get_query_argument("after", None)) or 0
        is_ndjson = NDJSON in self.request.headers.get("Accept", "").lower()
        log = await self.sessions.log(session_id)
        self.set_header("Vary", "Accept")
        with contextlib.suppress(StreamClosedError):
            if is_ndjson:
                await self.send_lines(log, after=after, is_following=is_following)
                return
            self.set_log_headers()
            if is_following:
                await self.follow(self.following.follow_session(log, user=self.share_key))
            else:
                await self.send_so_far(lambda: SessionLogReader(log, after=0, is_following=False))
        self.finish(set_content_type=TEXT)

    async def send_lines(self, log: SessionLog, *, after: int, is_following: bool) -> None:
        """Write the entries as lines of JSON."""
        self.set_header("Content-Type", NDJSON)
        self.set_header("X-Accel-Buffering", "no")
        reader = (
            self.following.follow_session(log, after=after, user=self.share_key)
            if is_following
            else contextlib.nullcontext(SessionLogReader(log, after=after, is_following=False))
        )
        with reader as follower:
            self.when_gone(follower.close)
            data = await _read(follower, encode_ndjson, seconds=0)
            while not follower.has_ended:
                self.write(data or NDJSON_HEARTBEAT)
                del data
                await self.flush_within(self.limits.transfer_timeout_seconds)
                data = await _read(follower, encode_ndjson, seconds=self.limits.heartbeat_seconds)
        self.finish(set_content_type=NDJSON)


async def _read(follower: LogReader, encode: Encoding, *, seconds: float) -> bytes:
    """Return the next events as they are sent; nothing when none come in *seconds*."""
    events = await follower.read(seconds=seconds)
    return await threads.run_if_large(encode, events)
