"""What all dialects have in common: foreign credentials in, foreign errors out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar

import msgspec
from traitlets.config import Configurable

from jupyter_exec_ext.core.errors import ExecError
from jupyter_exec_ext.services.doors import Services
from jupyter_exec_ext.web.handler import ExecHandler
from jupyter_exec_ext.web.transfers import FileHandler

Options = TypeVar("Options", bound=Configurable)


@dataclass(frozen=True)
class Dialect:
    """One service's wire format.

    Attributes:
        name: What ``ExecApp.dialects`` and the path below ``exec/`` call it.
        options: Its settings; an object of it goes to each handler, with the services.
        shared: Makes what all handlers of one server have besides, by the name of the attribute.
        routes: Patterns of paths below ``exec/``, and the handlers that serve them; the last one
            takes what no other does.
    """

    name: str
    options: type[Configurable]
    routes: tuple[tuple[str, type[ExecHandler]], ...]
    shared: Callable[[Services, Any], Mapping[str, Any]] = lambda _services, _options: {}

    def handlers(
        self, services: Services, options: Configurable
    ) -> list[tuple[str, type, dict[str, Any]]]:
        """Return the table for Tornado, relative to the base URL."""
        arguments = {"services": services, "options": options, **self.shared(services, options)}
        return [(f"exec/{pattern}", handler, arguments) for pattern, handler in self.routes]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error as a service answers it.

    Attributes:
        body: Is sent as JSON.
    """

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


class DialectMixin(Generic[Options]):
    """Makes a handler speak as a service does.

    It stands before `ExecHandler`, or what is built on that, among the bases of the handler.

    Attributes:
        dialect_options: The settings; Tornado calls ``options`` for the verb of that name.
    """

    services: Services
    dialect_options: Options

    def initialize(self, *, services: Services, options: Options, **shared: Any) -> None:
        """Take the services, the settings of the dialect, and what its handlers share."""
        self.__dict__.update(shared)
        self.services = services
        self.dialect_options = options
        limits = services.limits
        handler: Any = self
        base: Any = super()
        if isinstance(handler, FileHandler):
            base.initialize(files=services.files, limits=limits)
        else:
            base.initialize(max_body_bytes=limits.max_body_bytes)

    def take_credentials(self) -> None:
        """Put the service's credentials where Jupyter looks for its own, and forget them.

        Raises:
            ExecError: They are none, or wrong.
        """

    def failure(self, status: int, error: ExecError | None) -> Failure:
        """Return how the service would say an error.

        Args:
            status: As the native API has it; 401 when no valid credentials came.
            error: What went wrong; ``None`` for what Jupyter Server or Tornado refused.
        """
        raise NotImplementedError

    async def prepare(self) -> None:
        """Authenticate with the credentials of the service."""
        handler: Any = self
        refusal: ExecError | None = None
        try:
            self.take_credentials()
        except ExecError as error:
            refusal = error
        base: Any = super()
        await base.prepare()
        if refusal is not None:
            handler.refuse(refusal)

    def error_body(self, status_code: int, error: ExecError | None) -> bytes:
        """Return the body of an error as the service has it, and set its status and headers."""
        handler: Any = self
        base: Any = super()
        base.error_body(status_code, error)
        may_be_unknown = status_code == HTTPStatus.FORBIDDEN and not handler.is_host_refused
        if may_be_unknown and not handler.current_user:
            status_code = HTTPStatus.UNAUTHORIZED
        failure = self.failure(status_code, error)
        handler.set_status(failure.status)
        for name, value in failure.headers.items():
            handler.set_header(name, value)
        handler.error_content_type = failure.content_type
        return msgspec.json.encode(failure.body)

    def public_url(self, *parts: str) -> str:
        """Return the absolute URL of a resource of ours, as the client reaches it."""
        handler: Any = self
        request = handler.request
        return f"{request.protocol}://{request.host}{handler.link(*parts)}"
