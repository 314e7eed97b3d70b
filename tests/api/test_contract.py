"""The contract says what the server does: every route, every answer, every limit."""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import fields
from datetime import UTC, datetime
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.httputil import HTTPHeaders
from tornado.web import RequestHandler, authenticated

from jupyter_exec_ext.api import reference
from jupyter_exec_ext.api.openapi import VERBS, Route, build_document
from jupyter_exec_ext.api.operations import RETRY_AFTER, Parameter, operation
from jupyter_exec_ext.api.operations import Answer as Described
from jupyter_exec_ext.api.service import UnknownHandler
from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.base import DialectMixin
from jupyter_exec_ext.routes import DIALECTS, ROUTES
from jupyter_exec_ext.store.leases import Instance
from jupyter_exec_ext.store.store import Store
from jupyter_exec_ext.web.handler import ExecHandler
from jupyter_exec_ext.web.rights import authorized
from jupyter_exec_ext.web.urls import pattern_of_base
from tests.api.session_files import BareRequest
from tests.conftest import WAIT_SECONDS, Answer, ExecApi
from tests.contract import Contract

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
GATE = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
NOBODY = "00000000-0000-4000-8000-000000000000"


def rules_of(router: Any) -> Iterator[Any]:
    """Yield what leads to a handler in Tornado's *router*, which is made of routers."""
    for rule in router.rules:
        if hasattr(rule.target, "rules"):
            yield from rules_of(rule.target)
        elif hasattr(rule.matcher, "regex"):
            yield rule


async def test_every_verb_of_every_route_is_described(exec_api: ExecApi, jp_serverapp: Any) -> None:
    """What the server itself routes below ``exec`` is in its document, but for what is another
    service's; nothing else is.
    """
    base = pattern_of_base(jp_serverapp.base_url)
    served = {
        (rule.matcher.regex.pattern.removeprefix(base).removesuffix("$"), verb)
        for rule in rules_of(jp_serverapp.web_app.default_router)
        if rule.matcher.regex.pattern.startswith(f"{base}exec")
        and rule.target is not UnknownHandler
        and not issubclass(rule.target, DialectMixin)
        for verb in VERBS
        if getattr(rule.target, verb) is not getattr(RequestHandler, verb)
    }

    document = (await exec_api.request("GET", "openapi.json")).json

    assert served == {
        (Route(path.removeprefix("/"), ExecHandler).pattern, verb)
        for path, item in document["paths"].items()
        for verb in item
    }


def test_the_document_is_openapi() -> None:
    """It validates as OpenAPI 3.1, operations have names of their own, all has a description."""
    document = json.loads(json.dumps(build_document(ROUTES)))

    OpenAPIV31SpecValidator(document).validate()
    operations = [found for item in document["paths"].values() for found in item.values()]
    names = [found["operationId"] for found in operations]
    assert len(set(names)) == len(names)
    for found in operations:
        assert found["summary"]
        assert all(parameter["description"] for parameter in found["parameters"])
        body = found.get("requestBody", {"content": {}})["content"].get("application/json")
        if body is not None:
            schema = {**body["schema"], "components": document["components"]}
            jsonschema_rs.Draft202012Validator(schema).validate(body["example"])
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for field, shown in schema.get("properties", {}).items():
            assert shown.get("description"), f"{name}.{field}"


def answer_to(method: str, path: str, status: int, body: bytes, **headers: str) -> HTTPResponse:
    """Return what a server that keeps no contract might send."""
    return HTTPResponse(
        HTTPRequest(f"http://localhost/user/{path}", method=method),
        status,
        headers=HTTPHeaders({name.replace("_", "-"): value for name, value in headers.items()}),
        buffer=BytesIO(body),
    )


