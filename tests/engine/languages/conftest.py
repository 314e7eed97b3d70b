"""Real kernels for the tests of the languages, one of each kind for a module."""

import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import KernelManager

from jupyter_exec_ext.core.models import Variable
from jupyter_exec_ext.engine.languages import Language, Reply, Request, language_of

TIMEOUT_SECONDS = 60


@dataclass
class KernelUnderTest:
    """One running kernel, its language, and what the last request published."""

    manager: KernelManager
    client: BlockingKernelClient
    language: Language
    published: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _iopub: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    _replies: dict[str, dict[str, Any]] = field(default_factory=dict)

    def send(self, request: Request, *, store_history: bool = False) -> Reply:
        return self.receive(self.start(request, store_history=store_history))

    def start(
        self,
        request: Request,
        *,
        store_history: bool = False,
        allow_stdin: bool = False,
        subshell_id: str | None = None,
    ) -> str:
        """Send *request* and return the id of its message."""
        content = {
            "code": request.code,
            "silent": request.silent,
            "store_history": store_history,
            "user_expressions": request.user_expressions,
            "allow_stdin": allow_stdin,
            "stop_on_error": False,
        }
        message = self.client.session.msg("execute_request", content)
        if subshell_id is not None:
            message["header"]["subshell_id"] = subshell_id
        self.client.shell_channel.send(message)
        message_id: str = message["header"]["msg_id"]
        return message_id

    def wait_for(self, message_id: str, text: str) -> None:
        """Wait until a request has published a message of its own with *text*."""
        while not any(text in str(message["content"]) for message in self._iopub[message_id]):
            self._take_iopub()

    def receive(self, message_id: str) -> Reply:
        """Wait until a request is over and return what came back."""
        self.wait_for(message_id, "'execution_state': 'idle'")
        while message_id not in self._replies:
            message = self.client.get_shell_msg(timeout=TIMEOUT_SECONDS)
            self._replies[message["parent_header"]["msg_id"]] = message["content"]
        self.published = [
            (message["msg_type"], message["content"])
            for message in self._iopub.pop(message_id)
            if message["msg_type"] != "status"
        ]
        return Reply(
            content=self._replies.pop(message_id),
            stdout="".join(
                content["text"]
                for kind, content in self.published
                if kind == "stream" and content["name"] == "stdout"
            ),
            display_data=[
                content["data"] for kind, content in self.published if kind == "display_data"
            ],
        )

    def _take_iopub(self) -> None:
        message = self.client.get_iopub_msg(timeout=TIMEOUT_SECONDS)
        self._iopub[message["parent_header"].get("msg_id", "")].append(message)

    def run(self, code: str) -> str:
        """Run *code* as a user's cell and return what it printed."""
        reply = self.send(Request(code=code, silent=False), store_history=True)
        assert reply.content["status"] == "ok", reply.content
        return reply.stdout

    def value(
        self, code: str, *, max_bytes: int = 1_000, subshell_id: str | None = None
    ) -> str | None:
        """Run *code* as a user's cell and return its value."""
        return self.value_of(
            self.start_cell(code, max_bytes=max_bytes, subshell_id=subshell_id),
            max_bytes=max_bytes,
        )

    def start_cell(
        self, code: str, *, max_bytes: int = 1_000, subshell_id: str | None = None
    ) -> str:
        """Send *code* as a user's cell that shall have a value."""
        expressions = self.language.value_expressions(max_bytes=max_bytes)
        request = Request(code=code, silent=False, user_expressions=expressions)
        return self.start(request, store_history=True, subshell_id=subshell_id)

    def value_of(self, message_id: str, *, max_bytes: int = 1_000) -> str | None:
        """Wait until the cell is over and return its value."""
        return self.language.value_of(self.receive(message_id), max_bytes=max_bytes)

    def run_with_input(self, code: str, answer: str) -> Reply:
        """Run *code* as a user's cell that asks for input once."""
        request = Request(code=code, silent=False)
        message_id = self.start(request, store_history=True, allow_stdin=True)
        self.client.get_stdin_msg(timeout=TIMEOUT_SECONDS)
        self.client.input(answer)
        return self.receive(message_id)

    def create_subshell(self) -> str:
        message = self.client.session.msg("create_subshell_request", {})
        self.client.control_channel.send(message)
        while True:
            reply = self.client.get_control_msg(timeout=TIMEOUT_SECONDS)
            if reply["parent_header"].get("msg_id") == message["header"]["msg_id"]:
                subshell_id: str = reply["content"]["subshell_id"]
                return subshell_id

    def read(self, *names: str, max_bytes: int = 1_000_000) -> dict[str, Variable]:
        reading = self.language.read_variables(names, max_bytes=max_bytes)
        return reading.parse(self.send(reading.request))

    def read_json(self, *names: str) -> list[Any]:
        variables = self.read(*names)
        for name in names:
            assert variables[name].json_text is not None, variables[name]
        return [json.loads(variables[name].json_text or "") for name in names]

    def set_environment(self, **variables: str | None) -> None:
        reply = self.send(self.language.set_environment(variables))
        assert self.language.environment_error(reply) is None

    def restore_environment(self) -> None:
        reply = self.send(self.language.restore_environment())
        assert self.language.environment_error(reply) is None


