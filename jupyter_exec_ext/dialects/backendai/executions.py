"""Handlers of what runs in a session."""

from typing import Any

from tornado.web import authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import StoreUnavailableError, UnavailableError
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.dialects.backendai.answers import FINISHED, answer_view
from jupyter_exec_ext.dialects.backendai.base import Handler
from jupyter_exec_ext.dialects.backendai.console import text_of
from jupyter_exec_ext.dialects.backendai.errors import bad_params, no_kernel
from jupyter_exec_ext.dialects.backendai.wire import CompleteBody, ExecuteBody
from jupyter_exec_ext.services.doors import Services
from jupyter_exec_ext.store.listing import Filters, ListQuery
from jupyter_exec_ext.web.rights import authorized


class RunHandler(Handler):
    """What runs in a session."""

    @authenticated
    @authorized(action="execute", resource="executions")
    async def post(self, key: str) -> None:
        """Run code or commands, hand out what they print, give them input."""
        await self.require("execute", "kernels")
        body = await self.read_body(ExecuteBody)
        if body.mode not in ("query", "batch", "continue", "input", "complete"):
            raise bad_params("no such mode")
        goes_on = body.mode in ("continue", "input")
        if goes_on:
            await self.require("read", "executions")
        if body.mode == "complete":
            await self.require("execute", "exec-sessions")
        session = await self.session_of(key, may_have_ended=goes_on)
        if body.mode == "complete":
            completed = await complete(self.services, session, body.code, body.options)
            await self.write_json({"result": answer_view(body.run, FINISHED, []) | completed})
            return
        if goes_on:
            run = await self.runs.find(session, body.run)
        else:
            run = await self.runs.start(session, body, owner=self.current_user.username)
            if run.owner != self.current_user.username:
                # Another user's request had this run id.
                await self.require("read", "executions")
        async with run.lock:
            if body.mode == "input":
                await self.runs.send_input(run, body.code or "")
            if run.has_ended:
                run.rewind()
            result = await self.runs.answer(
                run, user=self.share_key, seconds=self.dialect_options.reply_seconds
            )
            if self.is_client_gone:
                run.rewind()
        await self.write_json({"result": result})


class CompleteHandler(Handler):
    """What can stand where somebody writes code."""

    @authenticated
    @authorized(action="execute", resource="exec-sessions")
    async def post(self, key: str) -> None:
        """Ask the kernel."""
        await self.require("execute", "kernels")
        body = await self.read_body(CompleteBody)
        session = await self.session_of(key)
        found = await complete(self.services, session, body.code, body.options)
        await self.write_json({"result": found})


async def complete(
    services: Services, session: Session, code: str | None, options: dict[str, Any] | None
) -> dict[str, Any]:
    """Return what can stand after *code*, in the terms of the service.

    Raises:
        RefusalError: The session has no kernel, or what follows the code is no text.
        ExecError: The kernel cannot be asked.
    """
    before, after = code or "", (options or {}).get("post") or ""
    if not isinstance(after, str):
        raise bad_params("post is a text")
    try:
        found = await services.sessions.complete(session.id, before + after, cursor_pos=len(before))
    except StoreUnavailableError:
        raise
    except UnavailableError as error:
        raise no_kernel(error.message) from error
    return {"status": "finished", "completions": found.matches}


class LogsHandler(Handler):
    """What all that ran in a session printed."""

    _track_activity = False

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, key: str) -> None:
        """Show the newest of it."""
        session = await self.session_of(key, may_have_ended=True)
        left, texts = self.dialect_options.max_log_chars, []
        query = ListQuery(filters=Filters(session_id=session.id))
        for execution in (await self.services.executions.list(query)).executions:
            text = (await self._log_of(execution.id))[-left:]
            texts.append(text)
            left -= len(text)
            if left <= 0:
                break
        await self.write_json({"result": {"logs": "".join(reversed(texts))}})

    async def _log_of(self, execution_id: str) -> str:
        """Return the end of what one execution showed on the console."""
        follower, text = self.services.following.so_far(execution_id), ""
        while not follower.has_ended:
            text += await threads.run_if_large(text_of, await follower.read(seconds=0))
            text = text[-self.dialect_options.max_log_chars :]
        return text
