"""A real Jupyter Server with the extension, in process, and what talks to it as a client does."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import pytest
from jupyter_server.serverapp import ServerApp
from tornado.httpclient import HTTPClientError
from traitlets.config import Config

from jupyter_exec_ext.app import ExecApp
from tests import echo_kernel
from tests.blocking import guarded_loop
from tests.contract import Contract

pytest_plugins = ["pytest_jupyter.jupyter_server"]

FINAL = ("succeeded", "failed", "cancelled")
WAIT_SECONDS = 60


class Answer(NamedTuple):
    """What the server answered."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ExecApi:
    """The native API of the server under test, spoken as a client speaks it.

    Every answer has to be one that the contract describes.
    """

    def __init__(
        self, fetch: Callable[..., Awaitable[Any]], root: Path, contract: Contract
    ) -> None:
        self._fetch = fetch
        self._contract = contract
        self.root = root

    async def request(self, method: str, *parts: str, **kwargs: Any) -> Answer:
        """Send a request below ``exec/``; error answers come back as any other."""
        body = kwargs.pop("json", None)
        if body is not None:
            kwargs["body"] = json.dumps(body)
        try:
            answer = await self._fetch(
                "exec",
                *parts,
                method=method,
                allow_nonstandard_methods=True,
                request_timeout=WAIT_SECONDS,
                **kwargs,
            )
        except HTTPClientError as error:
            if error.response is None:
                raise
            answer = error.response
        self._contract.check(answer)
        return Answer(answer.code, answer.headers, answer.body)

    def write_notebook(self, path: str, *sources: str | dict[str, Any], **metadata: Any) -> str:
        """Write a notebook of code cells below the root; a dict is a cell as it is."""
        cells = []
        for number, source in enumerate(sources):
            cell: dict[str, Any] = {
                "cell_type": "code",
                "id": f"c{number}",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
            }
            cell.update({"source": source} if isinstance(source, str) else source)
            cells.append(cell)
        metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3"})
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
        nbformat.validate(notebook)
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(notebook))
        return path

    async def start(self, path: str, **fields: Any) -> dict[str, Any]:
        """Submit the notebook at *path* and return the accepted record."""
        source = {key: fields.pop(key) for key in ("cells", "save_to") if key in fields}
        answer = await self.request(
            "POST", "executions", json={"notebook": {"path": path, **source}, **fields}
        )
        assert answer.status == 202, answer.body
        record: dict[str, Any] = answer.json
        return record

    async def run(self, path: str, **fields: Any) -> dict[str, Any]:
        """Submit the notebook at *path* and return its final record."""
        return await self.final(await self.start(path, **fields))

    async def start_code(self, code: str, **fields: Any) -> dict[str, Any]:
        """Submit *code* and return the accepted record."""
        answer = await self.request("POST", "executions", json={"code": code, **fields})
        assert answer.status == 202, answer.body
        record: dict[str, Any] = answer.json
        return record

    async def run_code(self, code: str, **fields: Any) -> dict[str, Any]:
        """Submit *code* and return its final record."""
        answer = await self.request(
            "POST", "executions", params={"wait": WAIT_SECONDS}, json={"code": code, **fields}
        )
        assert answer.status == 200, answer.body
        record: dict[str, Any] = answer.json
        return record

    async def new_session(self, **fields: Any) -> dict[str, Any]:
        """Create a session and return its record."""
        answer = await self.request("POST", "sessions", json=fields)
        assert answer.status == 201, answer.body
        record: dict[str, Any] = answer.json
        return record

    async def session(self, session_id: str) -> dict[str, Any]:
        """Return the record of a session as it is now."""
        answer = await self.request("GET", "sessions", session_id)
        assert answer.status == 200, answer.body
        record: dict[str, Any] = answer.json
        return record

    async def until_session(
        self, session_id: str, is_true: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Return the first record of a session for which *is_true* holds."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            record = await self.session(session_id)
            if is_true(record):
                return record
            await asyncio.sleep(0.02)
        raise AssertionError(f"it never came true: {record}")

    async def run_cells(self, *sources: str | dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Write a notebook of these cells, run it, and return its final record."""
        return await self.run(self.write_notebook("nb.ipynb", *sources), **fields)

    async def get(self, execution: dict[str, Any], **params: Any) -> dict[str, Any]:
        """Return the record as it is now."""
        answer = await self.request("GET", "executions", execution["id"], params=params)
        assert answer.status == 200, answer.body
        record: dict[str, Any] = answer.json
        return record

    async def final(self, execution: dict[str, Any]) -> dict[str, Any]:
        """Wait until the execution is final."""
        record = await self.get(execution, wait=WAIT_SECONDS)
        assert record["state"] in FINAL, record["state"]
        return record

    async def until(
        self, execution: dict[str, Any], is_true: Callable[[dict[str, Any]], bool]
    ) -> dict[str, Any]:
        """Return the first record for which *is_true* holds."""
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            record = await self.get(execution)
            if is_true(record):
                return record
            await asyncio.sleep(0.02)
        raise AssertionError(f"it never came true: {record}")

    async def until_printed(self, execution: dict[str, Any], text: str) -> dict[str, Any]:
        """Return the first record whose stdout has *text*."""
        return await self.until(execution, lambda record: text in record["result"]["stdout"])

    async def notebook(self, execution: dict[str, Any]) -> dict[str, Any]:
        """Return the executed notebook."""
        answer = await self.request("GET", "executions", execution["id"], "notebook")
        assert answer.status == 200, answer.body
        notebook: dict[str, Any] = answer.json
        return notebook

    async def log(self, execution: dict[str, Any]) -> str:
        """Return the log."""
        answer = await self.request("GET", "executions", execution["id"], "log")
        assert answer.status == 200, answer.body
        return answer.body.decode()


@pytest.fixture
def jp_base_url() -> str:
    """A hub's base URL for a user called ``a@b``: whoever builds links by hand fails."""
    return "/user/a%40b/"


@pytest.fixture
def exec_config() -> dict[str, Any]:
    """Traits of `ExecApp` for a test; override it by parametrizing."""
    return {}


@pytest.fixture
def jp_server_config(exec_config: dict[str, Any], tmp_path: Path) -> Config:
    return Config(
        {
            "ServerApp": {
                "jpserver_extensions": {
                    "jupyter_exec_ext": True,
                    "jupyter_server_terminals": False,
                },
                "reraise_server_extension_failures": True,
                "allow_unauthenticated_access": False,
            },
            "ExecApp": {
                "db_url": f"sqlite:///{tmp_path / 'store' / 'executions.sqlite'}",
                **exec_config,
            },
        }
    )


@pytest.fixture
def exec_app(jp_serverapp: ServerApp) -> Generator[ExecApp]:
    """The extension in the server under test; a test in which it blocks the event loop fails."""
    (app,) = jp_serverapp.extension_manager.extension_apps["jupyter_exec_ext"]
    assert isinstance(app, ExecApp)
    with guarded_loop():
        yield app


@pytest.fixture(scope="session")
def contract() -> Contract:
    """The contract that every answer is held against."""
    return Contract()


@pytest.fixture
def exec_api(jp_fetch: Any, jp_root_dir: Path, exec_app: ExecApp, contract: Contract) -> ExecApi:
    """A client of the server under test."""
    assert exec_app is not None
    return ExecApi(jp_fetch, jp_root_dir, contract)


@pytest.fixture
def echo_kernel_name(jp_data_dir: Path) -> str:
    """The name of a kernelspec whose kernel starts at once and says the code back."""
    return echo_kernel.install(jp_data_dir)
