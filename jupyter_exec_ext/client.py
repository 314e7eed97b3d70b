"""A thin synchronous client of the native REST API."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import quote

import httpx

Record: TypeAlias = dict[str, Any]
"""An execution, as the API answers it."""

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""How long one silent moment of a request may last, beyond what it asked the server to wait."""

PAGE_SIZE = 200


class ClientError(Exception):
    """A request did not get what it asked for.

    Attributes:
        code: A stable name for programs.
        message: One sentence for people.
        target: The field of the request that is at fault, dotted, or ``None``.
        details: More findings, one sentence each.
        status: The HTTP status; ``None`` when there was no answer.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        target: str | None = None,
        details: Sequence[str] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.target = target
        self.details = tuple(details)
        self.status = status


class RefusedError(ClientError):
    """The request cannot be carried out as it stands (400, 404, 409, 413, 422)."""


class NotAllowedError(ClientError):
    """The server wants another token, or its user may not do this (401, 403, a login page)."""


class BusyError(ClientError):
    """A limit of the server is reached for now (429).

    Attributes:
        retry_after_seconds: When it is worth trying again; ``None`` when not told.
    """

    def __init__(
        self, message: str, *, code: str, retry_after_seconds: int | None, **facts: Any
    ) -> None:
        super().__init__(message, code=code, **facts)
        self.retry_after_seconds = retry_after_seconds


class ServiceFailedError(ClientError):
    """The service cannot do this (5xx)."""


class NoServiceError(ClientError):
    """Something answered, but not this API: the server has no jupyter_exec_ext."""


class NoAnswerError(ClientError):
    """The server could not be reached, or did not answer in time."""


class ExecClient:
    """Talks to the execution API of one Jupyter Server; use as a context manager, or close it.

    Each method raises a subclass of `ClientError` when it does not get its answer.

    Args:
        url: The server with its base URL, as ``https://hub.example/user/alice/``.
        token: Sent in the ``Authorization`` header and never shown; ``None`` sends none.
        trust_env: Whether proxies of the environment are used.
    """

    def __init__(self, url: str, token: str | None = None, *, trust_env: bool = True) -> None:
        self.url = url.rstrip("/") + "/"
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"token {token}"} if token else {},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            trust_env=trust_env,
        )

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

    def capabilities(self, *, timeout_seconds: float = READ_SECONDS) -> dict[str, Any]:
        """Return the version, features and limits of the service."""
        return self._json("GET", "exec/", timeout_seconds=timeout_seconds)

    def create(
        self,
        notebook: str | None = None,
        *,
        code: str | None = None,
        command: Mapping[str, str | Sequence[str] | None] | None = None,
        session_id: str | None = None,
        session_name: str | None = None,
        stdin: Sequence[str] | None = None,
        cells: Sequence[str | int] | Mapping[str, str | int] | None = None,
        save_to: str | None = None,
        kernel_name: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        variable_names: Sequence[str] = (),
        timeout_seconds: float | None = None,
        cell_timeout_seconds: float | None = None,
        on_error: Literal["stop", "continue"] | None = None,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
        wait_seconds: float | None = None,
    ) -> Record:
        """Start an execution, of a notebook, of code or of a command, and return its record.

        What is ``None`` is left to the server.

        Args:
            notebook: API path, relative to the server root; ``None`` to execute something else.
            command: The steps ``clean``, ``build`` and ``exec``: each for a shell, or a list of
                arguments.
            session_name: The session to run in; created when there is none with the name.
            stdin: Answers to what the code asks; ``None`` waits for `answer`.
            wait_seconds: Wait so long for the end; the record is then final or not.
        """
        body = {
            "notebook": _given({"path": notebook, "cells": cells, "save_to": save_to}) or None,
            "code": code,
            "command": None if command is None else dict(command),
            "session_id": session_id,
            "session_name": session_name,
            "stdin": None if stdin is None else list(stdin),
            "kernel_name": kernel_name,
            "inputs": dict(inputs) if inputs else None,
            "variable_names": list(variable_names) or None,
            "timeout_seconds": timeout_seconds,
            "cell_timeout_seconds": cell_timeout_seconds,
            "on_error": on_error,
            "labels": dict(labels) if labels else None,
            "description": description,
        }
        return self._json(
            "POST", "exec/executions", json=_given(body), params=_given({"wait": wait_seconds})
        )

    def get(
        self,
        execution_id: str,
        *,
        view: Literal["basic", "full"] = "full",
        wait_seconds: float | None = None,
    ) -> Record:
        """Return the record; a basic view has no ``result``.

        Args:
            wait_seconds: Wait so long for the end, but answer as soon as it is there.
        """
        return self._json(
            "GET", _path(execution_id), params=_given({"view": view, "wait": wait_seconds})
        )

    def list(self, *, state: str | None = None, limit: int | None = None) -> Iterator[Record]:
        """Yield records, newest first, at most *limit*; fetches page by page."""
        token = None
        left = limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page = self._json(
                "GET",
                "exec/executions",
                params=_given(
                    {
                        "state": state,
                        "page_size": size,
                        "page_token": token,
                        "order_by": "-created_time",
                    }
                ),
            )
            records = page.get("executions", [])
            yield from records
            token = page.get("next_page_token")
            if not token:
                return
            left = None if left is None else left - len(records)

    def log(self, execution_id: str) -> str:
        """Return the text that the execution printed so far."""
        return self._request("GET", f"{_path(execution_id)}/log").text

    def notebook(self, execution_id: str) -> dict[str, Any]:
        """Return the executed notebook, with the outputs so far."""
        return self._json("GET", f"{_path(execution_id)}/notebook")

    def cancel(self, execution_id: str) -> Record:
        """Ask for the end of the execution and return its record, which may not be final yet."""
        return self._json("POST", f"{_path(execution_id)}/cancel")

    def answer(self, execution_id: str, value: str | None) -> None:
        """Answer what the execution asks for; refused when it asks for nothing by now.

        Args:
            value: One line; ``None`` ends the input of the code.
        """
        self._request("POST", f"{_path(execution_id)}/input", json={"value": value})

    def delete(self, execution_id: str, *, force: bool = False) -> None:
        """Delete the record.

        Args:
            force: Cancel the execution first if it is not final; else that is refused.
        """
        self._request("DELETE", _path(execution_id), params={"force": "true"} if force else {})

    def has_file(self, path: str) -> bool:
        """Whether the server has a file or folder at the API path."""
        try:
            self._request("GET", _contents(path), params={"content": "0"})
        except RefusedError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    def upload_notebook(self, path: str, notebook: Mapping[str, Any]) -> None:
        """Save *notebook* at the API path, over what may be there."""
        body = {"type": "notebook", "format": "json", "content": dict(notebook)}
        self._request("PUT", _contents(path), json=body)

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
        timeout_seconds: float = READ_SECONDS,
    ) -> httpx.Response:
        wait_seconds = float((params or {}).get("wait", 0))
        timeout = httpx.Timeout(
            timeout_seconds + wait_seconds, connect=min(CONNECT_SECONDS, timeout_seconds)
        )
        try:
            response = self._http.request(
                method, path, params=dict(params or {}), json=json, timeout=timeout
            )
        except httpx.TimeoutException as error:
            raise NoAnswerError(
                f"the server at {self.url} did not answer in time", code="NoAnswer"
            ) from error
        except httpx.HTTPError as error:
            raise NoAnswerError(
                f"cannot reach a server at {self.url}: {error}", code="NoAnswer"
            ) from error
        if not response.is_success:
            raise self._refusal(response)
        return response

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
        to_login = response.is_redirect and "login" in response.headers["Location"]
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


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _path(execution_id: str) -> str:
    return f"exec/executions/{quote(execution_id, safe='')}"


def _contents(path: str) -> str:
    return f"api/contents/{quote(path.strip('/'))}"
