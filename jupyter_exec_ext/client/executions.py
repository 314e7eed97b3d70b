"""The verbs on executions."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import httpx

from jupyter_exec_ext.client.errors import RefusedError
from jupyter_exec_ext.client.sessions import SessionMethods
from jupyter_exec_ext.client.transport import READ_SECONDS, given

Record: TypeAlias = dict[str, Any]
"""An execution, as the API answers it."""

PAGE_SIZE = 200


class ExecClient(SessionMethods):
    """Talks to the execution API of one Jupyter Server; use as a context manager, or close it.

    Each method raises a subclass of `ClientError` when it does not get its answer.

    Args:
        url: The server with its base URL, as ``https://hub.example/user/alice/``.
        token: Sent in the ``Authorization`` header and never shown; ``None`` sends none.
        trust_env: Whether proxies of the environment are used.
    """

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
        session_path: str | None = None,
        stdin: Sequence[str] | None = None,
        cells: Sequence[str | int] | Mapping[str, str | int] | None = None,
        save_to: str | None = None,
        content: Mapping[str, Any] | None = None,
        kernel_name: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        variable_names: Sequence[str] = (),
        timeout_seconds: float | None = None,
        cell_timeout_seconds: float | None = None,
        on_error: Literal["stop", "continue"] | None = None,
        labels: Mapping[str, str] | None = None,
        origin: Mapping[str, str] | None = None,
        after: str | None = None,
        description: str | None = None,
        wait_seconds: float | None = None,
    ) -> Record:
        """Start an execution, of a notebook, of code or of a command, and return its record.

        What is ``None`` is left to the server.

        Args:
            notebook: API path, relative to the server root; ``None`` to execute something else.
            command: The steps ``clean``, ``build`` and ``exec``: each for a shell, or a list of
                arguments.
            content: The notebook, to run as if it were the file at the path; ``None`` runs that.
            origin: The ``path`` of the notebook and the ``cell_id`` that the code comes from.
            after: The id of the execution that must succeed first.
            session_name: The session to run in; created when there is none with the name.
            session_path: API path of the folder that this session works in; ``None`` means the
                notebook's folder, or a new one for code and commands, when it is created.
            stdin: Answers to what the code asks; ``None`` waits for `answer`.
            wait_seconds: Wait so long for the end; the record is then final or not.
        """
        body = {
            "notebook": given(
                {"path": notebook, "cells": cells, "save_to": save_to, "content": content}
            )
            or None,
            "code": code,
            "command": None if command is None else dict(command),
            "session_id": session_id,
            "session_name": session_name,
            "session_path": session_path,
            "stdin": None if stdin is None else list(stdin),
            "kernel_name": kernel_name,
            "inputs": dict(inputs) if inputs else None,
            "variable_names": list(variable_names) or None,
            "timeout_seconds": timeout_seconds,
            "cell_timeout_seconds": cell_timeout_seconds,
            "on_error": on_error,
            "labels": dict(labels) if labels else None,
            "origin": None if origin is None else dict(origin),
            "after": after,
            "description": description,
        }
        return self._json(
            "POST", "exec/executions", json=given(body), params=given({"wait": wait_seconds})
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
            "GET", _path(execution_id), params=given({"view": view, "wait": wait_seconds})
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
                params=given(
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

    def events(self, execution_id: str, *, after: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield what happens as it happens, until the end; heartbeats too, for who waits.

        A connection that was cut is a `NoAnswerError`, or ends this without the event ``end``.

        Args:
            after: The ``id`` of the last event that is known: only what follows is told.
        """
        with self._stream(
            f"{_path(execution_id)}/events",
            params=given({"after": after}),
            headers={"Accept": "application/x-ndjson"},
        ) as response:
            rest = b""
            for piece in response.iter_bytes():
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line:
                        yield json.loads(line)

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

    def upload_notebook(self, path: str, text: str) -> None:
        """Save the notebook with this JSON text at the API path, over what may be there.

        The server gets the text as it is: of a notebook that is not valid nbformat it would take
        no other.
        """
        body = {"type": "file", "format": "text", "content": text}
        self._request("PUT", _contents(path), json=body)


def _path(execution_id: str) -> str:
    return f"exec/executions/{quote(execution_id, safe='')}"


def _contents(path: str) -> str:
    return f"api/contents/{quote(path.strip('/'))}"
