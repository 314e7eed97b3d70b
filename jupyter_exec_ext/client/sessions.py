"""The verbs on sessions and their files. Content is streamed: memory does not grow with it."""

import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyter_exec_ext.client.errors import RefusedError
from jupyter_exec_ext.client.replacing import replaced
from jupyter_exec_ext.client.transport import Transport, given
from jupyter_exec_ext.core.errors import InvalidArgumentError
from jupyter_exec_ext.core.paths import parts_of

OnProgress = Callable[[int], None]
"""Is told of each piece that went over the line how many bytes it had."""

TRANSFER_SECONDS = 300.0
"""How long a transfer may stand still: the server may be putting gigabytes in their place."""

PAGE_SIZE = 1_000
CHUNK_BYTES = 256 * 1024

# The rest is spelt differently by those who write forms, and by those who read them.
_PLAIN_IN_FORMS = re.compile(r'[^"\\%\x00-\x1f\x7f]+')


class SessionMethods(Transport):
    """What can be asked of sessions; see `ExecClient`.

    Paths begin in the session's folder and have slashes, whatever else is in their names. One
    that leads elsewhere is a `RefusedError` before anything is sent.
    """

    def create_session(
        self,
        name: str | None = None,
        *,
        kernel_name: str | None = None,
        kernel_id: str | None = None,
        path: str | None = None,
        keep_files: bool | None = None,
        environment: Mapping[str, Any] | None = None,
        idle_timeout_seconds: float | None = None,
        labels: Mapping[str, str] | None = None,
        description: str | None = None,
    ) -> dict[str, Any]:
        """Create a session, or find the one that has the name, and return its record.

        What is ``None`` is left to the server.
        """
        body = {
            "name": name,
            "kernel_name": kernel_name,
            "kernel_id": kernel_id,
            "path": path,
            "keep_files": keep_files,
            "environment": dict(environment) if environment else None,
            "idle_timeout_seconds": idle_timeout_seconds,
            "labels": dict(labels) if labels else None,
            "description": description,
        }
        return self._json("POST", "exec/sessions", json=given(body))

    def session(self, session_id: str) -> dict[str, Any]:
        """Return the record of a session."""
        return self._json("GET", _path(session_id))

    def sessions(
        self, *, state: str | None = None, name: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the records of sessions, those that have not ended unless *state* says so."""
        yield from self._pages("exec/sessions", "sessions", {"state": state, "name": name})

    def session_log(self, session_id: str) -> str:
        """Return what its kernel printed after the executions that started it had ended."""
        return self._request("GET", f"{_path(session_id)}/log").text

    def delete_session(self, session_id: str) -> None:
        """End a session with its kernel, and with its files unless it keeps them."""
        self._request("DELETE", _path(session_id))

    def list_files(
        self, session_id: str, *, path: str = "", recursive: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Yield what is in a folder, in the order of the paths; fetches page by page."""
        params = {"path": path, "recursive": "true" if recursive else None}
        yield from self._pages(f"{_path(session_id)}/files", "files", params)

    def upload_file(
        self,
        session_id: str,
        path: str,
        content: Path | bytes | Iterable[bytes],
        *,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """Put a file in its place, over what may be there, and return its entry.

        Args:
            content: A file of this machine, or its bytes.

        Raises:
            OSError: The file cannot be read, or became shorter meanwhile.
        """
        headers = {"Content-Type": "application/octet-stream"}
        if isinstance(content, Path):
            size = content.stat().st_size
            headers["Content-Length"] = str(size)
            pieces: Iterable[bytes] = _pieces_of(content, size)
        elif isinstance(content, bytes):
            headers["Content-Length"] = str(len(content))
            pieces = [content]
        else:
            pieces = content
        return self._json(
            "PUT",
            _file_path(session_id, path),
            content=_told(pieces, on_progress),
            headers=headers,
            timeout_seconds=TRANSFER_SECONDS,
        )

    def upload_files(
        self,
        session_id: str,
        files: Sequence[tuple[str, Path]],
        *,
        on_progress: OnProgress | None = None,
    ) -> list[dict[str, Any]]:
        """Put many files in their places with one request, and return their entries.

        Args:
            files: Paths and the files of this machine. For each path `fits_form` is true, and
                they are no more than ``max_files_per_request``.

        Raises:
            OSError: A file cannot be read, or became shorter meanwhile.
        """
        form = _Form(files)
        answer = self._json(
            "POST",
            f"{_path(session_id)}/files",
            content=_told(form.pieces(), on_progress),
            headers=form.headers,
            timeout_seconds=TRANSFER_SECONDS,
        )
        entries: list[dict[str, Any]] = answer.get("files", [])
        return entries

    def download_file(
        self,
        session_id: str,
        path: str,
        destination: Path,
        *,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Write a file of the session to *destination* and return its size.

        What is there is replaced whole, and untouched if anything goes wrong.

        Raises:
            OSError: It cannot be written.
        """
        return self._download(_file_path(session_id, path), {}, destination, on_progress)

    def archive(
        self,
        session_id: str,
        destination: Path,
        *,
        paths: Sequence[str] = (),
        on_progress: OnProgress | None = None,
    ) -> int:
        """Write a tar file of what is at *paths*, else of all there is; return its size.

        Raises:
            OSError: It cannot be written.
        """
        params = {"path": list(paths)} if paths else {}
        return self._download(f"{_path(session_id)}/archive", params, destination, on_progress)

    def delete_file(self, session_id: str, path: str, *, recursive: bool = False) -> None:
        """Delete a file, or a folder, which has to be empty unless *recursive*."""
        params = {"recursive": "true"} if recursive else {}
        self._request("DELETE", _file_path(session_id, path), params=params)

    def _pages(self, url: str, field: str, params: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        token = None
        while True:
            more = {"page_size": PAGE_SIZE, "page_token": token}
            page = self._json("GET", url, params=given({**params, **more}))
            yield from page.get(field, [])
            token = page.get("next_page_token")
            if not token:
                return

    def _download(
        self,
        url: str,
        params: Mapping[str, Any],
        destination: Path,
        on_progress: OnProgress | None,
    ) -> int:
        size = 0
        with (
            self._stream(url, params=params, timeout_seconds=TRANSFER_SECONDS) as response,
            replaced(destination) as file,
        ):
            for piece in response.iter_bytes(CHUNK_BYTES):
                file.write(piece)
                size += len(piece)
                if on_progress is not None:
                    on_progress(len(piece))
        return size


class _Form:
    """A form of files (RFC 7578) whose length is known before they are read."""

    def __init__(self, files: Sequence[tuple[str, Path]]) -> None:
        boundary = secrets.token_hex(16)
        self._files = [
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{path}"'
                "\r\nContent-Type: application/octet-stream\r\n\r\n".encode(),
                file,
                file.stat().st_size,
            )
            for path, file in files
        ]
        self._end = f"--{boundary}--\r\n".encode()
        length = sum(len(head) + size + 2 for head, _, size in self._files) + len(self._end)
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(length),
        }

    def pieces(self) -> Iterator[bytes]:
        """Yield the body; a small file comes in one piece with what is around it."""
        for head, file, size in self._files:
            if size <= CHUNK_BYTES:
                yield b"".join((head, *_pieces_of(file, size), b"\r\n"))
                continue
            yield head
            yield from _pieces_of(file, size)
            yield b"\r\n"
        yield self._end


def fits_form(path: str) -> bool:
    """Whether a form can have the path in a way that all who read forms agree on."""
    return bool(_PLAIN_IN_FORMS.fullmatch(path)) and path == path.strip()


def _pieces_of(file: Path, size: int) -> Iterator[bytes]:
    """Yield *size* bytes of the file, though it may grow.

    Raises:
        OSError: It became shorter.
    """
    with file.open("rb") as stream:
        while size > 0:
            piece = stream.read(min(CHUNK_BYTES, size))
            if not piece:
                raise OSError(f"{os.fspath(file)} became shorter while it was sent")
            size -= len(piece)
            yield piece


def _told(pieces: Iterable[bytes], on_progress: OnProgress | None) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        if on_progress is not None:
            on_progress(len(piece))


def _path(session_id: str) -> str:
    return f"exec/sessions/{quote(session_id, safe='')}"


def _file_path(session_id: str, path: str) -> str:
    """Return the address of a file; what leads elsewhere would be the address of something else."""
    try:
        parts = parts_of(path, is_windows=False)
    except InvalidArgumentError as error:
        raise RefusedError(str(error), code=error.code, target="path") from error
    if not parts:
        raise RefusedError("a path is needed", code=InvalidArgumentError.code, target="path")
    return "/".join((_path(session_id), "files", *(quote(part, safe="") for part in parts)))