def test_an_answer_that_is_not_described_does_not_pass(contract: Contract) -> None:
    """The check of all API tests refuses what the document does not say."""
    good = {"version": "1", "features": [], "default_kernel_name": "p", "kernelspecs": []} | {
        "limits": {field.name: field.default for field in fields(Limits)},
        "dialects": sorted(dialect.name for dialect in DIALECTS),
        "time": "2026-01-01T00:00:00Z",
    }
    error = b'{"code": "A", "message": "b", "details": []}'

    def check(method: str, path: str, status: int, body: bytes, **headers: str) -> None:
        contract.check(
            answer_to(method, path, status, body, **{"Content_Type": "application/json"} | headers)
        )

    def check_capabilities(**changes: Any) -> None:
        body = {key: value for key, value in (good | changes).items() if value != ""}
        check("GET", "exec/", 200, json.dumps(body).encode())

    check_capabilities()
    check("GET", "exec/nothing", 404, error)
    check("PUT", "exec/executions", 405, error)
    for changes in ({"more": 1}, {"version": ""}, {"time": "yesterday"}):
        with pytest.raises(jsonschema_rs.ValidationError):
            check_capabilities(**changes)
    for method, path, status, body, headers in (
        ("GET", "exec/", 500, error, {}),
        ("GET", "exec/", 302, b"", {}),
        ("GET", "exec/executions", 404, error, {}),
        ("GET", "exec/executions", 200, b"{}", {"Content_Type": "text/html"}),
        ("GET", "exec/nothing", 200, b"{}", {}),
        ("PUT", "exec/executions", 200, b"{}", {}),
        ("POST", "exec/executions", 429, error, {}),
        ("DELETE", "exec/executions/a", 204, b"x", {}),
        ("HEAD", "exec/nothing", 404, error, {}),
    ):
        with pytest.raises(AssertionError):
            check(method, path, status, body, **headers)


class FileHandler(ExecHandler):
    """A file, as no operation of executions has it."""

    @operation("Look", answers={HTTPStatus.OK: Described(None, (RETRY_AFTER,))})
    @authenticated
    @authorized(action="read", resource="executions")
    async def head(self, session_id: str, path: str) -> None: ...

    @operation(
        "Send",
        parameters=(Parameter(name="mode", description="m", schema={}, required=True),),
        body="application/octet-stream",
        answers={HTTPStatus.NO_CONTENT: None, HTTPStatus.PARTIAL_CONTENT: "image/*"},
    )
    @authenticated
    @authorized(action="write", resource="executions")
    async def put(self, session_id: str, path: str) -> None: ...

    @operation("Send many", body="multipart/form-data", answers={HTTPStatus.CREATED: "text/plain"})
    @authenticated
    @authorized(action="write", resource="executions")
    async def post(self, session_id: str, path: str) -> None: ...


def test_files_can_be_described() -> None:
    """Bodies and answers that are no JSON, no body at all, headers, and paths with slashes."""
    route = Route("exec/sessions/{session_id}/files/{path}", FileHandler)
    found = re.fullmatch(route.pattern, "exec/sessions/a/files/b/c.txt")
    document = build_document([route])

    OpenAPIV31SpecValidator(json.loads(json.dumps(document))).validate()
    assert found is not None
    assert found.groups() == ("a", "b/c.txt")
    shown = document["paths"]["/exec/sessions/{session_id}/files/{path}"]
    assert all("content" not in answer for answer in shown["head"]["responses"].values())
    assert shown["head"]["responses"]["200"]["headers"]["Retry-After"]["required"]
    assert shown["put"]["parameters"][2]["required"]
    assert list(shown["put"]["requestBody"]["content"]) == ["application/octet-stream"]
    assert "content" not in shown["put"]["responses"]["204"]
    assert list(shown["put"]["responses"]["206"]["content"]) == ["image/*"]
    assert list(shown["post"]["requestBody"]["content"]) == ["multipart/form-data"]
    limits = {limit.name: 1 for limit in fields(Limits)}
    text = reference.write_reference(document, url="http://a/", limits=limits)
    assert "curl --head" in text
    assert "--data-binary @FILE" in text
    assert "-F file=@FILE" in text
    assert "| `mode` | query, required |" in text


