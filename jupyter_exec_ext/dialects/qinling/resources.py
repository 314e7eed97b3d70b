"""Handlers of what is no execution: functions, aliases, runtimes, and what there is none of."""

from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Any

from tornado.web import HTTPError, authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import ExecError, MalformedRequestError, NotFoundError
from jupyter_exec_ext.dialects.qinling.base import FILTERS, QinlingHandler, check_version
from jupyter_exec_ext.dialects.qinling.errors import not_a_uuid, not_found
from jupyter_exec_ext.dialects.qinling.filters import take
from jupyter_exec_ext.dialects.qinling.forms import FunctionForm, apply, read_function
from jupyter_exec_ext.dialects.qinling.requests import AliasRequest, is_true, read_alias
from jupyter_exec_ext.dialects.qinling.wire import (
    NAME,
    is_uuid,
    notebook_path,
    runtime_view,
)
from jupyter_exec_ext.services.kernelspecs import Kernelspec
from jupyter_exec_ext.web.handler import RefusingMixin
from jupyter_exec_ext.web.rights import authorized
from jupyter_exec_ext.web.transfers import attachment

FORM_BYTES = 100_000
"""How much larger than its package the body of a form may be."""


class _FormHandler(QinlingHandler):
    """A handler of forms with packages: of one that may not be sent nothing is kept."""

    def initialize(self, **arguments: Any) -> None:
        """Take the same as all, and allow for a package."""
        super().initialize(**arguments)
        self._uploads = ExitStack()
        if self.has_form:
            self._max_body_bytes = self.dialect_options.max_package_bytes + FORM_BYTES

    @property
    def has_form(self) -> bool:
        """Whether the body of this request is a form."""
        return self.request.method in ("POST", "PUT")

    async def prepare(self) -> None:  # type: ignore[override]
        """Authenticate, and check the right to send a form before it comes."""
        await super().prepare()
        if not self.has_form:
            return
        if not self.current_user:
            self.refuse(HTTPError(HTTPStatus.FORBIDDEN))
            return
        try:
            await self.require("write", "contents")
            self._uploads.enter_context(self.functions.uploading())
        except (HTTPError, ExecError) as refusal:
            self.refuse(refusal)

    def on_finish(self) -> None:
        """Make room for another package."""
        super().on_finish()
        self._uploads.close()

    def on_connection_close(self) -> None:
        """Make room for another package."""
        super().on_connection_close()
        self._uploads.close()

    async def read_form(self, *, is_new: bool, entry: str | None = None) -> FunctionForm:
        """Return what the body asks for; *entry* is that of the function as it is."""
        body, self._body = bytes(self._body or b""), None
        return await threads.run_sync(
            partial(
                read_function,
                body,
                self.request.headers.get("Content-Type", ""),
                self.dialect_options,
                is_new=is_new,
                entry=entry,
                max_bytes=self.services.limits.max_notebook_bytes,
            ),
            limiter=self.functions.reading,
        )

    async def runtime_of(self, form: FunctionForm) -> Kernelspec | None:
        """Return the kernelspec that the form names; ``None`` when it names none."""
        return None if form.runtime is None else await self.functions.runtime(form.runtime)


class FunctionsHandler(_FormHandler):
    """All functions."""

    plain_methods = ("POST",)
    query_names = FILTERS

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self) -> None:
        """List them."""
        await self.require("read", "executions")
        filters = self.read_filters()
        project = {"project_id": self.project_id}
        files = await self.functions.files() if take(filters, project) else []
        await self.answer({"functions": await self.functions.views(files)})

    @authenticated
    @authorized(action="write", resource="contents")
    async def post(self) -> None:
        """Make the notebook in a package a function."""
        await self.require("read", "executions")
        form = await self.read_form(is_new=True)
        notebook = apply(form, None, await self.runtime_of(form))
        path = notebook_path(form.name or "")
        file = await self.services.notebook_files.create(path, notebook)
        await self.answer(await self.functions.view(file), HTTPStatus.CREATED)


class FunctionHandler(_FormHandler):
    """One function."""

    plain_methods = ("GET", "PUT")
    query_names = ("download",)

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, function_id: str) -> None:
        """Show it, or give its package."""
        if is_true(self.get_query_argument("download", "")):
            file = await self.find_function(function_id)
            package = await self.functions.package(file)
            name = file.path.rpartition("/")[2].removesuffix(".ipynb")
            self.set_header("Content-Disposition", attachment(f"{name}.zip"))
            self.finish(package, set_content_type="application/zip")
            return
        await self.require("read", "executions")
        await self.answer(await self.functions.view(await self.find_function(function_id)))

    @authenticated
    @authorized(action="write", resource="contents")
    async def put(self, function_id: str) -> None:
        """Change what it runs, or what is said of it; its name stays."""
        await self.require("read", "contents")
        await self.require("read", "executions")
        file = await self.find_function(function_id)
        details = await self.functions.details(file)
        entry = details.entry if details.module else None
        form = await self.read_form(is_new=False, entry=entry)
        if form.name not in (None, file.path, file.path.removesuffix(".ipynb")):
            raise MalformedRequestError(
                "The name of a function is the path of its notebook, and stays."
            )
        runtime = await self.runtime_of(form)
        if form.notebook or form.settings or runtime:
            change = partial(apply, form, spec=runtime)
            file = await self.functions.change(file, change)
        await self.answer(await self.functions.view(file))

    @authenticated
    @authorized(action="write", resource="contents")
    async def delete(self, function_id: str) -> None:
        """Delete its notebook, unless an alias names it; its executions stay."""
        file = await self.find_function(function_id)
        await self.aliases.delete_function(file)
        self.answer_empty()


