"""A Jupyter Server of our own on 127.0.0.1, for as long as one command runs."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil
from jupyter_core.paths import jupyter_config_path, jupyter_runtime_dir

from jupyter_exec_ext.client import ClientError, ExecClient, NoAnswerError

BASE_URL = "/jupyter-exec-run/"
"""Marks such a server in its runtime file: it ends with its command, so nobody else may use it."""

SERVER_ID = "cli"
"""The name under which all of them keep their records, so that each sees those of the others."""

START_SECONDS = 30.0
STOP_SECONDS = 10.0
ORPHAN_SECONDS = 120
"""How long the server stays without work if this process is killed and cannot stop it."""

CLOCK_TOLERANCE_SECONDS = 2.0
"""On Linux, psutil computes the start of a process from the boot time, which has whole seconds."""

START_ATTEMPTS = 3
POLL_SECONDS = 0.05
LOG_TAIL_LINES = 20
EXTENSION = "jupyter_exec_ext"


class StartFailedError(Exception):
    """The server did not start.

    Attributes:
        log: The end of what it logged.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


class PortTakenError(StartFailedError):
    """Somebody took the port between the server's choice and its use of it."""


class EmbeddedServer:
    """A server with only this extension, which ends when the context is left.

    It has a session of its own, so that ctrl-C in the terminal reaches only this process.

    Args:
        root: The server's root folder.

    Raises:
        StartFailedError: On entering; nothing is left running then.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.url = ""
        self.token = secrets.token_urlsafe(32)
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_SECONDS
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                self._start(deadline)
                break
            except PortTakenError:
                self.stop()
                if attempt == START_ATTEMPTS:
                    raise
            except BaseException:
                self.stop()
                raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self._process is not None and self._process.poll() is None

    def stop(self, *, within_seconds: float = STOP_SECONDS) -> None:
        """End the server and its kernels; by force after *within_seconds* or on ctrl-C."""
        process, self._process = self._process, None
        try:
            if process is not None and process.poll() is None:
                _end(process, within_seconds, self.url, self.token)
        finally:
            if self._log is not None:
                self._log.close()
                self._log = None

    def _start(self, deadline: float) -> None:
        # The log is unlinked where the system allows it: nothing is left behind.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by stop)
        detached: dict[str, Any] = (
            {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
            if sys.platform == "win32"
            else {"start_new_session": True}
        )
        self._process = subprocess.Popen(  # noqa: S603 (our interpreter and our arguments)
            [sys.executable, "-m", "jupyter_server", *_arguments(self.root)],
            env=_environment(self.token),
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            **detached,
        )
        while not self._is_ready():
            if self._process.poll() is not None:
                log = self._log_tail()
                failed = PortTakenError if "already in use" in log else StartFailedError
                raise failed("the server that was started ended at once", log)
            if time.monotonic() > deadline:
                raise StartFailedError(
                    f"the server that was started is not ready after {START_SECONDS:g} s",
                    self._log_tail(),
                )
            time.sleep(POLL_SECONDS)

    def _is_ready(self) -> bool:
        for info in running_servers():
            # The token may be another one: the user's configuration wins over the environment.
            ours = info.get("token") == self.token or info.get("pid") == self._pid
            if not ours or info.get("base_url") != BASE_URL:
                continue
            url, token = str(info.get("url", "")), str(info.get("token", ""))
            if not token:
                raise StartFailedError(
                    "the Jupyter configuration sets an empty token, and such a server takes no"
                    " request to run code: start a server and name it with --server"
                )
            try:
                with ExecClient(url, token, trust_env=False) as client:
                    client.capabilities(timeout_seconds=5)
            except NoAnswerError:
                return False
            except ClientError as error:
                raise StartFailedError(
                    f"the server that was started cannot be used: {error.message}",
                    self._log_tail(),
                ) from error
            self.url, self.token = url, token
            return True
        return False

    @property
    def _pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def _log_tail(self) -> str:
        if self._log is None:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:]).replace(self.token, "[token]")


def running_servers() -> Iterator[dict[str, Any]]:
    """Yield the contents of the runtime files whose server runs.

    A file that a crashed server left is not among them. Its process id may belong to another
    process by now, and its port to another user, who would receive the token.

    `jupyter_server.serverapp.list_running_servers` is not used: importing that module takes longer
    than the rest of the command, and it deletes files on the way.
    """
    try:
        files = sorted(Path(jupyter_runtime_dir()).glob("jpserver-*.json"))
    except OSError:
        return
    for file in files:
        if file.name.endswith("-open.json"):
            continue
        with suppress(OSError, ValueError):  # gone, or not yet written to its end
            info = json.loads(file.read_text("utf-8"))
            if isinstance(info, dict) and _may_have_written(file, info.get("pid")):
                yield info


def _may_have_written(file: Path, pid: Any) -> bool:
    """Return whether the process runs, belongs to this user and is older than *file*.

    Raises:
        OSError: The file is gone.
    """
    if not isinstance(pid, int):
        return False
    try:
        process = psutil.Process(pid)
        return (
            # The port of a zombie is free.
            process.status() != psutil.STATUS_ZOMBIE
            and process.username() == psutil.Process().username()
            and process.create_time() <= file.stat().st_mtime + CLOCK_TOLERANCE_SECONDS
        )
    except (psutil.Error, ValueError):  # ValueError: the number is negative
        return False


def _arguments(root: Path) -> list[str]:
    """Return what makes the server ours, whatever the user's configuration says."""
    settings: dict[str, Any] = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": 0,
        "ServerApp.base_url": BASE_URL,
        "ServerApp.root_dir": root,
        "ServerApp.open_browser": False,
        "ServerApp.sock": "",
        "ServerApp.certfile": "",
        "ServerApp.keyfile": "",
        "ServerApp.shutdown_no_activity_timeout": ORPHAN_SECONDS,
        "ServerApp.reraise_server_extension_failures": True,
        "PasswordIdentityProvider.hashed_password": "",
        "ExecApp.server_id": SERVER_ID,
    }
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        settings["ServerApp.allow_root"] = True
    extensions = dict.fromkeys(_other_extensions(), False) | {EXTENSION: True}
    return [
        *(f"--{name}={value}" for name, value in settings.items()),
        *(f"--ServerApp.jpserver_extensions={name}={on}" for name, on in extensions.items()),
    ]


