"""The settings of the dialect, with the service's own figures."""

from datetime import UTC, datetime
from typing import Any

from traitlets import Bool, Float, Integer, Unicode
from traitlets.config import Configurable


class AzureDialect(Configurable):
    """Azure Container Apps dynamic sessions: the data plane of a session pool.

    Attributes:
        start_time: When the server came up, which its clients take for the birth of the pool.
    """

    kernel_name = Unicode(
        "", help="The kernelspec of sessions that this dialect makes. Empty: the server's default."
    ).tag(config=True)
    session_idle_seconds = Float(
        300.0,
        min=1,
        max=1_000_000_000,
        help="After how long without use a session that this dialect made ends, with its files.",
    ).tag(config=True)
    max_code_seconds = Float(
        220.0,
        min=1,
        help="How long code may run; what a client asks for beyond is cut to it, and it is the"
        " limit of one that asks for nothing.",
    ).tag(config=True)
    max_command_seconds = Float(600.0, min=1, help="The same of a shell command.").tag(config=True)
    shell = Unicode("bash", help="The program that runs shell commands, with -c before them.").tag(
        config=True
    )
    max_upload_bytes = Integer(
        128 * 1024**2, min=1, help="Largest upload; a larger one is refused with 413."
    ).tag(config=True)
    output_streams_max_length = Integer(
        4_096,
        min=1,
        help="How many characters of each stream an answer has where the client does not say;"
        " from the api-version 2025-10-02-preview on, older ones have all that the server keeps.",
    ).tag(config=True)
    translates_paths = Bool(
        True,
        help="Whether /mnt/data in code and commands is replaced by the folder of the session;"
        " switch it off where kernels see their folder at that place.",
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start_time = datetime.now(UTC)
