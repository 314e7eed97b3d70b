"""The contract says what the server does: every route, every answer, every limit."""

import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import OpenAPIV31SpecValidator
from tornado.web import RequestHandler

from jupyter_exec_ext.api import reference
from jupyter_exec_ext.api.openapi import VERBS, build_document
from jupyter_exec_ext.api.service import UnknownHandler
from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.routes import ROUTES, Services, handlers
from tests.api.conftest import BareRequest
from tests.conftest import Answer, ExecApi

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
GATE = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
NOBODY = "00000000-0000-4000-8000-000000000000"


class Contract:
    """The server's own document, which says no more and no less than the server sends.

    What the schemas of answers do not name is refused here, so that a new field has to be
    described.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = copy.deepcopy(document)
        for schema in self.document["components"]["schemas"].values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        self.seen: set[tuple[str, str, str]] = set()

    @property
    def operations(self) -> dict[tuple[str, str], Any]:
        """All operations, by path and verb."""
        return {
            (path, verb): operation
            for path, item in self.document["paths"].items()
            for verb, operation in item.items()
        }

    def check(self, verb: str, path: str, answer: Answer) -> Answer:
        """Return *answer* if it is one that the document describes."""
        responses = self.operations[path, verb]["responses"]
        assert str(answer.status) in responses, f"{verb} {path}: {answer.status} {answer.body!r}"
        described = responses[str(answer.status)]
        self.seen.add((path, verb, str(answer.status)))
        assert set(described.get("headers", ())) <= set(answer.headers)
        content = described.get("content", {})
        if not content:
            assert answer.body == b""
            return answer
        media_type = answer.headers["Content-Type"].split(";")[0]
        body = content[media_type]
        if media_type == "application/json":
            schema = {**body["schema"], "components": self.document["components"]}
            Draft202012Validator(schema, format_checker=FormatChecker()).validate(answer.json)
        return answer


def test_every_verb_of_every_route_is_described() -> None:
    """What a handler implements is in the document; nothing else is."""
    implemented = {
        (f"/{route.path}", verb)
        for route in ROUTES
        for verb in VERBS
        if getattr(route.handler, verb) is not getattr(RequestHandler, verb)
    }
    document = build_document(ROUTES)

    assert implemented == {
        (path, verb) for path, item in document["paths"].items() for verb in item
    }
    services = Services(executions=None, following=None, limits=Limits())  # type: ignore[arg-type]
    table = handlers(services)
    assert [row[1] for row in table] == [*(route.handler for route in ROUTES), UnknownHandler]


def test_the_document_is_openapi() -> None:
    """It validates as OpenAPI 3.1, operations have names of their own, all has a description."""
    document = json.loads(json.dumps(build_document(ROUTES)))

    OpenAPIV31SpecValidator(document).validate()
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert operation["summary"]
        assert all(parameter["description"] for parameter in operation["parameters"])
    for name, schema in document["components"]["schemas"].items():
        assert schema["description"], name
        for field, shown in schema.get("properties", {}).items():
            assert shown.get("description"), f"{name}.{field}"


def test_an_answer_that_is_not_described_does_not_pass() -> None:
    """The check of this module refuses an unknown field, a missing one and a wrong format."""
    contract = Contract(build_document(ROUTES))
    good = {"version": "1", "features": [], "default_kernel_name": "p", "kernelspecs": []} | {
        "limits": {field.name: field.default for field in fields(Limits)},
        "dialects": [],
        "time": "2026-01-01T00:00:00Z",
    }

    def check(**changes: Any) -> None:
        body = json.dumps({key: value for key, value in (good | changes).items() if value != ""})
        headers = {"Content-Type": "application/json"}
        contract.check("get", "/exec/", Answer(200, headers, body.encode()))

    check()
    for changes in ({"more": 1}, {"version": ""}, {"time": "yesterday"}):
        with pytest.raises(Exception, match=r"validating|is not"):
            check(**changes)


@pytest.mark.parametrize(
    "exec_config",
    [{"max_sessions": 1, "max_pending": 1, "max_streams": 1, "max_body_bytes": 20_000}],
)
async def test_every_answer_is_as_described(
    exec_api: ExecApi, exec_app: ExecApp, bare_request: BareRequest, keep_final: Any
) -> None:
    """A tour through all operations and all their statuses; each answer fits its schema."""
    contract = Contract((await exec_api.request("GET", "openapi.json")).json)
    every, one = "/exec/executions", "/exec/executions/{execution_id}"

    async def visit(verb: str, path: str, *, key: str = NOBODY, **kwargs: Any) -> Answer:
        parts = path.replace("{execution_id}", key).removeprefix("/exec/")
        answer = await exec_api.request(verb.upper(), parts or "/", **kwargs)
        return contract.check(verb, path, answer)

    for path, verb in contract.operations:
        where = path.replace("{execution_id}", NOBODY).lstrip("/")
        contract.check(verb, path, await bare_request(verb.upper(), where, body=""))
        contract.check(verb, path, await bare_request(verb.upper(), f"{where}?token=%ff", body=""))
        if path.startswith(one):
            assert (await visit(verb, path, body="")).status == 404
        elif path != every:
            assert (await visit(verb, path)).status == 200

    exec_api.write_notebook("gate.ipynb", GATE)
    exec_api.write_notebook("bad.ipynb", "print(1)", "x = {'a': 1}; y = object()\n1/0")
    gate = {"notebook": {"path": "gate.ipynb"}}
    assert (await visit("post", every, json={"notebook": {"path": "no.ipynb"}})).status == 404
    assert (await visit("post", every, json={**gate, "kernel_name": "no"})).status == 422
    assert (await visit("post", every, body="x" * 20_001)).status == 413
    keyed = {"Idempotency-Key": "k"}
    running = (await visit("post", every, json=gate, headers=dict(keyed))).json["id"]
    other = {**gate, "description": "other"}
    assert (await visit("post", every, json=other, headers=dict(keyed))).status == 409
    with exec_app.following.follow(running):
        for path, params in ((f"{one}/events", {}), (f"{one}/log", {"follow": "true"})):
            assert (await visit("get", path, key=running, params=params)).status == 429
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
    for header, status in (("bytes=0-0", 206), ("bytes=9-", 416)):
        answer = await visit("get", f"{one}/log", key=key, headers={"Range": header})
        assert answer.status == status
    ndjson = {"Accept": "application/x-ndjson"}
    assert (await visit("get", f"{one}/events", key=key, headers=ndjson)).status == 200
    assert (await visit("get", f"{one}/events", key=key, params={"after": 99})).status == 204
    assert (await visit("get", one, key=key, params={"view": "basic"})).status == 200
    page = await visit("get", every, params={"page_size": 1})
    assert page.json["next_page_token"]
    assert (await visit("delete", every, params={"state": "succeeded"})).json == {"deleted": 1}
    assert (await visit("delete", one, key=key)).status == 204
    await exec_app.stop_extension()
    assert (await visit("post", every, json=gate)).status == 503

    described = {
        (path, verb, status)
        for (path, verb), operation in contract.operations.items()
        for status in operation["responses"]
    }
    # A broken and a full store have tests of their own.
    assert {entry for entry in described - contract.seen if entry[2] not in ("503", "507")} == set()


async def test_capabilities_show_all_limits_as_configured(exec_api: ExecApi) -> None:
    """A client can learn each limit of this very server, and what its kernels can do."""
    shown = (await exec_api.request("GET", "/")).json

    assert shown["limits"] == {field.name: field.default for field in fields(Limits)}
    specs = {spec["name"]: spec for spec in shown["kernelspecs"]}
    assert specs["python3"]["reads_variables"] is True
    assert specs["echo"]["reads_variables"] is False
    assert shown["default_kernel_name"] == "python3"


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
