"""Who may do what, what never shows, and what nobody can break."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPClientError
from traitlets.config import Config

from jupyter_exec_ext.dialects.backendai import BACKENDAI
from jupyter_exec_ext.dialects.backendai.options import BackendAI
from jupyter_exec_ext.dialects.backendai.service import VersionHandler
from tests.api.test_rights import (
    EXECUTE,
    EXECUTE_KERNELS,
    EXECUTE_SESSIONS,
    READ,
    READ_FILES,
    READ_SESSIONS,
    WRITE_FILES,
    WRITE_SESSIONS,
    Recorder,
)
from tests.conftest import Answer, ExecApi
from tests.dialects.backendai.conftest import BackendClient, text_of
from tests.dialects.backendai.test_transfers import FORM, form_of
from tests.echo_kernel import NAME as ECHO

DOCS = Path(__file__).parents[3] / "docs" / "dialects" / "backendai.md"

RUN = [EXECUTE, EXECUTE_KERNELS]
ON_KERNEL = [EXECUTE_SESSIONS, EXECUTE_KERNELS]
KEY = "/session/demo-01"
NO_RUN = {"mode": "continue", "code": "", "runId": "none"}

CALLS: list[tuple[str, str, Any, list[tuple[str, str]]]] = [
    ("POST", "/session", {"name": "demo-01", "image": ECHO}, [WRITE_SESSIONS, EXECUTE_KERNELS]),
    ("GET", KEY, None, [READ_SESSIONS]),
    ("POST", KEY, {"mode": "query", "code": "1"}, RUN),
    ("POST", KEY, {"mode": "batch", "options": {}}, RUN),
    ("POST", KEY, NO_RUN, [*RUN, READ]),
    ("POST", KEY, {**NO_RUN, "mode": "input"}, [*RUN, READ]),
    ("POST", KEY, {"mode": "complete", "code": "1"}, [*RUN, EXECUTE_SESSIONS]),
    ("POST", f"{KEY}/interrupt", None, ON_KERNEL),
    ("POST", f"{KEY}/complete", {"code": "1"}, ON_KERNEL),
    ("GET", f"{KEY}/logs", None, [READ]),
    ("POST", f"{KEY}/rename?name=demo-01", None, [WRITE_SESSIONS]),
    ("GET", f"{KEY}/status-history", None, [READ_SESSIONS]),
    ("POST", f"{KEY}/upload", form_of(("a", b"1")), [WRITE_FILES, WRITE_FILES]),
    ("GET", f"{KEY}/files", None, [READ_FILES]),
    ("GET", f"{KEY}/download?files=a", None, [READ_FILES]),
    ("POST", f"{KEY}/download?files=a", None, [READ_FILES]),
    ("GET", f"{KEY}/download_single?file=a", None, [READ_FILES]),
    ("POST", f"{KEY}/download_single?file=a", None, [READ_FILES]),
    ("GET", "/session/_/match?id=demo", None, [READ_SESSIONS]),
    ("GET", "/stream/session/demo-01/execute", None, RUN),
    ("GET", "/manager/announcement", None, [READ]),
    ("PATCH", KEY, None, ON_KERNEL),
    ("DELETE", KEY, None, [WRITE_SESSIONS]),
]
"""Each call, with what the authorizer is asked."""


@pytest.fixture
def jp_server_config(jp_server_config: Config) -> Config:
    jp_server_config["ServerApp"]["authorizer_class"] = Recorder
    return jp_server_config


@pytest.fixture
def recorder(jp_serverapp: Any) -> Recorder:
    assert isinstance(jp_serverapp.authorizer, Recorder)
    return jp_serverapp.authorizer


async def call(client: BackendClient, method: str, path: str, body: Any) -> Answer:
    headers = dict(FORM) if path.endswith("/upload") else None
    return await client.request(method, path, body, headers=headers)


@pytest.mark.usefixtures("echo_kernel_name")
async def test_each_call_asks_for_the_rights_of_what_it_does(
    client: BackendClient, recorder: Recorder
) -> None:
    """No more and no less, in this order; the version alone is for everybody."""
    for method, path, body, rights in CALLS:
        recorder.take()
        answer = await call(client, method, path, body)
        assert recorder.take() == rights, (method, path)
        assert answer.status < 500, answer.body
    await client.send("GET", "backendai/")
    assert recorder.take() == []


@pytest.mark.usefixtures("echo_kernel_name")
async def test_each_single_right_is_needed(
    client: BackendClient, recorder: Recorder, exec_api: ExecApi
) -> None:
    """Without any of them the call is refused as the service does, and nothing has happened."""
    await client.create(image=ECHO)
    (session,) = (await exec_api.request("GET", "sessions")).json["sessions"]

    for method, path, body, rights in CALLS:
        for right in set(rights):
            recorder.denied = {right}
            answer = await call(client, method, path, body)
            assert answer.status == 403, (method, path, right)
            assert answer.json["type"].endswith("/generic-forbidden")
    recorder.denied = {EXECUTE}
    with pytest.raises(HTTPClientError) as refused:
        await client.stream("demo-01")
    assert refused.value.code == 403
    recorder.denied = set()
    (left,) = (await exec_api.request("GET", "sessions")).json["sessions"]
    assert (left["id"], left["name"]) == (session["id"], "demo-01")
    assert (await exec_api.request("GET", "executions")).json["executions"] == []
    assert list((exec_api.root / session["path"]).iterdir()) == []


@pytest.mark.usefixtures("echo_kernel_name")
async def test_another_users_run_is_shown_only_to_who_may_read(
    client: BackendClient, recorder: Recorder
) -> None:
    """A request with the id and the code of that run finds it."""
    await client.create(image=ECHO)
    run = {"mode": "query", "code": "!sleep 60", "runId": "run-1"}
    first = await client.request("POST", KEY, run)
    assert "sleep" in text_of([first.json["result"]])

    recorder.denied = {READ}
    refused = await client.request("POST", KEY, run)
    recorder.denied = set()
    shown = await client.request("POST", KEY, run)

    assert refused.status == 403
    assert shown.status == 200


async def test_every_route_has_a_verb_that_asks() -> None:
    """Except what is the same for all; and `CALLS` has each verb of each route."""
    called = {(method, f"backendai{path.partition('?')[0]}") for method, path, _, _ in CALLS}
    for pattern, handler in BACKENDAI.routes:
        for method in handler.SUPPORTED_METHODS:
            verb = getattr(handler, method.lower())
            if not verb.__module__.startswith("jupyter_exec_ext.dialects"):
                continue
            if handler is not VersionHandler:
                assert hasattr(verb, "right"), (handler, method)
            is_called = any(method == one and re.fullmatch(pattern, path) for one, path in called)
            assert is_called or handler is VersionHandler, (handler, method)


def test_every_option_is_in_the_docs() -> None:
    """With its default."""
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|`]+?) \|", DOCS.read_text(), re.MULTILINE))
    options = BackendAI()

    named = {name: str(getattr(options, name)) for name in options.traits(config=True)}
    assert rows == {name: value.removesuffix(".0") for name, value in named.items()}


@pytest.mark.usefixtures("echo_kernel_name")
async def test_an_upload_without_a_right_signature_keeps_nothing(
    client: BackendClient, exec_api: ExecApi, jp_serverapp: Any
) -> None:
    """Also where Jupyter lets unknown callers go on; the answer comes once."""
    await client.create(image=ECHO)
    jp_serverapp.web_app.settings["allow_unauthenticated_access"] = True
    (session,) = (await exec_api.request("GET", "sessions")).json["sessions"]
    wrong = client.headers("POST", f"{KEY}/upload", "multipart/form-data", secret="wrong")

    for headers in ({}, {**wrong, "Host": client.host}):
        answer = await client.send(
            "POST", f"backendai{KEY}/upload", {**headers, **FORM}, form_of(("a", b"1" * 100_000))
        )
        assert answer.status == 401
        assert answer.json["type"].endswith("/auth-failed")
    assert list((exec_api.root / session["path"]).iterdir()) == []


@pytest.mark.usefixtures("echo_kernel_name")
async def test_nothing_secret_is_logged(
    client: BackendClient, caplog: pytest.LogCaptureFixture, jp_serverapp: Any
) -> None:
    """Neither a token nor a signature, code, input, output or the content of a file."""
    jp_serverapp.log.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    seen = len(caplog.text)
    signature = client.headers("GET", KEY, "text/plain")["Authorization"].rpartition(":")[2]

    await client.create(image=ECHO, config={"environ": {"S": "hushed-value"}})
    await client.run("query", "hushed-code")
    results = await client.run("query", "!ask hushed-prompt", inputs=("hushed-input",))
    assert "hushed-input" in text_of(results)
    await client.request("POST", f"{KEY}/complete", {"code": "hushed-code"})
    await call(client, "POST", f"{KEY}/upload", form_of(("a", b"hushed-file")))
    await client.request("POST", KEY, b'{"mode": "hushed-mode"')
    wrong = client.headers("GET", KEY, "text/plain", secret="hushed-wrong")
    await client.send("GET", f"backendai{KEY}", {**wrong, "Host": client.host})

    told = caplog.text[seen:]
    assert "backendai" in told
    for text in ("hushed", client.token, signature, "signMethod"):
        assert text not in told


HOSTILE: list[Any] = [
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"mode": ' * 20_000,
    b'{"mode": "query", "code": "\\ud800"}',
    b"null",
    b"1e999",
    b'"x"',
    {"mode": ["query"]},
    {"mode": "query", "code": {"a": 1}},
    {"mode": "query", "code": "1", "runId": 5},
    {"mode": "query", "code": "1", "runId": "\n"},
    {"mode": "batch", "options": {"clean": 1, "build": {}, "exec": []}},
    {"mode": "batch", "options": {"exec": "\0"}},
    {"mode": "complete", "code": "x", "options": {"post": 1}},
    {"name": "demo-01", "image": 5},
    {"name": ["demo-01"], "image": ECHO},
    {"name": "ä" * 10, "image": ECHO},
    {"name": "demo-09", "image": ECHO, "config": {"environ": {"A": 1}}},
    {"name": "demo-09", "image": ECHO, "config": {"environ": {"A=B": "1"}}},
    {"name": "demo-09", "image": ECHO, "config": []},
    {"files": [None]},
    {"files": "\ud800"},
    {"file": {"a": 1}},
    {"path": 5},
    {"path": ["a", 1]},
    {"path": "a" * 10_000},
    {"path": "\0"},
    {"id": {}},
]


@pytest.mark.usefixtures("echo_kernel_name")
async def test_nothing_that_comes_is_a_fault_of_the_server(client: BackendClient) -> None:
    """Whatever is sent wherever: an answer in the service's own terms, and never 5xx."""
    await client.create(image=ECHO)
    paths = sorted({(method, path) for method, path, _, _ in CALLS if "interrupt" not in path})

    for number, body in enumerate(HOSTILE):
        for method, path in paths:
            if method in ("DELETE", "PATCH"):
                continue
            answer = await client.request(method, path, body)
            assert answer.status < 500, (method, path, number, answer.body)
            if answer.status >= 400:
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert json.loads(answer.body)["type"].startswith("https://api.backend.ai/probs/")
    for path in (
        "/session/%00",
        "/session/%ff",
        f"/session/{'x' * 5000}",
        "/session/..%2F..",
        "//",
    ):
        answer = await client.request("GET", path)
        assert 400 <= answer.status < 500, path
    for header in ("BackendAI", "BackendAI \xff", "sorna x", "BackendAI " + "x" * 10_000):
        answer = await client.send("GET", f"backendai{KEY}", {"Authorization": header})
        assert answer.status == 400
    assert (await client.send("OPTIONS", f"backendai{KEY}")).status == 200
