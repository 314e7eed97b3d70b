"""The wire format of Backend.AI: sessions, runs in pieces, streams and files of version 7."""

from jupyter_exec_ext.dialects.backendai.executions import CompleteHandler, LogsHandler
from jupyter_exec_ext.dialects.backendai.options import BackendAI
from jupyter_exec_ext.dialects.backendai.runs import Runs
from jupyter_exec_ext.dialects.backendai.service import (
    AnnouncementHandler,
    UnknownHandler,
    VersionHandler,
)
from jupyter_exec_ext.dialects.backendai.sessions import (
    InterruptHandler,
    MatchHandler,
    RenameHandler,
    SessionHandler,
    SessionsHandler,
    StatusHistoryHandler,
)
from jupyter_exec_ext.dialects.backendai.stream import StreamHandler
from jupyter_exec_ext.dialects.backendai.transfers import (
    DownloadHandler,
    DownloadSingleHandler,
    FilesHandler,
    UploadHandler,
)
from jupyter_exec_ext.dialects.backendai.wire import NAME
from jupyter_exec_ext.dialects.base import Dialect

# The second is what the first was called before, and what some clients call it still.
_SESSIONS = rf"{NAME}/(?:session|kernel)"
_SESSION = rf"{_SESSIONS}/([^/]+)"

BACKENDAI = Dialect(
    name=NAME,
    options=BackendAI,
    shared=lambda services, options: {"runs": Runs(services, options)},
    routes=(
        (rf"{NAME}/?", VersionHandler),
        (rf"{_SESSIONS}(?:|/create|/_/create)", SessionsHandler),
        (rf"{_SESSIONS}/_/match", MatchHandler),
        (_SESSION, SessionHandler),
        (rf"{_SESSION}/interrupt", InterruptHandler),
        (rf"{_SESSION}/complete", CompleteHandler),
        (rf"{_SESSION}/logs", LogsHandler),
        (rf"{_SESSION}/rename", RenameHandler),
        (rf"{_SESSION}/status-history", StatusHistoryHandler),
        (rf"{_SESSION}/upload", UploadHandler),
        (rf"{_SESSION}/files", FilesHandler),
        (rf"{_SESSION}/download", DownloadHandler),
        (rf"{_SESSION}/download_single", DownloadSingleHandler),
        (rf"{NAME}/stream/(?:session|kernel)/([^/]+)/execute", StreamHandler),
        (rf"{NAME}/manager/announcement", AnnouncementHandler),
        (rf"{NAME}/.*", UnknownHandler),
    ),
)
