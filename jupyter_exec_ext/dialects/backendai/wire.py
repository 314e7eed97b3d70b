"""What goes over the wire, and what it means: no server, no kernel, no state."""

import json
import posixpath
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import msgspec

from jupyter_exec_ext.core.files import FileEntry, FileType
from jupyter_exec_ext.core.models import STEPS, CodeSource, CommandSource, Source
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.dialects.backendai.errors import RefusalError, bad_params
from jupyter_exec_ext.services.kernelspecs import Kernelspec

NAME = "backendai"
VERSION = {"version": "v7.20230615", "manager": "23.09.10"}
HOME = "/home/work"
DIALECT_LABEL = {"dialect": NAME}
IMAGE_ANNOTATION = f"{NAME}.image"
RUN_LABEL = f"{NAME}.run_id"
MAX_RUN_ID = 64
"""In characters: as long as a label may be."""

NO_COMMAND = ":"
"""Stands for a batch in which there is nothing to do."""

_SESSION_NAME = re.compile(r"(?=.{4,64}\Z)\w[\w.-]*\w", re.ASCII)
_VARIABLE = re.compile(r"[^\W\d]\w*", re.ASCII)
_SESSION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_MODES = {
    FileType.FILE: "-rw-r--r--",
    FileType.DIRECTORY: "drwxr-xr-x",
    FileType.LINK: "lrwxrwxrwx",
    FileType.OTHER: "prw-r--r--",
}
_STATUSES = {SessionState.STARTING: "PREPARING", SessionState.ENDED: "TERMINATED"}


class CreateConfig(msgspec.Struct, kw_only=True):
    """What the kernel of a new session is like; the rest of it is left aside."""

    environ: dict[str, str] | None = None


class CreateBody(msgspec.Struct, kw_only=True):
    """A request for a session, in the spellings of all clients; what is not known is left aside."""

    name: str | None = None
    session_name: str | None = None
    client_session_token: str | None = msgspec.field(default=None, name="clientSessionToken")
    image: str | None = None
    lang: str | None = None
    tag: str | None = None
    reuse: bool | None = msgspec.field(default=None, name="reuseIfExists")
    reuse_if_exists: bool | None = None
    enqueue_only: bool | None = msgspec.field(default=None, name="enqueueOnly")
    snake_enqueue_only: bool | None = msgspec.field(default=None, name="enqueue_only")
    cluster_size: int | None = msgspec.field(default=None, name="clusterSize")
    snake_cluster_size: int | None = msgspec.field(default=None, name="cluster_size")
    config: CreateConfig | None = None

    @property
    def session(self) -> str:
        """The name that the session is to have."""
        return checked_name(self.name or self.session_name or self.client_session_token or "")

    @property
    def may_reuse(self) -> bool:
        """Whether a session that has the name may stand for it."""
        return self.reuse is not False and self.reuse_if_exists is not False

    @property
    def waits(self) -> bool:
        """Whether the answer waits for the kernel."""
        return not (self.enqueue_only or self.snake_enqueue_only)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its kernel.

        Raises:
            RefusalError: One has a name that no variable has.
        """
        environ = (self.config and self.config.environ) or {}
        if not all(_VARIABLE.fullmatch(name) for name in environ):
            raise bad_params(
                "a name in environ has letters, digits and _, and begins with no digit"
            )
        return environ

    def check(self) -> None:
        """Raise `RefusalError` for what no session here can be."""
        if {self.cluster_size, self.snake_cluster_size} - {None, 1}:
            raise bad_params("a session has one kernel here")


class ExecuteBody(msgspec.Struct, kw_only=True):
    """A request in the loop of a run."""

    mode: str | None = None
    code: str | None = None
    run_id: str | None = msgspec.field(default=None, name="runId")
    snake_run_id: str | None = msgspec.field(default=None, name="run_id")
    options: dict[str, Any] | None = None

    @property
    def run(self) -> str | None:
        """Which run is meant; ``None`` for a new one.

        Raises:
            RefusalError: It cannot be the id of one.
        """
        run_id = self.run_id or self.snake_run_id or None
        if run_id is not None and not (len(run_id) <= MAX_RUN_ID and run_id.isprintable()):
            raise bad_params("runId is not valid")
        return run_id

    @property
    def source(self) -> Source:
        """What is to be run.

        Raises:
            RefusalError: It does not say.
        """
        if self.mode == "query":
            if self.code is None:
                raise bad_params("a query has code")
            return CodeSource(code=self.code)
        steps: dict[str, str | None] = {}
        for step in STEPS:
            command = (self.options or {}).get(step)
            if not isinstance(command, str | None):
                raise bad_params(f"{step} is a command")
            steps[step] = command if command and command.strip() else None
        if not any(steps.values()):
            steps["exec"] = NO_COMMAND
        return CommandSource(clean=steps["clean"], build=steps["build"], exec=steps["exec"])


class CompleteBody(msgspec.Struct, kw_only=True):
    """Code before the cursor; ``options.post`` is what follows it."""

    code: str | None = None
    options: dict[str, Any] | None = None


def checked_name(name: str) -> str:
    """Return *name* if a session can be called so.

    Raises:
        RefusalError: It cannot.
    """
    if name == "create" or is_session_id(name):
        raise bad_params("this name is a path, or has the form of the id of a session")
    if not _SESSION_NAME.fullmatch(name):
        raise bad_params(
            "a session name has 4 to 64 letters, digits and _ . - and begins and ends with one"
            " of the first two"
        )
    return name


def is_session_id(key: str) -> bool:
    """Whether *key* has the form of a session's id, in letters of any case."""
    return _SESSION_ID.fullmatch(key) is not None


