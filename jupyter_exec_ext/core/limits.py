"""The limits of the service: each with its default, its smallest value and what it means.

`ExecApp` makes a configurable trait of every one, ``GET exec/`` shows them, the docs list them.
"""

from dataclasses import dataclass, field
from typing import Any

MAX_SECONDS = 1_000_000_000
"""Thirty years: what is later than all times there are cannot be shown."""


def _limit(default: float, text: str, *, minimum: float = 0) -> Any:
    return field(default=default, metadata={"help": text, "minimum": minimum})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the service takes and keeps, frozen at start."""

    max_execution_seconds: float = _limit(
        86_400.0, "Longest time an execution may run; the limit when a request names none."
    )
    interrupt_grace_seconds: float = _limit(
        5.0, "How long a kernel may take to end what was interrupted before it is killed."
    )
    kernel_start_timeout_seconds: float = _limit(
        60.0, "How long a kernel may take from its start until it answers."
    )
    max_wait_seconds: float = _limit(
        600.0, "Longest wait in one request; set it below the time-out of proxies in front."
    )
    input_timeout_seconds: float = _limit(
        300.0, "How long code that asks for input waits for an answer before it meets its end."
    )
    max_sessions: int = _limit(
        20, "How many sessions there are at the same time; more are refused with 429.", minimum=1
    )
    session_idle_timeout_seconds: float = _limit(
        1_800.0, "After how long without use a session ends that names no time itself; 0: never."
    )
    max_running: int = _limit(
        20,
        "How many executions run at the same time in a session of their own; more wait.",
        minimum=1,
    )
    max_pending_per_session: int = _limit(
        1_000, "How many executions may wait in one session; more are refused with 429.", minimum=1
    )
    max_pending: int = _limit(
        10_000, "How many executions may wait in all; more are refused with 429.", minimum=1
    )
    max_body_bytes: int = _limit(8_000_000, "Largest body of a request.", minimum=1_000)
    max_code_bytes: int = _limit(1_000_000, "Largest piece of code, in bytes of UTF-8.")
    max_stdin_answers: int = _limit(1_000, "How many answers to input() may be prepared.")
    max_inputs: int = _limit(256, "How many inputs an execution may have.")
    max_variables: int = _limit(256, "How many output variables are gathered.")
    max_labels: int = _limit(32, "How many labels an execution may have.")
    max_label_length: int = _limit(64, "Longest name or value of a label, in characters.")
    max_annotation_bytes: int = _limit(
        262_144, "How long all annotations of a record are together, in bytes of UTF-8."
    )
    max_description_length: int = _limit(1_024, "Longest description, in characters.")
    max_notebook_bytes: int = _limit(64_000_000, "Largest notebook that is executed.")
    max_output_bytes: int = _limit(
        64_000_000,
        "How much output of an execution is kept, without printed text. Each output, widget and"
        " display id counts for 1,000 bytes more than its JSON, each list and object for 60.",
    )
    max_stream_bytes: int = _limit(
        10_000_000, "How much printed text of an execution is kept: its first and its last half."
    )
    max_session_log_bytes: int = _limit(
        1_000_000,
        "How much of what a session's kernel prints after the executions that started it have"
        " ended is kept in memory: its first and its last half.",
        minimum=1_000,
    )
    max_display_bytes: int = _limit(
        32_000_000,
        "Largest single output, in which each list and object counts for 60 bytes more than its"
        " JSON; the parts of a larger one are left out and named.",
    )
    max_variable_bytes: int = _limit(10_000_000, "Largest value of a gathered variable.")
    max_events: int = _limit(
        500_000,
        "About how many events of an execution are kept, of printed text and of other output each:"
        " the first and the last half.",
        minimum=10,
    )
    max_file_bytes: int = _limit(4 * 1024**3, "Largest file that is uploaded to a session.")
    max_files_per_request: int = _limit(
        100, "How many files one request may upload, or name for an archive.", minimum=1
    )
    max_remote_file_bytes: int = _limit(
        16 * 1024**2,
        "Largest file where the contents are not on the server's disk: it is in memory whole.",
    )
    max_transfers: int = _limit(
        100,
        "How many uploads and downloads there are at the same time; one user has at most half of"
        " them.",
        minimum=1,
    )
    transfer_timeout_seconds: float = _limit(
        120.0,
        "How long an upload, a download or a stream may stand still until it is cut.",
        minimum=1,
    )
    retention_seconds: float = _limit(
        7 * 86_400.0, "How long after its end a record expires and is removed."
    )
    min_retention_seconds: float = _limit(
        86_400.0, "No record is removed sooner after its end, however many there are."
    )
    max_records: int = _limit(10_000, "How many records are kept; the oldest final ones go first.")
    resume_pending_seconds: float = _limit(
        3_600.0,
        "After a crash of the server an execution that waited still runs if it is no older, and"
        " had no inputs, which are never stored.",
    )
    heartbeat_seconds: float = _limit(
        15.0,
        "How often a stream of events says that it lives when there is nothing to tell.",
        minimum=1,
    )
    max_streams: int = _limit(
        500,
        "How many clients may follow executions at the same time; one user has at most half of"
        " them.",
        minimum=1,
    )
    max_waits: int = _limit(
        1_000,
        "How many requests may wait for the end of an execution at the same time; one user has at"
        " most half of them. Further requests are answered without waiting.",
        minimum=1,
    )
    max_page_size: int = _limit(1_000, "Most records on one page of a list.", minimum=1)
