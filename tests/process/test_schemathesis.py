"""The contract as Schemathesis reads it, which sends what nobody thought of.

It talks to a real server, whose only kernel runs nothing: no text made at random reaches a shell.
An operation that is new in the document is tested without a change here; where nothing but certain
values leads further, `USEFUL` has them.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeAlias

import pytest
import requests
import schemathesis
from schemathesis.specs.openapi.checks import ignored_auth

from jupyter_exec_ext.api.openapi import build_document
from jupyter_exec_ext.routes import ROUTES
from tests import echo_kernel
from tests.process.conftest import ServerProcess

Case: TypeAlias = "schemathesis.Case[Any]"
CaseTest: TypeAlias = "Callable[[Case, Calls], None]"

CALLS_OF_ANY_VALUE = 620
CALLS_OF_USEFUL_VALUES = 200
"""With four checks of authentication for each operation, fewer than 1,000 calls for 40 of them."""

NOTEBOOK = "penguins.ipynb"
KNOWN_ID = "KNOWN"
"""Stands for the id of an execution that is there."""

KNOWN_SESSION = "KNOWN-SESSION"
"""The same for a session."""

USEFUL: dict[str, list[Any]] = {
    "If-Match": ["*"],
    "If-None-Match": ['"other"'],
    "If-Range": ['"other"'],
    "Range": ["bytes=0-"],
    "cell_timeout_seconds": [60],
    "cells": [[0], ["c1", 0], {"up_to": 0}],
    "clean": [None, "make clean"],
    "code": ["one", "print(1)"],
    "cursor_pos": [None, 0, 3],
    "environment": [{}, {"COLOUR": "red"}],
    "exec": ["./main", ["./main", "x"], "*"],
    "execution_id": [KNOWN_ID],
    "follow": [True, False],
    "force": [True, False],
    "id": [[KNOWN_ID]],
    "idle_timeout_seconds": [0, 60],
    "inputs": [{}, {"SPECIES": "Adelie", "N": 3, "NONE": None}],
    "kernel_id": [echo_kernel.NAME],
    "kernel_name": [echo_kernel.NAME],
    "labels": [{"team": "a"}],
    "name": ["mine", "yours"],
    "page_token": [""],
    "path": [NOTEBOOK],
    "save_to": ["out/saved.ipynb", "in_place"],
    "session_id": [KNOWN_SESSION],
    "session_name": ["mine"],
    "stdin": [["a"]],
    "timeout_seconds": [60, 0.5],
    "variable_names": [["x"]],
}
"""Values that are good, by the name of the parameter or of the field in a body."""

NOT_TOGETHER = ("cell_timeout_seconds", "kernel_id", "on_busy", "session_id", "session_path")
"""Fields that are refused with most others, and left out where a request is to succeed."""

ACCEPTED = ["2xx", "304", "404", "409", "412", "416", "422", "429"]
"""Answers to what fits the contract; with 422 the server says that it cannot be done even so."""

MERGED_EVENTS = "GET /exec/events"

FOLLOWED_TO_THE_END_OF_THE_SESSION = ("GET /exec/sessions/{session_id}/log",)
"""Operations that with ``follow`` answer as long as the session lives."""

NEEDS_MORE = ("POST /exec/executions/{execution_id}/input", "GET /exec/sessions/{session_id}/log")
"""Operations that need code which asks, or which prints late; the echo kernel does neither."""


def document(*, is_useful: bool) -> dict[str, Any]:
    """Return the contract; with *is_useful*, only `USEFUL` values fit what is called like them."""
    built: dict[str, Any] = json.loads(json.dumps(build_document(ROUTES)))
    for operation in [found for item in built["paths"].values() for found in item.values()]:
        named = [(p["name"], p["schema"]) for p in operation["parameters"]]
        named += fields_in(operation.get("requestBody"), built["components"]["schemas"])
        for name, schema in named if is_useful else ():
            if name in USEFUL:
                schema.clear()
                schema["enum"] = USEFUL[name]
    return built


def fields_in(value: Any, components: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield all fields of objects that *value* describes, by name."""
    if isinstance(value, list):
        for item in value:
            yield from fields_in(item, components)
    elif isinstance(value, dict):
        yield from value.get("properties", {}).items()
        yield from fields_in(list(value.values()), components)
        if "$ref" in value:
            yield from fields_in(components[value["$ref"].rpartition("/")[2]], components)


def cases(*, is_useful: bool) -> Callable[[CaseTest], CaseTest]:
    """Return what makes a test of each operation, with the same requests at every run."""
    config = {
        "generation": {
            "mode": "positive" if is_useful else "all",
            "deterministic": True,
            "database": "none",
            "with-security-parameters": False,
            "allow-extra-parameters": False,
        },
        "checks": {"positive_data_acceptance": {"expected-statuses": ACCEPTED}},
        "operations": [
            {
                # That it needs a filter, whichever, is more than a contract can say.
                "include-name": "DELETE /exec/executions",
                "checks": {"positive_data_acceptance": {"expected-statuses": [*ACCEPTED, "400"]}},
            }
        ],
    }
    schema = schemathesis.openapi.from_dict(
        document(is_useful=is_useful), config=schemathesis.Config.from_dict(config)
    )
    decorate: Callable[[CaseTest], CaseTest] = schema.parametrize()
    return decorate