@pytest.mark.parametrize(
    "exec_config",
    [
        {
            "max_running": 1,
            "max_pending": 1,
            "max_sessions": 1,
            "server_id": "this",
            "max_streams": 1,
            "max_body_bytes": 20_000,
            "max_file_bytes": 20_000,
            "max_files_per_request": 1,
            "max_transfers": 1,
        }
    ],
)
async def test_every_answer_is_as_described(
    exec_api: ExecApi,
    exec_app: ExecApp,
    bare_request: BareRequest,
    keep_final: Any,
    contract: Contract,
) -> None:
    """A tour through all operations and all their statuses; each answer is checked as ever."""
    contract.seen.clear()
    every, one = "/exec/executions", "/exec/executions/{execution_id}"
    sessions, session = "/exec/sessions", "/exec/sessions/{session_id}"
    merged = "/exec/events"

    async def visit(verb: str, path: str, *, key: str = NOBODY, **kwargs: Any) -> Answer:
        parts = re.sub(r"\{\w+\}", key, path).removeprefix("/exec/")
        return await exec_api.request(verb.upper(), parts or "/", **kwargs)

    bodies = {
        f"{one}/input": b'{"value":"x"}',
        session: b"{}",
        f"{session}/complete": b'{"code":""}',
    }
    for path, verb in contract.responses:
        where = re.sub(r"\{\w+\}", NOBODY, path).lstrip("/")
        assert (await bare_request(verb.upper(), where, body="")).status == 403
        assert (await bare_request(verb.upper(), f"{where}?token=%ff", body="")).status == 400
        assert (await visit(verb, path, body="x" * 30_001)).status == 413
        if path.startswith((one, session)):
            assert (await visit(verb, path, body=bodies.get(path, b""))).status == 404
        elif path == merged:
            assert (await visit(verb, path)).status == 422
        elif path not in (every, sessions):
            assert (await visit(verb, path)).status == 200

    exec_api.write_notebook("gate.ipynb", GATE)
    exec_api.write_notebook("bad.ipynb", "print(1)", "x = {'a': 1}; y = object()\n1/0")
    gate = {"notebook": {"path": "gate.ipynb"}}
    assert (await visit("post", every, json={"notebook": {"path": "no.ipynb"}})).status == 404
    assert (await visit("post", every, json={**gate, "kernel_name": "no"})).status == 422
    keyed = {"Idempotency-Key": "k"}
    running = (await visit("post", every, json=gate, headers=dict(keyed))).json["id"]
    other = {**gate, "description": "other"}
    assert (await visit("post", every, json=other, headers=dict(keyed))).status == 409
    with exec_app.following.follow(running):
        for path, params in ((f"{one}/events", {}), (f"{one}/log", {"follow": "true"})):
            assert (await visit("get", path, key=running, params=params)).status == 429
        assert (await visit("get", merged, params={"id": running})).status == 429
    pending = (await visit("post", every, json=gate, params={"view": "basic"})).json["id"]
    assert (await visit("post", every, json=gate)).status == 429
    assert (await visit("delete", one, key=running)).status == 409
    assert (await visit("get", one, key=running)).json["state"] == "running"
    assert (await visit("get", one, key=pending)).json["position"] == 0
    assert (await visit("get", every)).status == 200
    assert (await visit("get", every, params={"page_token": "x"})).status == 422
    await visit("post", f"{one}/cancel", key=pending)
    elsewhere = (await keep_final(state=State.PENDING)).id
    assert (await visit("post", f"{one}/cancel", key=elsewhere)).status == 409
    await visit("delete", one, key=pending, params={"force": "true"})
    (exec_api.root / "go").touch()
    failed = await visit(
        "post",
        every,
        params={"wait": 60},
        json={
            "notebook": {"path": "bad.ipynb", "save_to": "out.ipynb", "cells": [0, "c1"]},
            "inputs": {"A": "1"},
            "labels": {"a": "b"},
            "variable_names": ["x", "y", "z"],
            "timeout_seconds": 60,
        },
    )
    assert (failed.status, failed.json["state"]) == (200, "failed")
    key = failed.json["id"]
    for path in (one, f"{one}/log", f"{one}/events", f"{one}/notebook"):
        assert (await visit("get", path, key=key)).status == 200
    assert (await visit("head", f"{one}/log", key=key)).status == 200
    for span, status in (("bytes=0-0", 206), ("bytes=9-", 416)):
        answer = await visit("get", f"{one}/log", key=key, headers={"Range": span})
        assert answer.status == status
    ndjson = {"Accept": "application/x-ndjson"}
    assert (await visit("get", f"{one}/events", key=key, headers=ndjson)).status == 200
    assert (await visit("get", f"{one}/events", key=key, params={"after": 99})).status == 204
    events = await visit("get", merged, params={"id": key}, headers=ndjson)
    assert events.status == 200
    cursor = json.loads(events.body.splitlines()[-1])["cursor"]
    assert (await visit("get", merged, params={"id": key, "after": cursor})).status == 204
    assert (await visit("get", merged, params={"id": NOBODY})).status == 404
    assert (await visit("post", f"{one}/input", key=key, json={"value": "x"})).status == 409
    assert (await visit("get", one, key=key, params={"view": "basic"})).status == 200
    page = await visit("get", every, params={"page_size": 1})
    assert page.json["next_page_token"]
    assert (await visit("delete", every, params={"state": "succeeded"})).json == {"deleted": 1}
    assert (await visit("delete", one, key=key)).status == 204
    await tour_of_sessions(visit, exec_app, await session_elsewhere(exec_app))
    await tour_of_files(visit, exec_app)
    await exec_app.stop_extension()
    assert (await visit("post", every, json=gate)).status == 503

    described = {
        (path, verb, status)
        for (path, verb), responses in contract.responses.items()
        for status in responses
    }
    # A broken and a full store have tests of their own.
    assert {entry for entry in described - contract.seen if entry[2] not in ("503", "507")} == set()