def kernel_of(image: str, specs: Sequence[Kernelspec], default_name: str) -> str:
    """Return the name of the kernelspec that *image* means.

    ``cr.backend.ai/stable/python:3.9-ubuntu20.04`` is ``python``: a kernelspec of that name, else
    the default one if it is of that language, else the first that is.

    Raises:
        RefusalError: There is none, or no image is named.
    """
    if not image:
        raise bad_params("image is missing")
    wanted = image.rpartition("/")[2].partition(":")[0].lower()
    fitting = [spec for spec in specs if spec.name.lower() == wanted]
    fitting += [spec for spec in specs if spec.language.lower() == wanted]
    fitting.sort(key=lambda spec: (spec.name.lower() != wanted, spec.name != default_name))
    if not fitting:
        raise RefusalError(
            "No such environment image.",
            f"this server has: {', '.join(sorted({spec.language.lower() for spec in specs}))}",
            status=HTTPStatus.NOT_FOUND,
            kind="object-not-found",
        )
    return fitting[0].name


def image_of(session: Session) -> str:
    """Return the image that *session* was made from: its kernelspec, where none was named."""
    return session.annotations.get(IMAGE_ANNOTATION, session.kernel_name)


def is_of_image(session: Session, image: str, kernel_name: str) -> bool:
    """Whether *session* has the kernel of *image*, and its tag where both have one."""
    tags = {one.rpartition("/")[2].partition(":")[2] for one in (image, image_of(session))}
    return session.kernel_name == kernel_name and len(tags - {""}) <= 1


def status_of(session: Session) -> str:
    """Return what the service calls the state of *session*."""
    error = session.kernel_error
    has_failed = error is not None and error.code == "KernelStartFailed"
    if has_failed and session.kernel_id is None and session.state is not SessionState.ENDED:
        return "ERROR"
    return _STATUSES.get(session.state, "RUNNING")


def created_view(session: Session, status: str, *, is_new: bool) -> dict[str, Any]:
    """Return what the creation of a session answers."""
    return {
        "sessionId": session.id,
        "sessionName": session.name or session.id,
        "status": status,
        "servicePorts": [],
        "created": is_new,
    }


def session_view(session: Session, query_count: int) -> dict[str, Any]:
    """Return what the service tells of a session."""
    image = image_of(session)
    end = session.end_time
    age = (end or datetime.now(UTC)) - session.created_time
    nothing = dict.fromkeys(("occupiedSlots", "occupyingSlots", "requestedSlots"), "{}")
    return {
        **nothing,
        "occupiedShares": "{}",
        "environ": "{}",
        "resourceOpts": "{}",
        "status": status_of(session),
        "statusInfo": None,
        "statusData": None,
        "image": image,
        "lang": image,
        "tag": None,
        "age": max(0, int(age.total_seconds() * 1000)),
        "numQueriesExecuted": query_count,
        "creationTime": session.created_time.isoformat(),
        "terminationTime": None if end is None else end.isoformat(),
        "domainName": "default",
        "groupId": "default",
        "userId": session.owner,
        "architecture": "",
        "registry": "",
        "containerId": session.kernel_id,
        "lastStat": None,
        "idleChecks": None,
    }


def history_view(session: Session) -> dict[str, str]:
    """Return when *session* got into the states of which that is known."""
    times = {"preparing": session.created_time, "terminated": session.end_time}
    return {status: time.isoformat() for status, time in times.items() if time is not None}


def match_view(session: Session) -> dict[str, Any]:
    """Return what a search tells of a session."""
    return {"id": session.id, "name": session.name or "", "status": status_of(session)}


def home_path(path: str) -> str:
    """Return *path* of a client relative to the folder of its session; empty for that itself.

    Raises:
        RefusalError: It leads elsewhere.
    """
    plain = posixpath.normpath(posixpath.join(HOME, path))
    if plain != HOME and not plain.startswith(f"{HOME}/"):
        raise bad_params(f"the path is outside of {HOME}")
    return plain.removeprefix(HOME).lstrip("/")


def files_view(entries: Iterable[FileEntry], path: str, note: str) -> dict[str, Any]:
    """Return a list of files, which is JSON as a text in JSON.

    Args:
        path: As the client has it.
        note: What went wrong; empty for nothing.
    """
    shown = []
    for entry in entries:
        changed = 0.0 if entry.modified_time is None else entry.modified_time.timestamp()
        shown.append(
            {
                "mode": _MODES[entry.type],
                "size": entry.size_bytes or 0,
                **dict.fromkeys(("ctime", "mtime", "atime"), changed),
                "filename": entry.name,
            }
        )
    return {"files": json.dumps(shown), "errors": note, "abspath": path, "folder_path": HOME}
