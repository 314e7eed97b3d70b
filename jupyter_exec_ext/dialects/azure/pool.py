"""The calls about sessions and the pool."""

import platform
from contextlib import suppress
from http import HTTPStatus
from importlib import metadata
from typing import Any

from tornado.web import authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import SessionNotFoundError
from jupyter_exec_ext.core.sessions import Session
from jupyter_exec_ext.dialects.azure import wire
from jupyter_exec_ext.dialects.azure.base import IDENTIFIER_PATTERN, Call
from jupyter_exec_ext.store.listing import SessionFilters, SessionQuery
from jupyter_exec_ext.web.reading import read_count
from jupyter_exec_ext.web.rights import authorized

PAGE_SIZE = 100
"""How many sessions a list has at once."""

_KERNELS = {"python": ("ipykernel", "https://ipython.org")}
"""The distribution of the kernel of a language, and where people read about it."""


class OneSession(Call):
    """One session."""

    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self) -> None:
        """Show it."""
        self.write_value(wire.session_view(await self.find_session()))

    @authenticated
    @authorized(action="write", resource="exec-sessions")
    async def delete(self) -> None:
        """End it, with its files; that it is not there is what the client wants."""
        with suppress(SessionNotFoundError):
            await self.services.sessions.delete((await self.find_session()).id)
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()


class Sessions(Call):
    """All sessions whose name can be an identifier."""

    @authenticated
    @authorized(action="read", resource="exec-sessions")
    async def get(self) -> None:
        """List them."""
        self.read_version()
        skip = read_count("skip", self.parameter("skip"), default=0, maximum=2**31 - 1)
        named = await self._named(skip + PAGE_SIZE + 1)
        shown = named[skip : skip + PAGE_SIZE]
        is_more = len(named) > skip + PAGE_SIZE
        self.write_value(
            {
                "sessions": [wire.session_view(session) for session in shown],
                "nextLink": self.call_url("listSessions", skip=str(skip + PAGE_SIZE))
                if is_more
                else None,
            }
        )

    async def _named(self, count: int) -> list[Session]:
        """Return the first *count* that have not ended."""
        found: list[Session] = []
        token: str | None = None
        while len(found) < count:
            page = await self.services.sessions.list(
                SessionQuery(
                    filters=SessionFilters(has_ended=False),
                    order_by="created_time",
                    page_size=self.services.limits.max_page_size,
                    page_token=token,
                )
            )
            found += [
                session
                for session in page.sessions
                if IDENTIFIER_PATTERN.fullmatch(session.name or "")
            ]
            token = page.next_page_token
            if token is None:
                break
        return found


class Metadata(Call):
    """What code of the pool meets."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Show the runtime, its packages and the kernel."""
        self.read_version()
        name = self.dialect_options.kernel_name or self.services.kernelspecs.default_name
        specs = {spec.name: spec for spec in await self.services.kernelspecs.list()}
        spec = specs.get(name)
        language = "" if spec is None else spec.language
        distribution, url = _KERNELS.get(language, ("", ""))
        packages: list[dict[str, str]] = []
        if distribution:
            packages = await threads.run_sync(_packages)
        versions = {package["name"]: package["version"] for package in packages}
        time = self.dialect_options.start_time
        self.write_value(
            {
                "runtimes": [
                    {
                        "name": language,
                        "version": platform.python_version() if distribution else "",
                    }
                ],
                "preInstalledPackages": packages,
                "createdAt": time,
                "lastUpdatedAt": time,
                "jupyterKernel": {
                    "name": name,
                    "version": versions.get(distribution, ""),
                    "projectUrl": url,
                    "description": "" if spec is None else spec.display_name,
                },
            }
        )


def _packages() -> list[dict[str, Any]]:
    """Return the packages of the server's own environment, by name."""
    found = {
        str(distribution.metadata["Name"]): distribution.version
        for distribution in metadata.distributions()
        if distribution.metadata["Name"]
    }
    return [{"name": name, "version": found[name]} for name in sorted(found, key=str.lower)]
