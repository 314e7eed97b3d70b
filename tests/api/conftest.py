"""What the tests of the REST layer need besides a server: bare HTTP, and records at no cost."""

import asyncio
import importlib.util
import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.models import Execution, NotebookSource, Result
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.services.notebooks import Snapshot, encode_snapshot
from tests.api.following import FollowingClient
from tests.api.session_files import BareRequest, Files, Raw
from tests.conftest import WAIT_SECONDS, Answer, ExecApi
from tests.contract import Contract

NO_R = "R with IRkernel is not installed: apt-get install r-cran-irkernel"
START = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def bare_request(http_server_client: Any, jp_base_url: str, contract: Contract) -> BareRequest:
    """Send a request to a path below the base URL, which starts with ``exec``."""

    async def send(
        method: str, path: str, *, headers: dict[str, str] | None = None, body: Any = None
    ) -> Answer:
        answer = await http_server_client.fetch(
            jp_base_url + path,
            method=method,
            headers=headers or {},
            body=body,
            raise_error=False,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            request_timeout=WAIT_SECONDS,
        )
        contract.check(answer)
        return Answer(answer.code, answer.headers, answer.body)

    return send


@pytest.fixture
def keep_final(exec_app: ExecApp) -> Callable[..., Awaitable[Execution]]:
    """Put a final record into the store that no kernel ran; the *minute* is when it came."""

    async def keep(minute: int = 0, **fields: Any) -> Execution:
        created = START + timedelta(minutes=minute)
        values: dict[str, Any] = {
            "id": str(uuid.uuid4()),
            "type": "notebook",
            "state": State.PENDING,
            "source": NotebookSource(path=fields.pop("path", "nb.ipynb")),
            "session_id": str(uuid.uuid4()),
            "kernel_name": "python3",
            "created_time": created,
        }
        state = fields.pop("state", State.SUCCEEDED)
        snapshot = Snapshot(notebook={"cells": [], "metadata": {}}, digest="")
        pending = Execution(**(values | fields))
        await exec_app.store.insert(pending, notebook=await encode_snapshot(snapshot))
        if state is State.PENDING:
            return pending
        final = advance(advance(pending, State.RUNNING, at=created), state, at=created)
        final = replace(final, expire_time=created + timedelta(days=7))
        await exec_app.store.finish(final, result=msgspec.json.encode(Result()))
        return final

    return keep


@pytest.fixture
def following(
    exec_api: ExecApi,
    jp_http_port: int,
    jp_base_url: str,
    jp_auth_header: dict[str, str],
    jp_asyncio_loop: asyncio.AbstractEventLoop,
) -> Iterator[FollowingClient]:
    """A client that follows executions of the server under test."""
    assert exec_api is not None
    http = httpx.AsyncClient(
        base_url=f"http://localhost:{jp_http_port}{jp_base_url}exec/",
        headers=jp_auth_header,
        timeout=WAIT_SECONDS,
        limits=httpx.Limits(max_connections=None),
    )
    yield FollowingClient(http)
    jp_asyncio_loop.run_until_complete(http.aclose())


@pytest.fixture
def files(
    exec_api: ExecApi,
    bare_request: BareRequest,
    jp_auth_header: dict[str, str],
    jp_asyncio_loop: asyncio.AbstractEventLoop,
    echo_kernel_name: str,
) -> Files:
    """The files of a new session."""
    new = exec_api.new_session(kernel_name=echo_kernel_name)
    session = jp_asyncio_loop.run_until_complete(new)
    return Files(exec_api, bare_request, jp_auth_header, session)


def install_kernel(data_dir: Path, name: str, argv: list[str], language: str, **env: str) -> None:
    folder = data_dir / "kernels" / name
    folder.mkdir(parents=True)
    model = {"argv": argv, "display_name": name, "language": language, "env": env}
    (folder / "kernel.json").write_text(json.dumps(model))


@pytest.fixture
def ir_kernel(jp_data_dir: Path) -> str:
    """A kernelspec of IRkernel, which sets a name of its own."""
    rscript = shutil.which("Rscript")
    if (
        rscript is None
        or subprocess.run(
            [rscript, "-e", "library(IRkernel)"], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip(NO_R)
    argv = ["R", "--slave", "-e", "IRkernel::main()", "--args", "{connection_file}"]
    # R leaves its temporary files when it is killed.
    install_kernel(jp_data_dir, "test-ir", argv, "R", FIXED="spec", TMPDIR=str(jp_data_dir))
    return "test-ir"


@pytest.fixture
def bash_kernel(jp_data_dir: Path) -> str:
    """A kernelspec of bash_kernel, which sets a name of its own."""
    if importlib.util.find_spec("bash_kernel") is None or shutil.which("bash") is None:
        pytest.skip("bash_kernel is not installed: pip install bash_kernel")
    argv = [sys.executable, "-m", "bash_kernel", "-f", "{connection_file}"]
    install_kernel(jp_data_dir, "test-bash", argv, "bash", PS1="$", FIXED="spec")
    return "test-bash"


@pytest.fixture
def received(exec_app: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The uploads that were let in so far."""
    real = exec_app.files.receive
    uploads: list[Any] = []

    async def receive(*arguments: Any, **options: Any) -> Any:
        uploads.append(arguments)
        return await real(*arguments, **options)

    monkeypatch.setattr(exec_app.files, "receive", receive)
    return uploads


@pytest.fixture
def connect(jp_http_port: int) -> Any:
    """Open connections to the server under test."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Raw]:
        reader, writer = await asyncio.open_connection("127.0.0.1", jp_http_port)
        try:
            yield Raw(reader, writer)
        finally:
            writer.close()

    return opened