class VersionsHandler(QinlingHandler):
    """The versions of a function, which has none but the notebook as it is."""

    query_names = FILTERS

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, function_id: str) -> None:
        """List none."""
        await self.find_function(function_id)
        await self.answer({"function_versions": []})

    @authenticated
    @authorized(action="write", resource="contents")
    async def post(self, function_id: str) -> None:
        """Refuse to keep one."""
        await self.find_function(function_id)
        raise HTTPError(HTTPStatus.NOT_IMPLEMENTED)


class VersionHandler(QinlingHandler):
    """One version, which is not there."""

    plain_methods = ("GET",)

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, function_id: str, version: str) -> None:
        """Say that it is not there."""
        raise not_found("FunctionVersion", function_id=function_id, version_number=version)

    @authenticated
    @authorized(action="write", resource="contents")
    async def delete(self, function_id: str, version: str) -> None:
        """Say that it is not there."""
        raise not_found("FunctionVersion", function_id=function_id, version_number=version)


class _AliasHandler(QinlingHandler):
    """What the handlers of aliases share."""

    def read_alias(self, *, is_new: bool) -> AliasRequest:
        """Return what the body asks for."""
        content_type = self.request.headers.get("Content-Type", "")
        return read_alias(bytes(self._body or b""), content_type, is_new=is_new)


class AliasesHandler(_AliasHandler):
    """All aliases."""

    query_names = FILTERS

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self) -> None:
        """List them, by name."""
        is_wanted = take(self.read_filters(), {"project_id": self.project_id})
        aliases = await self.aliases.all() if is_wanted else {}
        views = [aliases[name].view(self.project_id) for name in sorted(aliases)]
        await self.answer({"function_aliases": views})

    @authenticated
    @authorized(action="write", resource="contents")
    async def post(self) -> None:
        """Give a function an alias."""
        await self.require("read", "contents")
        asked = self.read_alias(is_new=True)
        file = await self.find_function(asked.function or "")
        check_version(file, asked.version)
        alias = await self.aliases.create(asked.name or "", file, asked.description or "")
        await self.answer(alias.view(self.project_id), HTTPStatus.CREATED)


class AliasHandler(_AliasHandler):
    """One alias."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, name: str) -> None:
        """Show it."""
        await self.answer((await self.aliases.find(name)).view(self.project_id))

    @authenticated
    @authorized(action="write", resource="contents")
    async def put(self, name: str) -> None:
        """Give it to another function, or change what is said of it; its name stays."""
        await self.require("read", "contents")
        asked = self.read_alias(is_new=False)
        if asked.name not in (None, name):
            raise MalformedRequestError("The name of an alias stays.")
        file = (await self.aliases.find(name)).file
        if asked.function is not None:
            file = await self.find_function(asked.function)
        check_version(file, asked.version)
        alias = await self.aliases.update(name, file, asked.description)
        await self.answer(alias.view(self.project_id))

    @authenticated
    @authorized(action="write", resource="contents")
    async def delete(self, name: str) -> None:
        """Delete it; its function stays."""
        await self.aliases.delete(name)
        self.answer_empty()


class RuntimesHandler(QinlingHandler):
    """All kernelspecs as runtimes."""

    query_names = FILTERS

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """List them."""
        is_wanted = take(self.read_filters(), {"project_id": self.project_id})
        specs = await self.services.kernelspecs.list() if is_wanted else []
        views = [runtime_view(spec, project_id=self.project_id) for spec in specs]
        await self.answer({"runtimes": views})

    @authenticated
    @authorized(action="write", resource="kernels")
    async def post(self) -> None:
        """Refuse it: that is for administrators."""
        raise HTTPError(HTTPStatus.FORBIDDEN)


class RuntimeHandler(QinlingHandler):
    """One kernelspec as a runtime."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self, runtime_id: str) -> None:
        """Show it."""
        try:
            spec = await self.functions.runtime(runtime_id)
        except NotFoundError:
            if is_uuid(runtime_id):
                raise
            raise not_a_uuid(runtime_id) from None
        await self.answer(runtime_view(spec, project_id=self.project_id))

    @authenticated
    @authorized(action="write", resource="kernels")
    async def put(self, runtime_id: str) -> None:
        """Refuse it: that is for administrators."""
        del runtime_id
        raise HTTPError(HTTPStatus.FORBIDDEN)

    @authenticated
    @authorized(action="write", resource="kernels")
    async def delete(self, runtime_id: str) -> None:
        """Refuse it: that is for administrators."""
        del runtime_id
        raise HTTPError(HTTPStatus.FORBIDDEN)


class RootHandler(QinlingHandler):
    """What versions of the API there are."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Name the only one."""
        link = {"href": self.public_url(NAME, "v1"), "target": "v1", "rel": "self"}
        await self.answer({"versions": [{"id": "v1.0", "status": "CURRENT", "links": [link]}]})


class VersionRootHandler(QinlingHandler):
    """The only version of the API."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Tell where it is."""
        await self.answer({"uri": self.public_url(NAME, "v1")})


class UnknownHandler(RefusingMixin, QinlingHandler):  # type: ignore[misc]
    """Every path that the service does not have."""

    query_names = None


class ForbiddenHandler(UnknownHandler):
    """What only administrators may do: workers, their number, the pool."""

    refusal = HTTPStatus.FORBIDDEN


class MissingHandler(UnknownHandler):
    """What this server has not: jobs and webhooks."""

    refusal = HTTPStatus.NOT_IMPLEMENTED
