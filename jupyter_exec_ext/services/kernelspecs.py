"""Which kernel a request means, and whether it can have the inputs that it asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_server.utils import ensure_async

from jupyter_exec_ext.core.errors import InvalidArgumentError, UnknownKernelError
from jupyter_exec_ext.core.inputs import Environment
from jupyter_exec_ext.engine.languages import (
    command_languages,
    is_tested,
    language_of,
    runs_commands,
)
from jupyter_exec_ext.engine.launching import ServerHost


@dataclass(frozen=True, kw_only=True)
class Kernelspec:
    """A kernel that executions can use.

    Attributes:
        name: What a request calls it.
        display_name: What people call it.
        language: The language it speaks.
        reads_variables: Whether output variables can be read. ``None`` where only a running kernel
            shows it: the language is supported, but another kernel for it was tested.
        runs_commands: Whether it can run commands; ``None`` as for ``reads_variables``.
    """

    name: str
    display_name: str
    language: str
    reads_variables: bool | None
    runs_commands: bool | None


class Kernelspecs:
    """The kernelspecs of the server."""

    def __init__(self, host: ServerHost) -> None:
        self._host = host

    @property
    def default_name(self) -> str:
        """The name of the kernelspec that is used where nothing names one."""
        return str(self._host.kernel_manager.default_kernel_name)

    async def list(self) -> Sequence[Kernelspec]:
        """Return all of them, by name."""
        specs = await ensure_async(self._host.kernel_spec_manager.get_all_specs())
        return [_kernelspec(name, found["spec"]) for name, found in sorted(specs.items())]

    async def choose(self, asked: str | None, of_notebook: str | None) -> str:
        """Return the name of the kernelspec to use: the one asked for, the notebook's, the default.

        Raises:
            UnknownKernelError: This server has no such kernelspec.
        """
        name = asked or of_notebook or self._host.kernel_manager.default_kernel_name
        known = await ensure_async(self._host.kernel_spec_manager.find_kernel_specs())
        if name not in known:
            target = "notebook.path" if not asked and of_notebook else "kernel_name"
            raise UnknownKernelError(name[:64], tuple(sorted(known)), target=target)
        return str(name)

    async def check_inputs(self, kernel_name: str, environment: Environment) -> None:
        """Raise `InvalidArgumentError` for an input that a kernel cannot get from its start on.

        The kernelspec's own environment wins over what the server starts a kernel with; it is
        overruled inside the kernel, which takes a language that we know.
        """
        if environment and language_of((await self._spec(kernel_name)).language) is None:
            await self.check_environment(kernel_name, environment, target="inputs")

    async def check_live_inputs(self, kernel_name: str, environment: Environment) -> None:
        """Raise `InvalidArgumentError` when a running kernel cannot be given any inputs."""
        if environment and language_of((await self._spec(kernel_name)).language) is None:
            raise InvalidArgumentError(
                f"a running kernel of {kernel_name!r} cannot be given inputs", target="inputs"
            )

    async def check_commands(self, kernel_name: str) -> None:
        """Raise `InvalidArgumentError` when a kernel cannot run commands.

        A kernelspec that names no language is asked again when its kernel is there.
        """
        name = str((await self._spec(kernel_name)).language)
        if name.strip() and not runs_commands(name):
            raise InvalidArgumentError(
                f"a kernel of {kernel_name!r} runs no commands; those of these languages do:"
                f" {', '.join(command_languages())}",
                target="command",
            )

    async def check_environment(
        self, kernel_name: str, environment: Environment, *, target: str
    ) -> None:
        """Raise `InvalidArgumentError` for a variable that the kernelspec sets itself."""
        if not environment:
            return
        for name in sorted(environment.keys() & (await self._spec(kernel_name)).env.keys()):
            raise InvalidArgumentError(
                f"the kernelspec {kernel_name!r} sets this name itself, and it cannot be"
                " overruled here",
                target=f"{target}.{name}",
            )

    async def _spec(self, kernel_name: str) -> Any:
        return await ensure_async(self._host.kernel_spec_manager.get_kernel_spec(kernel_name))


def _kernelspec(name: str, spec: Mapping[str, Any]) -> Kernelspec:
    language = language_of(spec["language"])
    # What another kernel for the same language can do only that kernel shows.
    able = language is not None and (is_tested(language, spec["argv"]) or None)
    return Kernelspec(
        name=name,
        display_name=spec["display_name"],
        language=spec["language"],
        reads_variables=able,
        runs_commands=able if runs_commands(spec["language"]) else False,
    )
