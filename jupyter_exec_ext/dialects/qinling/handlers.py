"""What all handlers of the Qinling dialect share: credentials, answers, filters."""

from http import HTTPStatus
from typing import ClassVar

import msgspec

from jupyter_exec_ext.core.errors import ExecError
from jupyter_exec_ext.core.models import Execution
from jupyter_exec_ext.dialects.base import DialectMixin, Failure
from jupyter_exec_ext.dialects.qinling.errors import failure_of, unknown_argument
from jupyter_exec_ext.dialects.qinling.filters import Filter
from jupyter_exec_ext.dialects.qinling.functions import Functions
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.dialects.qinling.wire import ExecutionView, execution_view
from jupyter_exec_ext.web.handler import PARAMETERS_OF_SERVER, ExecHandler

TOKEN_HEADER = "X-Auth-Token"  # noqa: S105 - the name of a header
OTHER_CREDENTIALS = ("X-Auth-User", "X-Auth-Key")


class QinlingHandler(DialectMixin[QinlingOptions], ExecHandler):  # type: ignore[misc]
    """A handler that takes Qinling's credentials and fails in Qinling's words.

    Attributes:
        plain_methods: Those whose errors have the ``faultstring`` only.
    """

    functions: Functions
    _track_activity = False
    plain_methods: ClassVar[tuple[str, ...]] = ()

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
        return failure_of(status, error, is_plain=self.request.method in self.plain_methods)

    async def shown(self, execution: Execution, *, has_input: bool) -> ExecutionView:
        """Return a record as Qinling shows it, with what its run left."""
        result = None
        # Only what succeeded has a result that its record does not tell.
        if execution.state.is_final and execution.error is None:
            result = await self.services.executions.result(execution.id)
        return execution_view(execution, result, project_id=self.project_id, has_input=has_input)

    def answer(self, value: object, status: HTTPStatus = HTTPStatus.OK) -> None:
        """Answer with *value* as JSON, what is not set as null."""
        self.set_status(status)
        self.finish(msgspec.json.encode(value))

    def answer_empty(self) -> None:
        """Answer that it is done."""
        self.set_status(HTTPStatus.NO_CONTENT)
        self.finish()

    def read_filters(self, *names: str) -> dict[str, Filter]:
        """Return the filters of the query string.

        Args:
            names: The fields that can be filtered by, besides the project.

        Raises:
            MalformedRequestError: It has a parameter that is none.
        """
        known = (*names, "project_id")
        for name in self.request.query_arguments:
            if name not in (*known, "all_projects", *PARAMETERS_OF_SERVER):
                raise unknown_argument(name)
        given = {name: self.get_query_argument(name, None, strip=False) for name in known}
        return {name: Filter.of(text) for name, text in given.items() if text is not None}
