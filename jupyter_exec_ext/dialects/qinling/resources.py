"""Handlers of what is not an execution: functions, runtimes, and what this server has none of."""

from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from typing import Any

from tornado.web import HTTPError, authenticated

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import ExecError, MalformedRequestError
from jupyter_exec_ext.dialects.qinling.errors import not_a_uuid, not_found
from jupyter_exec_ext.dialects.qinling.filters import take
from jupyter_exec_ext.dialects.qinling.handlers import QinlingHandler
from jupyter_exec_ext.dialects.qinling.packages import FunctionForm, apply, read_function
from jupyter_exec_ext.dialects.qinling.wire import (
    NAME,
    is_path,
    is_uuid,
    runtime_id_of,
    runtime_view,
)
from jupyter_exec_ext.web.handler import RefusingMixin
from jupyter_exec_ext.web.reading import read_flag
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

    async def read_form(self, *, is_new: bool) -> FunctionForm:
        """Return what the body asks for."""
        body, self._body = bytes(self._body or b""), None
        return await threads.run_sync(
            partial(
                read_function,
                body,
                self.request.headers.get("Content-Type", ""),
                self.dialect_options,
                is_new=is_new,
                max_bytes=self.services.limits.max_notebook_bytes,
            )
        )

    async def kernelspec_of(self, form: FunctionForm) -> dict[str, str] | None:
        """Return the kernelspec that the form names; ``None`` when it names none."""
        if form.runtime_id is None:
            return None
        return await self.functions.kernelspec_of(form.runtime_id)


class FunctionsHandler(_FormHandler):
    """All functions."""

    plain_methods = ("POST",)

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self) -> None:
        """List them."""
        await self.require("read", "executions")
        filters = self.read_filters()
        project = {"project_id": self.project_id}
        files = await self.functions.files() if take(filters, project) else []
        self.answer({"functions": await self.functions.views(files)})

    @authenticated
    @authorized(action="write", resource="contents")
    async def post(self) -> None:
        """Make the notebook in a package a function."""
        await self.require("read", "executions")
        form = await self.read_form(is_new=True)
        assert form.package is not None
        file_name, notebook = form.package
        name = (form.name or file_name).strip("/")
        path = name if name.endswith(".ipynb") else f"{name}.ipynb"
        kernelspec = await self.kernelspec_of(form)
        file = await self.services.notebook_files.create(path, apply(form, notebook, kernelspec))
        self.answer(await self.functions.view(file), HTTPStatus.CREATED)


class FunctionHandler(_FormHandler):
    """One function."""

    plain_methods = ("GET", "PUT")

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, function_id: str) -> None:
        """Show it, or give its package."""
        text = self.get_query_argument("download", None)
        if read_flag("download", text and text.lower()):
            file = await self.functions.find(function_id)
            package = await self.functions.package(file)
            name = file.path.rpartition("/")[2].removesuffix(".ipynb")
            self.set_header("Content-Disposition", attachment(f"{name}.zip"))
            self.finish(package, set_content_type="application/zip")
            return
        await self.require("read", "executions")
        self.answer(await self.functions.view(await self.functions.find(function_id)))

    @authenticated
    @authorized(action="write", resource="contents")
    async def put(self, function_id: str) -> None:
        """Change what it runs, or what is said of it; its name stays."""
        await self.require("read", "contents")
        await self.require("read", "executions")
        file = await self.functions.find(function_id)
        form = await self.read_form(is_new=False)
        if form.name not in (None, file.path, file.path.removesuffix(".ipynb")):
            raise MalformedRequestError(
                "The name of a function is the path of its notebook, and stays."
            )
        kernelspec = await self.kernelspec_of(form)
        if form.package or form.settings or kernelspec:
            change = partial(apply, form, kernelspec=kernelspec)
            file = await self.services.notebook_files.change(file.path, change)
        self.answer(await self.functions.view(file))

    @authenticated
    @authorized(action="write", resource="contents")
    async def delete(self, function_id: str) -> None:
        """Delete its notebook; its executions stay."""
        if not is_uuid(function_id) and not is_path(function_id):
            raise not_a_uuid(function_id)
        file = await self.functions.find(function_id)
        await self.services.notebook_files.delete(file.path)
        self.answer_empty()


class VersionsHandler(QinlingHandler):
    """The versions of a function, which has none but the notebook as it is."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, function_id: str) -> None:
        """List none."""
        if not is_uuid(function_id) and not is_path(function_id):
            raise not_a_uuid(function_id)
        await self.functions.find(function_id)
        self.answer({"function_versions": []})

    @authenticated
    @authorized(action="write", resource="contents")
    async def post(self, function_id: str) -> None:
        """Refuse to keep one."""
        await self.functions.find(function_id)
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


class AliasesHandler(QinlingHandler):
    """All aliases, of which there are none."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self) -> None:
        """List none."""
        self.read_filters()
        self.answer({"function_aliases": []})

    @authenticated
    @authorized(action="write", resource="contents")
    async def post(self) -> None:
        """Refuse to keep one."""
        raise HTTPError(HTTPStatus.NOT_IMPLEMENTED)


class AliasHandler(QinlingHandler):
    """One alias, which is not there."""

    @authenticated
    @authorized(action="read", resource="contents")
    async def get(self, name: str) -> None:
        """Say that it is not there."""
        raise not_found("FunctionAlias", name=name)

    @authenticated
    @authorized(action="write", resource="contents")
    async def put(self, name: str) -> None:
        """Say that it is not there."""
        raise not_found("FunctionAlias", name=name)

    @authenticated
    @authorized(action="write", resource="contents")
    async def delete(self, name: str) -> None:
        """Say that it is not there."""
        raise not_found("FunctionAlias", name=name)


class RuntimesHandler(QinlingHandler):
    """All kernelspecs as runtimes."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """List them."""
        filters = self.read_filters()
        specs = await self.services.kernelspecs.list()
        is_wanted = take(filters, {"project_id": self.project_id})
        views = [runtime_view(spec, project_id=self.project_id) for spec in specs if is_wanted]
        self.answer({"runtimes": views})

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
        if not is_uuid(runtime_id):
            raise not_a_uuid(runtime_id)
        for spec in await self.services.kernelspecs.list():
            if runtime_id_of(spec.name) == runtime_id.lower():
                self.answer(runtime_view(spec, project_id=self.project_id))
                return
        raise not_found("Runtime", id=runtime_id)

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
        self.answer({"versions": [{"id": "v1.0", "status": "CURRENT", "links": [link]}]})


class VersionRootHandler(QinlingHandler):
    """The only version of the API."""

    @authenticated
    @authorized(action="read", resource="executions")
    async def get(self) -> None:
        """Tell where it is."""
        self.answer({"uri": self.public_url(NAME, "v1")})


class UnknownHandler(RefusingMixin, QinlingHandler):  # type: ignore[misc]
    """Every path that the service does not have."""


class ForbiddenHandler(RefusingMixin, QinlingHandler):  # type: ignore[misc]
    """What only administrators may do: workers, their number, the pool."""

    refusal = HTTPStatus.FORBIDDEN


class MissingHandler(RefusingMixin, QinlingHandler):  # type: ignore[misc]
    """What this server has not: jobs and webhooks."""

    refusal = HTTPStatus.NOT_IMPLEMENTED