def started(manager: KernelManager, folder: Path) -> BlockingKernelClient:
    """Start a kernel, again if somebody else took a port that was chosen for it."""
    for attempt in range(3):
        # A kernel that is killed, as R is, leaves its temporary files.
        env = os.environ | {"TMPDIR": str(folder)}
        manager.start_kernel(cwd=str(folder), env=env, stderr=subprocess.DEVNULL)
        client = manager.client()
        # Two threads of a kernel can give two messages one id and one signature.
        client.session.digest_history_size = 0
        client.start_channels()
        try:
            client.wait_for_ready(timeout=TIMEOUT_SECONDS)
        except RuntimeError:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
            if attempt == 2:
                raise
        else:
            break
    return client


@contextmanager
def running(folder: Path, language: str, argv: list[str], **env: str) -> Iterator[KernelUnderTest]:
    spec = {"argv": argv, "display_name": language, "language": language, "env": env}
    (folder / "test").mkdir()
    (folder / "test" / "kernel.json").write_text(json.dumps(spec))
    manager = KernelManager(
        kernel_name="test", kernel_spec_manager=KernelSpecManager(kernel_dirs=[str(folder)])
    )
    client = started(manager, folder)
    try:
        client.kernel_info()
        info = client.get_shell_msg(timeout=TIMEOUT_SECONDS)["content"]
        found = language_of(info["language_info"]["name"])
        assert found is not None
        yield KernelUnderTest(manager, client, found)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def missing(reason: str) -> None:
    """Skip the test, or fail it where everything has to be there."""
    if os.environ.get("EXEC_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def running_python(folder: Path, *options: str) -> Iterator[KernelUnderTest]:
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", *options]
    with running(folder, "python", argv) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def python_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelUnderTest]:
    with running_python(tmp_path_factory.mktemp("python")) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def bash_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelUnderTest]:
    if importlib.util.find_spec("bash_kernel") is None:
        missing("bash_kernel is not installed: pip install bash_kernel")
    argv = [sys.executable, "-m", "bash_kernel", "-f", "{connection_file}"]
    with running(tmp_path_factory.mktemp("bash"), "bash", argv, PS1="$") as kernel:
        yield kernel


@pytest.fixture(scope="module")
def r_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelUnderTest]:
    check = ["R", "--slave", "-e", "library(IRkernel)"]
    if not shutil.which("R") or subprocess.run(check, capture_output=True, check=False).returncode:
        missing("R with IRkernel is not installed: apt-get install r-cran-irkernel")
    argv = ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
    with running(tmp_path_factory.mktemp("r"), "R", argv) as kernel:
        yield kernel


def environment_of(kernel: KernelUnderTest, *names: str) -> dict[str, str | None]:
    """What a child process of *kernel* gets for *names*."""
    program = (
        "import os, sys, json, base64\n"
        "names = json.loads(base64.b64decode(sys.argv[1]))\n"
        "print(base64.b64encode(json.dumps([os.environ.get(n) for n in names]).encode()).decode())"
    )
    arguments = [
        sys.executable,
        "-c",
        f"import base64; exec(base64.b64decode('{base64.b64encode(program.encode()).decode()}'))",
        base64.b64encode(json.dumps(names).encode()).decode(),
    ]
    command = f'{arguments[0]} -c "{arguments[2]}" {arguments[3]}'
    printed = kernel.run(
        {
            "python": f"import subprocess; print(subprocess.run({arguments!r}, "
            "capture_output=True, text=True).stdout)",
            "r": f"cat(system({json.dumps(command)}, intern = TRUE))",
            "bash": command,
        }[kernel.language.name]
    )
    values = json.loads(base64.b64decode(printed.strip()))
    return dict(zip(names, values, strict=True))


@pytest.fixture(params=["python", "r", "bash"])
def kernel(request: pytest.FixtureRequest) -> KernelUnderTest:
    found: KernelUnderTest = request.getfixturevalue(f"{request.param}_kernel")
    return found
