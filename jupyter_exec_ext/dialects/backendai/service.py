"""Handlers of what is told about the service itself."""

from jupyter_server.auth.decorator import allow_unauthenticated
from tornado.web import authenticated

from jupyter_exec_ext.dialects.backendai.base import Handler
from jupyter_exec_ext.dialects.backendai.wire import VERSION
from jupyter_exec_ext.web.handler import RefusingMixin
from jupyter_exec_ext.web.rights import authorized


class VersionHandler(Handler):
    """What is asked before anything else, and by everybody."""

    _track_activity = False

    def take_credentials(self) -> None:
        """Take none of who asks; others are refused when they are known."""
        if self.request.method != "GET":
            super().take_credentials()

    @allow_unauthenticated
    async def get(self) -> None:
        """Tell the versions."""
        await self.write_json(VERSION)


class AnnouncementHandler(Handler):
    """What an operator has to say, which is nothing."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Say so."""
        await self.write_json({"enabled": False, "message": ""})


class UnknownHandler(RefusingMixin, Handler):  # type: ignore[misc]
    """Every path below ours that is not in the table."""