async def session_elsewhere(exec_app: ExecApp) -> Session:
    """Return a session of another process of the server under test."""
    now = datetime.now(UTC)
    session = Session(
        id=str(uuid.uuid4()),
        name="elsewhere",
        state=SessionState.IDLE,
        kernel_name="python3",
        created_time=now,
        last_activity_time=now,
    )
    store = Store(
        exec_app.db_url, await asyncio.to_thread(Instance.of_this_process, exec_app.server_id)
    )
    await store.sessions.insert(session)
    return session


async def tour_of_sessions(
    visit: Callable[..., Awaitable[Answer]], exec_app: ExecApp, elsewhere: Session
) -> None:
    """Visit the operations on sessions, with all their statuses, but for what all have."""
    sessions, session = "/exec/sessions", "/exec/sessions/{session_id}"
    executions = "/exec/executions"
    assert (await visit("post", sessions, json={"kernel_id": NOBODY})).status == 404
    assert (await visit("post", sessions, json={"kernel_name": "no"})).status == 422
    created = await visit("post", sessions, json={"name": "a", "labels": {"b": "c"}})
    assert created.status == 201
    key = created.json["id"]
    assert (await visit("post", sessions, json={"name": "a"})).status == 200
    assert (await visit("post", sessions, json={"name": elsewhere.name})).status == 409
    assert (await visit("delete", session, key=elsewhere.id)).status == 409
    followed = await visit("get", "/exec/events", params={"session_id": elsewhere.id})
    assert followed.status == 409
    assert (await visit("post", sessions, json={})).status == 429
    assert (await visit("get", sessions)).status == 200
    assert (await visit("get", sessions, params={"page_token": "x"})).status == 422
    asking = await visit("post", executions, json={"code": "input('?')", "session_id": key})
    while (
        "input_request"
        not in (shown := await visit("get", f"{executions}/{asking.json['id']}")).json
    ):
        assert shown.json["state"] in ("pending", "running")
    with exec_app.following.follow(asking.json["id"], user=""):
        answer = await visit("get", f"{session}/log", key=key, params={"follow": "true"})
        assert answer.status == 429
    answered = await visit("post", f"{executions}/{asking.json['id']}/input", json={"value": "x"})
    assert answered.status == 200
    late = "import threading; threading.Timer(0.1, print, ['late']).start()"
    await visit("post", executions, params={"wait": 60}, json={"code": late, "session_id": key})
    async with asyncio.timeout(WAIT_SECONDS):
        while not (await visit("get", f"{session}/log", key=key)).body:
            await asyncio.sleep(0.05)
    for span, status in (("bytes=0-0", 206), ("bytes=9-", 416)):
        answer = await visit("get", f"{session}/log", key=key, headers={"Range": span})
        assert answer.status == status
    command = {"command": {"exec": "true"}, "session_id": key}
    ran = await visit("post", executions, params={"wait": 60}, json=command)
    one = f"{executions}/{ran.json['id']}"
    assert ran.json["result"]["exit_codes"] == {"exec": 0}
    assert (await visit("get", f"{one}/notebook")).status == 409
    died = await visit(
        "post",
        executions,
        params={"wait": 60},
        json={"code": "import os; os._exit(1)", "session_id": key},
    )
    assert died.json["error"]["code"] == "KernelDied"
    for verb, path in (
        ("get", session),
        ("post", f"{session}/interrupt"),
        ("post", f"{session}/restart"),
    ):
        assert (await visit(verb, path, key=key)).status == 200
    settings = {"idle_timeout_seconds": 0.2}
    assert (await visit("put", session, key=key, json={"idle_timeout_seconds": -1})).status == 422
    assert (await visit("put", session, key=key, json={"name": elsewhere.name})).status == 409
    code = {"code": "print", "cursor_pos": 3}
    completed = await visit("post", f"{session}/complete", key=key, json=code)
    assert (completed.status, completed.json["cursor_end"]) == (200, 3)
    code["cursor_pos"] = 6
    assert (await visit("post", f"{session}/complete", key=key, json=code)).status == 422
    assert (await visit("put", session, key=key, json=settings)).status == 200
    async with asyncio.timeout(WAIT_SECONDS):
        while (await visit("get", session, key=key)).json["state"] != "ended":
            await asyncio.sleep(0.05)
    assert (await visit("put", session, key=key, json=settings)).status == 409
    assert (await visit("get", f"{session}/log", key=key)).status == 409
    for action in ("interrupt", "restart", "complete"):
        body = {"json": {"code": ""}} if action == "complete" else {}
        assert (await visit("post", f"{session}/{action}", key=key, **body)).status == 409
    assert (await visit("delete", session, key=key)).status == 204


