"""REST handlers about the service itself: what it can do, its contract, and unknown paths."""

from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from tornado.web import authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext._version import __version__
from jupyter_exec_ext.api.operations import operation
from jupyter_exec_ext.api.page import STYLE_SOURCE, render_page
from jupyter_exec_ext.api.responses import Capabilities
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.services.kernelspecs import Kernelspecs
from jupyter_exec_ext.web.handler import ExecHandler, RefusingMixin
from jupyter_exec_ext.web.rights import authorized

FEATURES = [
    "code",
    "commands",
    "notebooks",
    "cells",
    "sessions",
    "attach",
    "complete",
    "files",
    "archives",
    "subshells",
    "inputs",
    "stdin",
    "variables",
    "save_to",
    "cancel",
    "log",
    "events",
    "merged_events",
    "origin",
    "after",
    "notebook_content",
    "wait",
]


class CapabilitiesHandler(ExecHandler):
    """What this service can do."""

    _track_activity = False

    def initialize(  # type: ignore[override]
        self, *, kernelspecs: Kernelspecs, dialects: list[str], limits: Limits
    ) -> None:
        """Take what there is to show."""
        super().initialize(max_body_bytes=limits.max_body_bytes)
        self.kernelspecs = kernelspecs
        self.dialects = dialects
        self.limits = limits

    @operation(
        "Show what the service can do",
        description="A safe probe: it changes nothing.",
        answers={HTTPStatus.OK: Capabilities},
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Show version, features, kernelspecs and limits."""
        self.write_value(
            Capabilities(
                version=__version__,
                features=FEATURES,
                default_kernel_name=self.kernelspecs.default_name,
                kernelspecs=[*await self.kernelspecs.list()],
                dialects=self.dialects,
                limits=self.limits,
                time=datetime.now(UTC),
            )
        )


class ContractHandler(ExecHandler):
    """The contract as an OpenAPI document."""

    _track_activity = False

    def initialize(  # type: ignore[override]
        self, *, limits: Limits, document: dict[str, Any]
    ) -> None:
        """Take the document."""
        super().initialize(max_body_bytes=limits.max_body_bytes)
        self.document = document

    @operation("Show the contract in OpenAPI 3.1", answers={HTTPStatus.OK: dict[str, Any]})
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Show it, with this server's address."""
        self.write_value({**self.document, "servers": [{"url": self.base_url.rstrip("/") or "/"}]})


class DocsHandler(ExecHandler):
    """The contract for people."""

    _track_activity = False

    def initialize(  # type: ignore[override]
        self, *, limits: Limits, document: dict[str, Any]
    ) -> None:
        """Take the document."""
        super().initialize(max_body_bytes=limits.max_body_bytes)
        self.limits = limits
        self.document = document

    @property
    def content_security_policy(self) -> str:
        """The policy of all answers, and the page's own style; no script and nothing from afar."""
        return f"{super().content_security_policy}; style-src {STYLE_SOURCE}"

    @operation(
        "Show the contract as a page",
        description="One HTML page that needs no other resource and no script.",
        answers={HTTPStatus.OK: "text/html"},
    )
    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Show it, with this server's address and limits."""
        url = f"{self.request.protocol}://{self.request.host}{self.base_url}"
        page = await threads.run_sync(
            lambda: render_page(self.document, url=url, limits=asdict(self.limits))
        )
        self.finish(page, set_content_type="text/html; charset=utf-8")


class UnknownHandler(RefusingMixin, ExecHandler):  # type: ignore[misc]
    """Every path below ours that is not in the table."""

    def initialize(self, *, limits: Limits) -> None:  # type: ignore[override]
        """Take the limits."""
        super().initialize(max_body_bytes=limits.max_body_bytes)
