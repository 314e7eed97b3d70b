"""The base of all handlers: bodies in, values out, errors in one shape."""

from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any, ClassVar, TypeVar

import anyio
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import ensure_async, url_path_join
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler, stream_request_body

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecError,
    MalformedRequestError,
    RangeNotSatisfiableError,
    TooLargeError,
    TooManyError,
)
from jupyter_exec_ext.core.models import Execution, Result
from jupyter_exec_ext.services.supervisor import log_defect
from jupyter_exec_ext.web.errors import body_of, body_of_status, status_of
from jupyter_exec_ext.web.reading import decode_body
from jupyter_exec_ext.web.views import encode

T = TypeVar("T")

PARAMETERS_OF_SERVER = ("token", "_xsrf", "no_track_activity")
"""Parameters of the query string that the server itself reads."""


@stream_request_body
class ExecHandler(APIHandler):
    """A handler that knows the error table and keeps no more of a body than it may.

    The body is streamed, so that of one that is too large, or whose sender may not send it,
    nothing stays in memory. Tornado calls the verb when the body is complete.

    Attributes:
        error_content_type: What the body of an error is.
        is_client_gone: Whether the connection was closed before the answer was complete.
        is_host_refused: Whether the request was refused, before anything else, for the name by
            which it called this server.
    """

    error_content_type = "application/json"
    is_client_gone = False
    is_host_refused = False
    _when_gone: Callable[[], None] | None = None

    def initialize(self, *, max_body_bytes: int) -> None:
        """Take the limit; subclasses take their services."""
        self._max_body_bytes = max_body_bytes
        self._body: bytearray | None = bytearray()

    async def prepare(self) -> None:  # type: ignore[override]
        """Authenticate; a refusal is answered when the body has been read and thrown away."""
        try:
            await super().prepare()
            length = self.request.headers.get("Content-Length") or "0"
            if not (length.isascii() and length.isdecimal() and len(length) < 20):
                raise MalformedRequestError("this is no length", target="Content-Length")
            if int(length) > self._max_body_bytes:
                raise self._too_large()
            self.check_query()
        except (HTTPError, ExecError) as refusal:
            self.refuse(refusal)

    def check_host(self) -> bool:
        """Whether the server may be called by the name in ``Host``."""
        self.is_host_refused = not super().check_host()
        return not self.is_host_refused

    def check_origin(self, origin_to_satisfy_tornado: str = "") -> bool:
        """Return true, or refuse a page of another origin; for Jupyter that is a 404."""
        if not super().check_origin(origin_to_satisfy_tornado):
            raise HTTPError(HTTPStatus.FORBIDDEN)
        return True

    def check_query(self) -> None:
        """Refuse a parameter that the verb lacks: a misspelt filter would match more."""
        verb = getattr(self, str(self.request.method).lower(), None)
        known = getattr(verb, "query_names", None)
        if verb is None or known is None or not self.current_user:
            return
        for name, values in self.request.query_arguments.items():
            # JupyterLab adds the time to a URL, without a value, to keep it out of caches.
            if name not in known and name not in PARAMETERS_OF_SERVER and not name.isdigit():
                raise MalformedRequestError(
                    f"there is no such parameter, but {', '.join(sorted(known)) or 'none at all'}",
                    target=name[:64],
                )
            if len(values) > 1 and name not in verb.query_lists:
                raise MalformedRequestError("this is given twice", target=name[:64])

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body."""
        if self._body is None:
            return
        self._body += chunk
        if len(self._body) > self._max_body_bytes:
            self.refuse(self._too_large())

    def when_gone(self, act: Callable[[], None]) -> None:
        """Call *act* when the client goes away before it has its answer; now, if it has gone."""
        self._when_gone = act
        if self.is_client_gone:
            act()

    def on_connection_close(self) -> None:
        """Note that nobody waits for the answer any more."""
        super().on_connection_close()
        self.is_client_gone = True
        if self._when_gone is not None:
            self._when_gone()

    async def flush_within(self, seconds: float) -> None:
        """Send what was written; a client that does not take it in so long is cut off.

        Raises:
            StreamClosedError: The client is gone.
        """
        try:
            with anyio.fail_after(seconds):
                await self.flush()
        except TimeoutError:
            self.cut()
            raise StreamClosedError from None

    def cut(self) -> None:
        """Close the connection as it is."""
        connection: Any = self.request.connection
        connection.stream.close()

    def refuse(self, refusal: Exception) -> None:
        """Let the verb raise *refusal*: an earlier answer would make Tornado cut the connection
        while the client still sends, and many clients then do not read the answer.
        """

        def raise_it(*_: str) -> None:
            raise refusal

        self._body = None
        setattr(self, str(self.request.method).lower(), raise_it)

    @property
    def is_refused(self) -> bool:
        """Whether `refuse` was called."""
        return self._body is None

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body of a request has at most {self._max_body_bytes} bytes")

    def query_texts(self, name: str) -> list[str]:
        """Return the values of a parameter of the query string, digit for digit.

        Tornado's own way drops blanks around them, and control characters in them.

        Raises:
            MalformedRequestError: One is not UTF-8.
        """
        try:
            return [value.decode() for value in self.request.query_arguments.get(name, [])]
        except UnicodeDecodeError as error:
            raise MalformedRequestError("this is not UTF-8", target=name) from error

    async def read_body(self, kind: type[T]) -> T:
        """Return the body as a *kind*; raises `MalformedRequestError` naming the field at fault."""
        body = bytes(self._body or b"")
        if self._body:
            self._body = bytearray()  # The request may wait for minutes, and it is read once.
        return await threads.run_if_large(decode_body, body, kind)

    async def require(self, action: str, resource: str) -> None:
        """Ask the server's authorizer for one more right than the verb itself needs.

        Raises:
            HTTPError: 403, the user lacks it, or nobody is signed in.
        """
        if not await self.may(action, resource):
            raise HTTPError(HTTPStatus.FORBIDDEN)

    async def may(self, action: str, resource: str) -> bool:
        """Whether the server's authorizer allows the user one more right."""
        return bool(self.current_user) and bool(
            await ensure_async(
                self.authorizer.is_authorized(self, self.current_user, action, resource)
            )
        )

    async def may_view(self, execution: Execution) -> bool:
        """Whether the answer to a request that is not a read may show what *execution* ran.

        That is the user's own execution, or one of a user who may read executions: a request that
        is repeated with the key or the id of another user's request finds that user's execution.
        """
        return execution.owner == self.current_user.username or await self.may("read", "executions")

    @property
    def share_key(self) -> str:
        """Whose share of streams, transfers and waiting requests this request counts in.

        Jupyter makes up a new user for each request with the server's own token: all of these
        count as one user. Every other user counts by name.
        """
        provider: Any = self.identity_provider
        user: Any = self.current_user
        token = getattr(provider, "token", None)
        if token and self.token_authenticated and provider.get_token(self) == token:
            return ""
        return str(user.username)

    def link(self, *parts: str) -> str:
        """Return the path of a resource of ours, right under any base URL and behind any proxy."""
        return url_path_join(self.base_url, "exec", *parts)

    def write_value(self, value: Any, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Answer with *value*, which is small, as JSON; see `web.views`."""
        self.set_status(status)
        self.finish(encode(value))

    async def write_result(
        self,
        view: Callable[[Execution, Result], Any],
        execution: Execution,
        result: Result,
        status: HTTPStatus = HTTPStatus.OK,
    ) -> None:
        """Answer with what *view* makes of a record and of its result, which may be large."""

        def encode_view() -> bytes:
            return encode(view(execution, result))

        # A view can show printed text twice, and a control character has six bytes in JSON.
        is_large = threads.is_large(result, max_bytes=threads.LARGE_BYTES // 12)
        body = await threads.run_sync(encode_view) if is_large else encode_view()
        self.set_status(status)
        self.finish(body)

    def set_default_headers(self) -> None:
        """Keep browsers from taking what users' code made for a page."""
        super().set_default_headers()
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Cache-Control", "no-store")

    def compute_etag(self) -> str | None:
        """Return none: no answer is to be kept, and none is worth a hash of all its bytes."""
        return None

    @property
    def content_security_policy(self) -> str:
        """Jupyter's policy for APIs, and a sandbox."""
        return f"{super().content_security_policy}; sandbox"

    @property
    def allowed_methods(self) -> list[str]:
        """The methods that this handler has, as the header ``Allow`` names them."""
        return [
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), method.lower()) is not getattr(RequestHandler, method.lower())
        ]

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        """Answer an error with the status of our table."""
        if self._headers_written:
            # What was sent looks like success: only a cut connection tells that it is not whole.
            self.detach().close()
            return
        error = _error_in(kwargs)
        if error is not None:
            status_code = status_of(type(error))
        super().send_error(status_code, **kwargs)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Write the body of an error; never a traceback of the server."""
        body = self.error_body(status_code, _error_in(kwargs))
        self.finish(body, set_content_type=self.error_content_type)

    def error_body(self, status_code: int, error: ExecError | None) -> bytes:
        """Return the body of an error and set the headers that go with it.

        Args:
            error: ``None`` when it is none of ours.
        """
        if error is not None:
            body = body_of(error)
            if isinstance(error, TooManyError):
                self.set_header("Retry-After", str(error.retry_after_seconds))
            if isinstance(error, RangeNotSatisfiableError):
                self.set_header("Content-Range", f"bytes */{error.size_bytes}")
        else:
            body = body_of_status(status_code)
            if self.is_host_refused:
                body = replace(body, message="the server is not known by the name in Host")
            elif status_code == HTTPStatus.FORBIDDEN and not self.current_user:
                body = replace(body, message="no valid token or cookie came with the request")
            if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                self.set_header("Allow", ", ".join(self.allowed_methods))
        return encode(body)

    def _request_summary(self) -> str:
        """Return what Tornado logs of a request that it refuses; a query can hold tokens."""
        return f"{self.request.method} {self.request.path} ({self.request.remote_ip})"

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log a defect, but not a refused request, which the access log has."""
        if isinstance(value, HTTPError):
            super().log_exception(typ, value, tb)
        elif not isinstance(value, ExecError):
            log_defect(self.log, value)


class RefusingMixin:
    """Makes a handler refuse whatever comes, once the caller is known.

    It stands before the base of the handler.

    Attributes:
        refusal: The status.
    """

    refusal: ClassVar[HTTPStatus] = HTTPStatus.NOT_FOUND
    _track_activity = False

    async def prepare(self) -> None:
        """Refuse it."""
        handler: Any = self
        base: Any = super()
        await base.prepare()
        if not handler.is_refused:
            handler.refuse(
                HTTPError(self.refusal if handler.current_user else HTTPStatus.FORBIDDEN)
            )


def _error_in(kwargs: dict[str, Any]) -> ExecError | None:
    error = kwargs.get("exc_info", (None, None))[1]
    return error if isinstance(error, ExecError) else None
