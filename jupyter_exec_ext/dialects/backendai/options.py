"""What can be set of this wire format, with the service's own figures as defaults."""

from traitlets import Float, Integer
from traitlets.config import Configurable


class BackendAI(Configurable):
    """Settings of the wire format of Backend.AI, which is served under ``exec/backendai``."""

    clock_skew_seconds = Float(
        900.0,
        min=1,
        help="How far the date of a signed request may be from this server's clock.",
    ).tag(config=True)
    idle_timeout_seconds = Float(
        1_800.0,
        min=0,
        help="After how long without use a session that was created here ends; 0: never.",
    ).tag(config=True)
    create_timeout_seconds = Float(
        60.0,
        min=0,
        help="How long the creation of a session waits for its kernel; then it says TIMEOUT.",
    ).tag(config=True)
    run_timeout_seconds = Float(
        0.0, min=0, help="How long a run may take; 0: as long as an execution may."
    ).tag(config=True)
    reply_seconds = Float(
        2.0,
        min=0,
        max=60,
        help="After how long a request to execute is answered while the code goes on.",
    ).tag(config=True)
    stream_flush_seconds = Float(
        0.2,
        min=0.01,
        max=60,
        help="How long output is gathered before it is sent over a WebSocket.",
    ).tag(config=True)
    max_console_chars = Integer(
        524_288,
        min=1_000,
        help="How much printed text of each stream one answer has; the rest is in the next.",
    ).tag(config=True)
    max_log_chars = Integer(
        1_048_576, min=1_000, help="How much of its newest text the log of a session shows."
    ).tag(config=True)
    max_runs = Integer(
        1_000,
        min=1,
        help="Of how many runs is remembered what their clients have seen. Of another one that is"
        " asked for all its output is sent again.",
    ).tag(config=True)
    max_upload_files = Integer(20, min=1, help="How many files one upload has at most.").tag(
        config=True
    )
    max_upload_file_bytes = Integer(
        1_048_576, min=1, help="Largest file that is uploaded here."
    ).tag(config=True)
    max_download_files = Integer(5, min=1, help="How many paths one download names at most.").tag(
        config=True
    )
