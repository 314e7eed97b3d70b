"""What all handlers of the Qinling dialect share: credentials, answers, filters."""

from functools import partial
from http import HTTPStatus
from typing import ClassVar

import msgspec

from jupyter_exec_ext import threads
from jupyter_exec_ext.core.errors import (
    ExecError,
    ExecutionNotFoundError,
    NotebookNotFoundError,
    NotFoundError,
)
from jupyter_exec_ext.core.models import Execution, Result
from jupyter_exec_ext.dialects.base import DialectMixin, Failure
from jupyter_exec_ext.dialects.qinling.aliases import Aliases
from jupyter_exec_ext.dialects.qinling.errors import (
    failure_of,
    not_a_uuid,
    not_found,
    unknown_argument,
)
from jupyter_exec_ext.dialects.qinling.filters import Filter
from jupyter_exec_ext.dialects.qinling.functions import Functions
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.dialects.qinling.wire import (
    ExecutionView,
    execution_view,
    function_id_of,
    is_path,
    is_uuid,
)
from jupyter_exec_ext.services.notebook_files import NotebookFile
from jupyter_exec_ext.web.handler import PARAMETERS_OF_SERVER, ExecHandler

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 - the name of a header
OTHER_CREDENTIALS = ("X-Auth-User", "X-Auth-Key")
FILTERS = ("project_id", "all_projects")
"""What each list can be filtered by."""


class QinlingHandler(DialectMixin[QinlingOptions], ExecHandler):  # type: ignore[misc]
    """A handler that takes Qinling's credentials and fails in Qinling's words.

    Attributes:
        plain_methods: Those whose errors have the ``faultstring`` only, and that take any text
            for an id.
        query_names: The parameters that a GET may have, and no other method; ``None`` for any.
    """

    functions: Functions
    aliases: Aliases
    plain_methods: ClassVar[tuple[str, ...]] = ()
    query_names: ClassVar[tuple[str, ...] | None] = ()
    _track_activity = False
    _asked_function = ""

    @property
    def project_id(self) -> str:
        """The project that everything is of."""
        return self.dialect_options.project_id

    def take_credentials(self) -> None:
        """Take the token; a header of Jupyter's own wins, beside which clients send any token."""
        headers = self.request.headers
        token = headers.get(TOKEN_HEADER, "")
        for name in (TOKEN_HEADER, *OTHER_CREDENTIALS):
            headers.pop(name, None)
        if token and "Authorization" not in headers:
            headers["Authorization"] = f"token {token}"

    def failure(self, status: int, error: ExecError | None) -> Failure:
        """Return an error as Qinling has it."""
        if isinstance(error, NotebookNotFoundError):
            error = not_found("Function", id=self._asked_function)
        elif isinstance(error, ExecutionNotFoundError):
            error = not_found("Execution", id=error.execution_id)
        return failure_of(status, error, is_plain=self.is_plain)

    @property
    def is_plain(self) -> bool:
        """Whether the method is one of the `plain_methods`."""
        return self.request.method in self.plain_methods

    async def find_function(self, function: str) -> NotebookFile:
        """Return the notebook that a function is; see `Functions.find`.

        Raises:
            MalformedRequestError: There is none, and this is no id.
            NotFoundError: There is none.
        """
        self._asked_function = function
        try:
            return await self.functions.find(function)
        except NotFoundError:
            if self.is_plain or is_uuid(function) or is_path(function):
                raise
            raise not_a_uuid(function) from None

    def check_query(self) -> None:
        """Refuse a parameter that the handler lacks."""
        if not self.current_user or self.query_names is None:
            return
        known = self.query_names if self.request.method == "GET" else ()
        for name in self.request.query_arguments:
            if name not in known and name not in PARAMETERS_OF_SERVER:
                raise unknown_argument(name)

    async def shown(self, execution: Execution, *, has_input: bool) -> ExecutionView:
        """Return a record as Qinling shows it, with what its run left."""
        result = None
        # Only what succeeded has a result that its record does not tell.
        if execution.state.is_final and execution.error is None:
            result = await self.services.executions.values(execution.id)
            if result.value_json is None and not execution.variable_names:
                result = await self.services.executions.result(execution.id)
        return await self.view_of(execution, result, has_input=has_input)

    async def view_of(
        self, execution: Execution, result: Result | None, *, has_input: bool
    ) -> ExecutionView:
        """Return a record as Qinling shows it, with *result* where it has one."""
        view = partial(execution_view, project_id=self.project_id, has_input=has_input)
        return await threads.run_if_large(view, execution, result)

    async def answer(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Answer with *value* as JSON, what is not set as null."""
        data = await threads.run_if_large(msgspec.json.encode, value)
        self.set_status(status)
        self.finish(data)

    def answer_empty(self) -> None:
        """Answer that it is done."""
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()

    def read_filters(self) -> dict[str, Filter]:
        """Return the filters of the query string; of one that is given twice the last."""
        return {
            name: Filter.of(self.get_query_argument(name, strip=False))
            for name in self.request.query_arguments
            if name in (self.query_names or ()) and name != "all_projects"
        }


def check_version(file: NotebookFile, version: int) -> None:
    """Raise `NotFoundError` for any version but 0, which is the notebook as it is."""
    if version:
        function_id = function_id_of(file.path)
        raise not_found("FunctionVersion", function_id=function_id, version_number=version)
