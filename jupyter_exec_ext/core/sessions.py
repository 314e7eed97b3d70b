"""The values that describe a session: frozen dataclasses as those of `core.models`."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from jupyter_exec_ext.core.models import ExecutionError


class SessionState(StrEnum):
    """What a session does: ``starting`` its kernel, ``idle``, ``busy``, or it has ``ended``."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Session:
    """One kernel, one working folder and one queue, for executions that share variables.

    Attributes:
        id: A dashed UUID.
        name: Unique among the sessions that have not ended; ``None`` for one without.
        kernel_id: Its kernel; ``None`` while it has none of its own.
        is_attached: Whether the kernel is somebody else's, which never ends with the session.
        path: API path of its folder, where its files are; ``None`` when its kernel is somebody
            else's and works in none of the server's contents.
        has_own_folder: Whether the folder was made for it.
        works_in_folder: Whether its kernel works in the folder. It cannot where the kernels or
            the contents are on another machine, and then does not see the files.
        keep_files: Whether a folder of its own stays when it ends, however that is; ``None`` for
            what the server does by default.
        environment_names: Variables its kernels start with; their values are kept nowhere.
        annotations: What the client wants to find in the record again.
        idle_timeout_seconds: It ends after so long without an execution; ``None`` for never.
        expire_time: When it will end, if nothing happens until then.
        pending_count: How many executions wait in its queue.
        last_activity_time: When an execution last began or ended in it.
        kernel_error: What last happened to its kernel; ``None`` when nothing did.
        end_error: Why it ended; ``None`` until it did.
    """

    id: str
    name: str | None = None
    state: SessionState
    kernel_name: str
    kernel_id: str | None = None
    is_attached: bool = False
    path: str | None = None
    has_own_folder: bool = False
    works_in_folder: bool = True
    keep_files: bool | None = None
    environment_names: list[str] = field(default_factory=list)
    owner: str = ""
    description: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    idle_timeout_seconds: float | None = None
    created_time: datetime
    last_activity_time: datetime
    expire_time: datetime | None = None
    end_time: datetime | None = None
    pending_count: int = 0
    kernel_error: ExecutionError | None = None
    end_error: ExecutionError | None = None


@dataclass(frozen=True, kw_only=True)
class NewSession:
    """A request for a session, as every door hands it in.

    Attributes:
        name: The session that has it is returned instead; ``None`` for one without a name.
        kernel_name: ``None`` means the server's default.
        kernel_id: A live kernel to attach to; ``None`` for one of its own.
        path: API path of an existing folder for its files and its kernel to work in; ``None``
            makes one of its own.
        keep_files: See `Session`.
        environment: JSON values by name for its kernels to start with; see `core.inputs`.
        idle_timeout_seconds: ``None`` means the server's default; 0 means never.
    """

    name: str | None = None
    kernel_name: str | None = None
    kernel_id: str | None = None
    path: str | None = None
    keep_files: bool | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    idle_timeout_seconds: float | None = None
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """What can be changed of a session; ``None`` leaves it as it is.

    Attributes:
        name: Executions keep the name that it had when they were accepted.
        idle_timeout_seconds: 0 means never.
    """

    name: str | None = None
    idle_timeout_seconds: float | None = None
    keep_files: bool | None = None
    labels: dict[str, str] | None = None
    description: str | None = None


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What can stand at the cursor in a piece of code.

    Attributes:
        matches: Texts, of which each can replace that from ``cursor_start`` to ``cursor_end``.
        cursor_start: 0-based position in the code, in characters.
        cursor_end: The same; that before which the replaced text ends.
    """

    matches: list[str]
    cursor_start: int
    cursor_end: int