async def tour_of_files(visit: Callable[..., Awaitable[Answer]], exec_app: ExecApp) -> None:
    """Visit the operations on files, with all their statuses, but for what all have."""
    session = "/exec/sessions/{session_id}"
    key = (await visit("post", "/exec/sessions", json={"kernel_name": "echo"})).json["id"]
    files, archive = f"{session}/files", f"{session}/archive"
    form = {"Content-Type": "multipart/form-data; boundary=b"}

    def of(name: str) -> bytes:
        head = f'--b\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'
        return f"{head}1\r\n--b--\r\n".encode()

    one = f"{files}/a.txt"
    assert (await visit("put", one, key=key, body="1")).status == 201
    assert (await visit("put", one, key=key, body="12")).status == 200
    assert (await visit("post", files, key=key, body=of("b"), headers=dict(form))).status == 201
    assert (await visit("post", files, key=key, body=of("../b"), headers=dict(form))).status == 422
    assert (await visit("post", files, key=key, body=of("b/c"), headers=dict(form))).status == 409
    for path in (files, archive):
        assert (await visit("get", path, key=key)).status == 200
        assert (await visit("get", path, key=key, params={"path": ".."})).status == 422
    assert (await visit("get", files, key=key, params={"path": "b"})).status == 409
    assert (await visit("get", archive, key=key, params={"path": "b/c"})).status == 409
    for verb in ("get", "head", "put", "delete"):
        body = {"body": "1"} if verb == "put" else {}
        for place, headers, status in (
            (f"{files}/.%2e", {}, 422),
            (f"{files}/b/c", {}, 409),
            (one, {"If-Match": '"no"'}, 412),
        ):
            answer = await visit(verb, place, key=key, headers=dict(headers), **body)
            assert answer.status == status, (verb, place)
    current = await visit("get", one, key=key)
    assert (current.status, current.body) == (200, b"12")
    for verb in ("get", "head"):
        known = {"If-None-Match": current.headers["ETag"]}
        assert (await visit(verb, one, key=key, headers=known)).status == 304
    assert (await visit("head", one, key=key)).status == 200
    for span, status in (("bytes=0-0", 206), ("bytes=9-", 416)):
        assert (await visit("get", one, key=key, headers={"Range": span})).status == status
    async with exec_app.files.open(key, "b"):
        for verb, path in (
            *((verb, one) for verb in ("get", "head", "put", "delete")),
            ("post", files),
            ("get", archive),
        ):
            body = {"body": "1"} if verb in ("put", "post") else {}
            assert (await visit(verb, path, key=key, headers=dict(form), **body)).status == 429
    assert (await visit("delete", one, key=key)).status == 204
    assert (await visit("delete", session, key=key)).status == 204


async def test_capabilities_show_all_limits_as_configured(exec_api: ExecApi) -> None:
    """A client can learn each limit of this very server, and what its kernels can do."""
    shown = (await exec_api.request("GET", "/")).json

    assert shown["limits"] == {field.name: field.default for field in fields(Limits)}
    specs = {spec["name"]: spec for spec in shown["kernelspecs"]}
    assert specs["python3"]["reads_variables"] is True
    assert specs["echo"]["reads_variables"] is False
    assert shown["default_kernel_name"] == "python3"


async def test_an_answer_is_never_left_out_for_a_cache(exec_api: ExecApi) -> None:
    """Nothing but files is to be kept, so nothing else answers 304."""
    answer = await exec_api.request("GET", "docs", headers={"If-None-Match": "*"})

    assert answer.status == 200
    assert "Etag" not in answer.headers


async def test_the_document_names_this_server(exec_api: ExecApi) -> None:
    """Its paths are below the base URL, whatever that is."""
    document = (await exec_api.request("GET", "openapi.json")).json

    assert document["servers"] == [{"url": "/user/a%40b"}]


def test_the_reference_is_up_to_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The committed file is what the code says; a stale or missing one is told with the remedy."""
    written = tmp_path / "api.md"

    assert reference.main(["--check", str(written)]) == 1
    assert "is not up to date: python -m" in capsys.readouterr().err
    assert reference.main([str(written)]) == 0
    assert reference.main(["--check", str(written)]) == 0
    assert reference.main(["--check", str(DOCS)]) == 0, "run: make docs"
    text = written.read_text()
    assert all(f"`{field.name}`" in text for field in fields(Limits))
    assert all(f"`{name}`" in text for name in ExecApp.class_own_traits(config=True))
