"""Requests and their answers, or the errors that they are."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from jupyter_exec_ext.client.errors import (
    BusyError,
    ClientError,
    NoAnswerError,
    NoServiceError,
    NotAllowedError,
    RefusedError,
    ServiceFailedError,
)

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""How long one silent moment of a request may last, beyond what it asked the server to wait."""


class Transport:
    """Sends requests to one Jupyter Server; see `ExecClient`."""

    def __init__(self, url: str, token: str | None = None, *, trust_env: bool = True) -> None:
        self.url = url.rstrip("/") + "/"
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={"Authorization": f"token {token}"} if token else {},
                timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                trust_env=trust_env,
            )
        except httpx.InvalidURL as error:
            raise RefusedError(f"{url} is not the URL of a server", code="InvalidUrl") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._http.close()

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        response = self._request(method, path, **options)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._no_service(response.status_code)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = READ_SECONDS,
    ) -> httpx.Response:
        with self._failures():
            response = self._http.request(
                method,
                path,
                params=dict(params or {}),
                json=json,
                content=content,
                headers=headers,
                timeout=_timeout(params, timeout_seconds),
            )
        if not response.is_success:
            raise self._refusal(response)
        return response

    @contextmanager
    def _stream(
        self,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = READ_SECONDS,
    ) -> Iterator[httpx.Response]:
        """Give an answer whose body is still to be read; what fails then is a `ClientError` too.

        Args:
            timeout_seconds: How long each piece of it may take.
        """
        with (
            self._failures(),
            self._http.stream(
                "GET",
                path,
                params=dict(params or {}),
                headers=headers,
                timeout=_timeout(params, timeout_seconds),
            ) as response,
        ):
            if not response.is_success:
                response.read()
                raise self._refusal(response)
            yield response

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise NoAnswerError(
                f"the server at {self.url} did not answer in time", code="NoAnswer"
            ) from error
        except httpx.HTTPError as error:
            raise NoAnswerError(
                f"cannot reach a server at {self.url}: {error}", code="NoAnswer"
            ) from error

    def _refusal(self, response: httpx.Response) -> ClientError:
        """Return the error that the answer is; Jupyter's own have a message and no code."""
        status = response.status_code
        try:
            body = response.json()
        except ValueError:
            body = None
        body = body if isinstance(body, dict) else {}
        code = body.get("code")
        message = str(body.get("message") or response.reason_phrase or f"status {status}")
        facts: dict[str, Any] = {
            "target": body.get("target"),
            "details": [str(detail) for detail in body.get("details") or ()],
            "status": status,
        }
        # Without the extension, Jupyter redirects exec/ to exec; who must log in is sent elsewhere.
        to_login = response.is_redirect and "login" in response.headers.get("Location", "")
        if status in (401, 403) or to_login:
            message = (
                f"the server at {self.url} does not accept the token,"
                " or does not let its user do this"
                if "Authorization" in response.request.headers
                else f"the server at {self.url} wants a token, and none was given"
            )
            return NotAllowedError(message, code=code or "NotAllowed", **facts)
        if status == httpx.codes.TOO_MANY_REQUESTS:
            after = response.headers.get("Retry-After", "")
            return BusyError(
                message,
                code=code or "TooMany",
                retry_after_seconds=int(after) if after.isdecimal() else None,
                **facts,
            )
        if response.is_server_error:
            return ServiceFailedError(message, code=code or "ServiceFailed", **facts)
        if not code and "/api/contents/" not in response.url.path:
            return self._no_service(status)
        return RefusedError(message, code=code or "Refused", **facts)

    def _no_service(self, status: int) -> NoServiceError:
        return NoServiceError(
            f"the server at {self.url} has no execution API (jupyter_exec_ext)",
            code="NoService",
            status=status,
        )


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not ``None``."""
    return {name: value for name, value in fields.items() if value is not None}


def _timeout(params: Mapping[str, Any] | None, timeout_seconds: float) -> httpx.Timeout:
    wait_seconds = float((params or {}).get("wait", 0))
    return httpx.Timeout(
        timeout_seconds + wait_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)
    )