WEIGHTS = {
    f"{verb.upper()} {path}": 3
    + 2 * len(operation["parameters"])
    + 30 * ("requestBody" in operation)
    for path, item in document(is_useful=False)["paths"].items()
    for verb, operation in item.items()
}
"""Each operation's part of all calls: with a body more can go wrong."""


class Calls(requests.Session):
    """Sends requests to a server, counts them, and has no cookie to be known by."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__()
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._server = server
        self._known_id: str | None = None
        self._known_session: str | None = None
        self._sent: Counter[tuple[str, int]] = Counter()
        self.accepted: Counter[tuple[str, int]] = Counter()

    def check(self, case: Case, total: int) -> None:
        """Send *case* and check the answer, unless its operation had its part of *total*."""
        key = (case.operation.label, total)
        if self._sent[key] >= total * WEIGHTS[case.operation.label] // sum(WEIGHTS.values()):
            return
        self._sent[key] += 1
        self._fill_in(case, is_useful=total == CALLS_OF_USEFUL_VALUES)
        response = case.call_and_validate(
            base_url=self._server.url.rstrip("/"),
            session=self,
            headers={"Authorization": f"token {self._server.token}"},
            # It sends two requests more for each answer, and one answer tells.
            excluded_checks=[ignored_auth] if self.accepted[key] else [],
        )
        if response.status_code < 300:
            self.accepted[key] += 1
            if case.method == "DELETE":
                self._known_id = self._known_session = None

    def _fill_in(self, case: Case, *, is_useful: bool) -> None:
        """Put what is there in the place of what stands for it."""
        for name, value in case.path_parameters.items():
            if value == KNOWN_ID:
                case.path_parameters[name] = self._known_execution()
            if value == KNOWN_SESSION:
                self._known_session = self._known_session or self._new_session()
                case.path_parameters[name] = self._known_session
        if case.operation.label == MERGED_EVENTS and is_useful:
            # A stream of a session lasts as long as that, and no random text is a cursor.
            case.query = {"id": [self._known_execution()]}
            case.headers.clear()
        if case.operation.label in FOLLOWED_TO_THE_END_OF_THE_SESSION and case.query:
            case.query.pop("follow", None)
        if is_useful and isinstance(case.body, dict):
            for name in NOT_TOGETHER:
                case.body.pop(name, None)

    def _known_execution(self) -> str:
        self._known_id = self._known_id or self._server.start(NOTEBOOK)["id"]
        return self._known_id

    def _new_session(self) -> str:
        """Create a session, after the end of all those that nobody asked for."""
        for session in self._server.http.get("sessions").json()["sessions"]:
            self._server.http.delete(f"sessions/{session['id']}")
        answer = self._server.http.post("sessions", json={"name": "known"})
        key = str(answer.json()["id"])
        self._server.http.put(f"sessions/{key}/files/{NOTEBOOK}", content=b"1").raise_for_status()
        return key


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a root of its own, in which no kernel can be started but the echo."""
    home = tmp_path_factory.mktemp("home")
    echo_kernel.install(home / "data")
    server = ServerProcess(
        home,
        home / "root",
        "--KernelSpecManager.ensure_native_kernel=False",
        f"--KernelSpecManager.allowed_kernelspecs={echo_kernel.NAME}",
        f"--MappingKernelManager.default_kernel_name={echo_kernel.NAME}",
        "--ExecApp.max_wait_seconds=0.5",
    )
    server.write_notebook(NOTEBOOK, "one", "two", kernel_name=echo_kernel.NAME)
    yield server
    server.close()
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def calls(server: ServerProcess) -> Calls:
    return Calls(server)


@pytest.fixture(autouse=True)
def something_useful_was_accepted(request: pytest.FixtureRequest, calls: Calls) -> Iterator[None]:
    """Fail where even `USEFUL` values did not lead to an answer with success."""
    yield
    test, _, label = request.node.name.removesuffix("]").partition("[")
    is_useful = test == test_useful_requests_are_answered_as_described.__name__
    if is_useful and label not in NEEDS_MORE:
        assert calls.accepted[label, CALLS_OF_USEFUL_VALUES], "USEFUL lacks a name for it"


def test_only_the_echo_kernel_is_there(server: ServerProcess) -> None:
    """Random text could otherwise become a command."""
    shown = server.http.get("").json()

    assert [spec["name"] for spec in shown["kernelspecs"]] == [echo_kernel.NAME]
    assert shown["default_kernel_name"] == echo_kernel.NAME
    answer = server.http.post(
        "executions", json={"notebook": {"path": NOTEBOOK}, "kernel_name": "python3"}
    )
    assert answer.status_code == 422


@cases(is_useful=False)
def test_no_request_gets_an_answer_outside_the_contract(case: Case, calls: Calls) -> None:
    """Whatever comes: what fits the contract is taken, what does not is refused, none fails."""
    calls.check(case, CALLS_OF_ANY_VALUE)


@cases(is_useful=True)
def test_useful_requests_are_answered_as_described(case: Case, calls: Calls) -> None:
    """Every operation can succeed, and its answer is then as the contract has it."""
    calls.check(case, CALLS_OF_USEFUL_VALUES)
