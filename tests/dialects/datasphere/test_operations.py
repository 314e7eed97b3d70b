"""How each end of an execution is told, and what the options may be."""

import ast
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from traitlets import TraitError

from jupyter_exec_ext.core.errors import (
    ExecError,
    MalformedRequestError,
    ServerStoppingError,
    StoreFullError,
    StoreUnavailableError,
    TooManyError,
)
from jupyter_exec_ext.core.models import Execution, ExecutionError, NotebookSource, Result
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.datasphere.errors import failure_of
from jupyter_exec_ext.dialects.datasphere.operations import VERSION, operation_of
from jupyter_exec_ext.dialects.datasphere.options import DataSphere

DOCS = Path(__file__).parents[3] / "docs" / "dialects" / "datasphere.md"
MOMENT = datetime(2026, 11, 22, 9, 30, 0, 123456, tzinfo=UTC)
FINAL = Execution(
    id="00000000-0000-4000-8000-000000000000",
    type="notebook",
    state=State.SUCCEEDED,
    source=NotebookSource(path="nb.ipynb"),
    session_id="00000000-0000-4000-8000-000000000001",
    kernel_name="python3",
    owner="ada",
    started=True,
    created_time=MOMENT,
)


def told(execution: Execution) -> dict[str, Any]:
    """Return the operation as a client reads it."""
    operation = operation_of(execution, Result(), max_bytes=100)
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(operation))
    return shown


@pytest.mark.parametrize(
    ("code", "started", "ename", "in_v2", "in_v1"),
    [
        ("CodeError", True, "ValueError", "ERROR", 2),
        ("CodeError", True, "KeyboardInterrupt", "ABORTED", 10),
        ("CommandFailed", True, None, "ERROR", 2),
        ("InputNotGiven", True, "EOFError", "ERROR", 2),
        ("KernelDied", True, None, "ABORTED", 10),
        ("KernelRestarted", True, None, "ABORTED", 10),
        ("SessionIdle", False, None, "ABORTED", 10),
        ("SessionLost", False, None, "ABORTED", 10),
        ("ServerStopped", True, None, "ABORTED", 10),
        ("ServerStopped", False, None, 14, 14),
        ("ServerRestarted", False, None, 14, 14),
        ("Timeout", True, None, 4, 4),
        ("KernelStartFailed", False, None, 13, 13),
        ("InternalError", True, None, 13, 13),
    ],
)
def test_each_failure_has_a_status_or_a_code(
    code: str, started: bool, ename: str | None, in_v2: str | int, in_v1: int
) -> None:
    """Exactly one of `response` and `error` is there; v1 has no status, so all are errors."""
    error = ExecutionError(code=code, message="m", ename=ename, evalue=ename and "no")
    failed = replace(FINAL, state=State.FAILED, started=started, error=error)

    second = told(failed)
    first = told(replace(failed, annotations={VERSION: "v1"}))

    if isinstance(in_v2, str):
        assert second["response"]["executionStatus"] == in_v2
        assert "error" not in second
    else:
        assert second["error"] == {"code": in_v2, "message": "m", "details": []}
        assert "response" not in second
    assert first["error"]["code"] == in_v1
    assert "response" not in first
    if in_v1 == 2:
        assert first["error"]["message"] == "m"


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_message_has_what_the_kernel_wrote_before_it_ended(version: str) -> None:
    error = ExecutionError(code="KernelStartFailed", message="m", details=["one", "two"])

    shown = told(replace(FINAL, state=State.FAILED, error=error, annotations={VERSION: version}))

    assert shown["error"] == {"code": 13, "message": "m\none\ntwo", "details": []}


def test_a_version_that_is_none_is_the_newest() -> None:
    """Annotations are written by any client of the native API."""
    shown = told(replace(FINAL, annotations={VERSION: "v9"}))

    assert shown["response"]["@type"].endswith(".v2.ProjectExecutionResponse")
    assert shown["response"]["executionStatus"] == "OK"


@pytest.mark.parametrize("state", list(State))
def test_done_is_always_there(state: State) -> None:
    """True for what is final, and only then with an outcome; moments are to the millisecond."""
    shown = told(replace(FINAL, state=state, start_time=MOMENT.replace(second=1)))

    assert shown["done"] is state.is_final
    assert bool({"error", "response"} & set(shown)) is state.is_final
    assert shown["createdAt"] == "2026-11-22T09:30:00.123Z"
    assert shown["modifiedAt"] == "2026-11-22T09:30:01.123Z"
    assert ("error" in shown) == (state is State.CANCELLED)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (MalformedRequestError("m"), 400, 3),
        (TooManyError("m", retry_after_seconds=1), 429, 8),
        (StoreFullError("m"), 429, 8),
        (StoreUnavailableError("m"), 503, 14),
        (ServerStoppingError("m"), 503, 14),
        (ExecError("m"), 500, 13),
        (MalformedRequestError("lone \ud800", target="\ud800"), 400, 3),
    ],
)
def test_each_refusal_has_a_code(error: ExecError, status: int, code: int) -> None:
    """And a body that can be sent."""
    failure = failure_of(418, error, request_id="r")

    assert (failure.status, failure.body["code"]) == (status, code)
    assert msgspec.json.encode(failure.body)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 3),
        (401, 16),
        (403, 7),
        (404, 5),
        (405, 12),
        (408, 3),
        (413, 3),
        (415, 3),
        (429, 8),
        (500, 13),
        (501, 12),
        (502, 13),
        (503, 14),
    ],
)
def test_what_the_server_refuses_has_a_code_too(status: int, code: int) -> None:
    """What is none of ours is told by its status alone."""
    assert failure_of(status, None, request_id="r").body["code"] == code


@pytest.mark.parametrize(
    "wrong",
    [
        {"specs": {"a": 5}},
        {"specs": {"a": {"kernel": "python3"}}},
        {"specs": {"a": {"kernel_name": 5}}},
        {"specs": {"a": {"env": {"PATH": "/x"}}}},
        {"specs": {"a": {"env": []}}},
        {"spark_connectors": {"a": {"A B": "x"}}},
        {"spark_connectors": {"a": {"A": 5}}},
        {"spark_connectors": {"a": "SPARK_REMOTE"}},
        {"projects": {"a": None}},
        {"projects": {"": ""}},
        {"projects": {"x:y": ""}},
        {"projects": {"x/y": ""}},
        {"projects": {"x" * 51: ""}},
        {"projects": {"a": "../.."}},
        {"projects": {"a": "team/./b"}},
    ],
)
def test_options_that_would_fail_each_request_fail_the_start(wrong: dict[str, Any]) -> None:
    """An operator sees at once what a client would see later."""
    with pytest.raises(TraitError):
        DataSphere(**wrong)


def test_the_docs_have_each_option_with_its_default() -> None:
    """And none that is not there."""
    options = DOCS.read_text().partition("\n## Options\n")[2]
    rows = re.findall(r"^\| `(\w+)` \| `?([^|`]+)`? \|", options, re.MULTILINE)
    traits = DataSphere.class_own_traits(config=True)

    documented = {name: ast.literal_eval(default.strip()) for name, default in rows}

    assert documented == {name: getattr(DataSphere(), name) for name in traits}