def _other_extensions() -> list[str]:
    """Return the extensions that the configuration enables and that this server has no use for."""
    names = set()
    for folder in jupyter_config_path():
        for file in (
            Path(folder, "jupyter_server_config.json"),
            *sorted(Path(folder, "jupyter_server_config.d").glob("*.json")),
        ):
            with suppress(OSError, ValueError, AttributeError):
                config = json.loads(file.read_text("utf-8"))
                names.update(config.get("ServerApp", {}).get("jpserver_extensions", {}))
    return sorted(names - {EXTENSION})


def _environment(token: str) -> dict[str, str]:
    return {**os.environ, "JUPYTER_TOKEN": token}


def _end(process: subprocess.Popen[bytes], within_seconds: float, url: str, token: str) -> None:
    """Ask the process to end, wait, then kill it with all that it started."""
    children = _descendants(process.pid)
    try:
        if sys.platform == "win32" and url:
            # TerminateProcess would leave the kernels no time to end.
            _ask_to_shut_down(url, token)
        else:
            process.terminate()
        process.wait(within_seconds)
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
        children |= _descendants(process.pid)
        process.kill()
        process.wait()
        if isinstance(error, KeyboardInterrupt):
            raise
    finally:
        # A kernel is in a session of its own and outlives a server that was killed.
        for child in children:
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                child.kill()
        psutil.wait_procs(children, timeout=2)


def _descendants(pid: int) -> set[psutil.Process]:
    try:
        return set(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return set()


def _ask_to_shut_down(url: str, token: str) -> None:
    import httpx  # only on Windows

    with suppress(httpx.HTTPError):
        httpx.post(
            f"{url}api/shutdown", headers={"Authorization": f"token {token}"}, trust_env=False
        )
