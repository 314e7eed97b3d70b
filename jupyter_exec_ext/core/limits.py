"""The limits of the service, frozen at start from the traits of `ExecApp`."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the service takes and keeps; every one is shown by ``GET exec/``.

    The defaults are those of a laptop or a single hub user.
    """

    max_execution_seconds: float = 86_400
    interrupt_grace_seconds: float = 5
    kernel_start_timeout_seconds: float = 60
    max_wait_seconds: float = 600
    max_sessions: int = 20
    max_pending: int = 10_000
    max_body_bytes: int = 8_000_000
    max_inputs: int = 256
    max_variables: int = 256
    max_labels: int = 32
    max_label_length: int = 64
    max_description_length: int = 1_024
    max_notebook_bytes: int = 64_000_000
    max_output_bytes: int = 64_000_000
    max_stream_bytes: int = 10_000_000
    max_display_bytes: int = 32_000_000
    max_variable_bytes: int = 10_000_000
    retention_seconds: float = 7 * 86_400
    min_retention_seconds: float = 86_400
    max_records: int = 10_000
    resume_pending_seconds: float = 3_600
    max_page_size: int = 1_000
