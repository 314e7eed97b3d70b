"""One machine and one running server for all tests of a module."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_exec_ext.cli import main

from .machine import Machine, RunningServer, make_machine, running_server

Here = Callable[..., tuple[int, str, str]]
"""Runs the command in this process; returns its exit code and both its streams."""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = make_machine(tmp_path_factory.mktemp("machine"))
    # Building the font cache takes seconds, so all machines share one.
    fonts = tmp_path_factory.getbasetemp() / "matplotlib"
    machine.environment["MPLCONFIGDIR"] = str(fonts)
    return machine


@pytest.fixture(scope="module")
def server(machine: Machine) -> Iterator[RunningServer]:
    """A server of the same user, whose root folder is beside that of the other notebooks."""
    with running_server(machine, machine.folder / "served") as server:
        yield server


@pytest.fixture
def here(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    for name in ("HOME", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, machine.environment[name])
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, machine.environment[name])
    for name in ("JUPYTER_EXEC_URL", "JUPYTER_EXEC_TOKEN", "JUPYTER_PLATFORM_DIRS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(machine.folder / "work")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def named(server: RunningServer, monkeypatch: pytest.MonkeyPatch, here: Here) -> RunningServer:
    """The server, named in the environment."""
    monkeypatch.setenv("JUPYTER_EXEC_URL", server.url)
    monkeypatch.setenv("JUPYTER_EXEC_TOKEN", server.token)
    return server
