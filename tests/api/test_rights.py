"""Who may do what: every route asks for exactly the rights that it names, and nobody slips by."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from traitlets.config import Config

from jupyter_exec_ext.routes import ROUTES
from tests.api.session_files import BareRequest
from tests.conftest import Answer, ExecApi

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
LONG = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"

READ = ("read", "executions")
WRITE = ("write", "executions")
EXECUTE = ("execute", "executions")
EXECUTE_KERNELS = ("execute", "kernels")
RUN = [EXECUTE, EXECUTE_KERNELS]
RUN_NOTEBOOK = [*RUN, ("read", "contents")]
READ_SESSIONS = ("read", "exec-sessions")
WRITE_SESSIONS = ("write", "exec-sessions")
EXECUTE_SESSIONS = ("execute", "exec-sessions")
READ_FILES = ("read", "exec-files")
WRITE_FILES = ("write", "exec-files")

RIGHTS: dict[tuple[str, str], list[tuple[str, str]]] = {
    ("GET", "exec/"): [READ],
    ("GET", "exec/openapi.json"): [READ],
    ("GET", "exec/docs"): [READ],
    ("GET", "exec/events"): [READ],
    ("GET", "exec/executions"): [READ],
    ("POST", "exec/executions"): RUN,
    ("DELETE", "exec/executions"): [WRITE],
    ("GET", "exec/executions/{execution_id}"): [READ],
    ("DELETE", "exec/executions/{execution_id}"): [WRITE],
    ("POST", "exec/executions/{execution_id}/cancel"): [EXECUTE],
    ("POST", "exec/executions/{execution_id}/input"): [EXECUTE],
    ("GET", "exec/executions/{execution_id}/events"): [READ],
    ("GET", "exec/executions/{execution_id}/log"): [READ],
    ("HEAD", "exec/executions/{execution_id}/log"): [READ],
    ("GET", "exec/executions/{execution_id}/notebook"): [READ],
    ("GET", "exec/sessions"): [READ_SESSIONS],
    ("POST", "exec/sessions"): [WRITE_SESSIONS, EXECUTE_KERNELS],
    ("GET", "exec/sessions/{session_id}"): [READ_SESSIONS],
    ("PUT", "exec/sessions/{session_id}"): [WRITE_SESSIONS],
    ("DELETE", "exec/sessions/{session_id}"): [WRITE_SESSIONS],
    ("GET", "exec/sessions/{session_id}/archive"): [READ_FILES],
    ("POST", "exec/sessions/{session_id}/complete"): [EXECUTE_SESSIONS, EXECUTE_KERNELS],
    ("GET", "exec/sessions/{session_id}/files"): [READ_FILES],
    ("POST", "exec/sessions/{session_id}/files"): [WRITE_FILES],
    ("GET", "exec/sessions/{session_id}/files/{path}"): [READ_FILES],
    ("HEAD", "exec/sessions/{session_id}/files/{path}"): [READ_FILES],
    ("PUT", "exec/sessions/{session_id}/files/{path}"): [WRITE_FILES],
    ("DELETE", "exec/sessions/{session_id}/files/{path}"): [WRITE_FILES],
    ("POST", "exec/sessions/{session_id}/interrupt"): [EXECUTE_SESSIONS, EXECUTE_KERNELS],
    ("GET", "exec/sessions/{session_id}/log"): [READ],
    ("POST", "exec/sessions/{session_id}/restart"): [EXECUTE_SESSIONS, EXECUTE_KERNELS],
}
"""What each operation asks the authorizer, in this order."""

UNKNOWN = (
    "exec/nothing",
    "exec/executions/",
    "exec/executions/a/b/c",
    "exec/executions/a/log/",
    "exec//executions",
    "exec/openapi.json/",
    "exec/%2e%2e/api/contents",
    "exec/EXECUTIONS",
    "exec/executions/a%2Fb/../log",
)


class Recorder(Authorizer):
    """Remembers what it is asked, and allows all but what a test denies."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked: list[tuple[str, str]] = []
        self.denied: set[tuple[str, str]] = set()

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        assert handler.current_user == user
        self.asked.append((action, resource))
        return (action, resource) not in self.denied

    def take(self) -> list[tuple[str, str]]:
        """Return what was asked since the last time."""
        asked, self.asked = self.asked, []
        return asked


@pytest.fixture
def jp_server_config(jp_server_config: Config) -> Config:
    jp_server_config["ServerApp"]["authorizer_class"] = Recorder
    return jp_server_config


@pytest.fixture
def recorder(jp_serverapp: Any) -> Recorder:
    """The authorizer of the server under test."""
    assert isinstance(jp_serverapp.authorizer, Recorder)
    return jp_serverapp.authorizer


def requests() -> Iterator[tuple[str, str]]:
    """Yield every method on every route, and on paths that are no route."""
    for path in (*(route.path for route in ROUTES), *UNKNOWN):
        for method in METHODS:
            yield method, path


def place_of(path: str, key: str) -> str:
    """Return *path* below ``exec/`` with *key* for all that a client fills in."""
    return re.sub(r"\{\w+\}", key, path).removeprefix("exec/") or "/"


def assert_refused(answer: Answer, status: int, code: str) -> None:
    """Assert that *answer* is an error in our shape, which HTML and redirects are not."""
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert "Location" not in answer.headers
    if answer.body:
        assert answer.json["code"] == code


async def test_nobody_gets_anything_without_credentials(
    recorder: Recorder, bare_request: BareRequest, jp_auth_header: dict[str, str]
) -> None:
    """Every method on every path, known or not: 403 in JSON, never HTML, never a redirect."""
    token = jp_auth_header["Authorization"].split()[1]
    wrong: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": ""},
        {"Authorization": "token wrong"},
        {"Authorization": f"token {token}x"},
        {"Authorization": f"Basic {token}"},
        {"Authorization": token},
        {"X-Auth-Token": token},
        {"Cookie": f"token={token}"},
    )

    for number, (method, path) in enumerate(requests()):
        headers = wrong[number % len(wrong)]
        body = None if method in ("GET", "HEAD") else "{}"
        answer = await bare_request(method, path, headers=dict(headers), body=body)
        assert_refused(answer, 403, "Forbidden")
        assert (answer.body == b"") == (method == "HEAD")
    assert recorder.take() == []


async def test_the_token_counts_in_the_header_and_in_the_query(
    bare_request: BareRequest, jp_auth_header: dict[str, str]
) -> None:
    """``token`` and ``Bearer`` in any case, and ``?token=``."""
    token = jp_auth_header["Authorization"].split()[1]

    for scheme in ("token", "Bearer", "bearer", "TOKEN"):
        headers = {"Authorization": f"{scheme} {token}"}
        assert (await bare_request("GET", "exec/executions", headers=headers)).status == 200
    assert (await bare_request("GET", f"exec/executions?token={token}")).status == 200


async def test_each_operation_asks_for_its_own_rights(
    exec_api: ExecApi, recorder: Recorder, keep_final: Any
) -> None:
    """Forwards and backwards, since Jupyter's decorator can keep the rights of an earlier call."""
    described = {
        (verb.upper(), route.path): operation
        for route in ROUTES
        for verb, operation in route.operations.items()
    }
    assert set(described) == set(RIGHTS)
    one = await keep_final()

    for operations in (list(RIGHTS), list(reversed(RIGHTS)), list(RIGHTS)):
        for method, path in operations:
            where = place_of(path, one.id)
            recorder.take()
            body = {"code": "1", "kernel_name": "no"} if path == "exec/executions" else {}
            answer = await exec_api.request(method, where, **({"json": body} if body else {}))
            asked = recorder.take()
            if path.endswith("/cancel"):
                assert asked.pop() == READ  # Only the body of the answer needs this right.
            assert asked == RIGHTS[method, path], (method, path)
            assert answer.status < 500
            if (method, path) == ("DELETE", "exec/executions/{execution_id}"):
                one = await keep_final()
    for key, rights in RIGHTS.items():
        named = [right for right in described[key].rights if "(" not in right]
        assert named == [" ".join(right) for right in rights]


async def test_saving_and_forcing_need_a_right_more(
    exec_api: ExecApi, recorder: Recorder, keep_final: Any
) -> None:
    """``save_to`` writes contents; ``force`` cancels, for which one must be allowed to execute."""
    source = {"path": "missing.ipynb", "save_to": "in_place"}
    one = await keep_final()

    await exec_api.request("POST", "executions", json={"notebook": source})
    assert recorder.take() == [*RUN_NOTEBOOK, ("write", "contents")]
    await exec_api.request("POST", "executions", json={"code": "1", "session_name": ""})
    assert recorder.take() == [*RUN, WRITE_SESSIONS]
    await exec_api.request("DELETE", "executions", one.id, params={"force": "true"})
    assert recorder.take() == [WRITE, EXECUTE]


async def test_each_single_right_is_needed(
    exec_api: ExecApi, recorder: Recorder, keep_final: Any
) -> None:
    """Without any one of its rights an operation is refused, and nothing has happened."""
    exec_api.write_notebook("nb.ipynb", "1")
    one = await keep_final()
    source = {"notebook": {"path": "nb.ipynb", "save_to": "out.ipynb"}}

    for (method, path), rights in RIGHTS.items():
        is_create = (method, path) == ("POST", "exec/executions")
        where = place_of(path, one.id)
        for right in [*RUN_NOTEBOOK, ("write", "contents")] if is_create else rights:
            recorder.denied = {right}
            answer = await exec_api.request(
                method,
                where,
                params={"state": "succeeded"}
                if (method, path) == ("DELETE", "exec/executions")
                else {},
                **({"json": source} if is_create else {}),
            )
            assert_refused(answer, 403, "Forbidden")
    recorder.denied = {EXECUTE}
    answer = await exec_api.request("DELETE", "executions", one.id, params={"force": "true"})
    assert_refused(answer, 403, "Forbidden")
    recorder.denied = set()
    left = (await exec_api.request("GET", "executions")).json["executions"]
    assert [record["id"] for record in left] == [one.id]


async def test_a_viewer_reads_and_can_change_nothing(exec_api: ExecApi, recorder: Recorder) -> None:
    """Whoever may only read sees a running execution, and cannot run, cancel or delete one."""
    exec_api.write_notebook("nb.ipynb", "print('seen')", LONG)
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "seen")
    key = record["id"]
    recorder.denied = {
        (action, resource)
        for action in ("write", "execute")
        for resource in ("executions", "kernels", "contents")
    }

    for where in ("/", "executions", f"executions/{key}", f"executions/{key}/notebook"):
        assert (await exec_api.request("GET", where)).status == 200
    assert await exec_api.log(record) == "seen\n"
    for method, where in (
        ("POST", "executions"),
        ("POST", f"executions/{key}/cancel"),
        ("DELETE", f"executions/{key}"),
        ("DELETE", "executions"),
    ):
        answer = await exec_api.request(
            method,
            where,
            json={"notebook": {"path": "nb.ipynb"}},
            params={"state": "running"} if where == "executions" and method == "DELETE" else {},
        )
        assert_refused(answer, 403, "Forbidden")
    (exec_api.root / "go").touch()
    assert (await exec_api.final(record))["state"] == "succeeded"


async def test_who_may_not_read_sees_the_id_and_the_state_alone(
    exec_api: ExecApi, recorder: Recorder, echo_kernel_name: str
) -> None:
    """Of what is cancelled, of what gets input, and of another user's request that is repeated."""
    new = {"code": "!ask secret?", "kernel_name": echo_kernel_name}
    again = {"json": new, "headers": {"Idempotency-Key": "k"}}
    created = await exec_api.request("POST", "executions", **again)
    assert created.json["source"]["code"] == new["code"]
    await exec_api.until(created.json, lambda record: "input_request" in record)
    asking = f"executions/{created.json['id']}"
    slow = await exec_api.start_code("!sleep 60", kernel_name=echo_kernel_name)
    recorder.denied = {READ}

    repeated = await exec_api.request("POST", "executions", **again)
    waited = await exec_api.request("POST", "executions", params={"wait": 0.01}, **again)
    given = await exec_api.request("POST", f"{asking}/input", json={"value": "secret"})
    cancelled = await exec_api.request(
        "POST", f"executions/{slow['id']}/cancel", params={"wait": 60}
    )
    own = await exec_api.run_code("seen", kernel_name=echo_kernel_name)

    for answer in (repeated, waited, given):
        assert answer.json.keys() == {"id", "state"}
        assert answer.json["id"] == created.json["id"]
    assert cancelled.json == {"id": slow["id"], "state": "cancelled"}
    assert "seen" in own["result"]["stdout"]


async def test_who_may_not_read_cannot_run_after_another_users_execution(
    exec_api: ExecApi, recorder: Recorder, echo_kernel_name: str
) -> None:
    """An id of another user's execution is refused as one that is unknown."""
    body = {"code": "1", "kernel_name": echo_kernel_name}
    other = await exec_api.run_code(**body)
    recorder.denied = {READ}

    refused = await exec_api.request("POST", "executions", json=body | {"after": other["id"]})
    unknown = await exec_api.request("POST", "executions", json=body | {"after": "unknown"})

    assert_refused(refused, 422, "InvalidArgument")
    assert refused.body == unknown.body
    assert refused.json["target"] == "after"


async def test_a_page_of_another_origin_can_do_nothing_with_the_users_cookie(
    bare_request: BareRequest, jp_auth_header: dict[str, str]
) -> None:
    """With a cookie instead of a token a change needs the XSRF header and our own origin."""
    token = jp_auth_header["Authorization"].split()[1]
    login = await bare_request("GET", f"exec/executions?token={token}")
    cookie = "; ".join(item.split(";")[0] for item in login.headers.get_list("Set-Cookie"))
    xsrf = "0a0b0c0d"
    ours = {"Cookie": f"{cookie}; _xsrf={xsrf}"}
    body = json.dumps({"notebook": {"path": "missing.ipynb"}})

    async def send(method: str, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await bare_request(method, "exec/executions", headers={**ours, **named}, body=body)

    assert_refused(await send("POST", X_XSRFToken=xsrf), 404, "NotebookNotFound")
    assert_refused(await send("POST"), 403, "Forbidden")
    assert_refused(await send("POST", X_XSRFToken="0a0b0c0e"), 403, "Forbidden")
    assert_refused(await send("DELETE"), 403, "Forbidden")
    foreign = {"X_XSRFToken": xsrf, "Origin": "https://evil.example"}
    for method in ("POST", "DELETE", "GET"):
        answer = await send(method, **foreign)
        assert_refused(answer, 403, "Forbidden")
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert_refused(await send("GET", Host="evil.example"), 403, "Forbidden")


async def test_a_token_works_from_any_origin(exec_api: ExecApi) -> None:
    """A program that has the token is no browser that was led astray."""
    answer = await exec_api.request(
        "POST",
        "executions",
        json={"notebook": {"path": "missing.ipynb"}},
        headers={"Origin": "https://elsewhere.example"},
    )

    assert_refused(answer, 404, "NotebookNotFound")


async def test_what_does_not_exist_says_so_in_json(
    exec_api: ExecApi, bare_request: BareRequest, jp_auth_header: dict[str, str]
) -> None:
    """Unknown paths answer 404; methods that a path lacks 405 with those that it has."""
    verbs = {path: {verb for verb, known in RIGHTS if known == path} for _, path in RIGHTS}

    for method, path in requests():
        if method in verbs.get(path, ()):
            continue
        where = re.sub(r"\{\w+\}", "a", path)
        body = None if method in ("GET", "HEAD") else "{}"
        answer = await bare_request(method, where, headers=dict(jp_auth_header), body=body)
        if path in verbs:
            assert_refused(answer, 405, "MethodNotAllowed")
            allowed = set(re.split(r",\s*", answer.headers["Allow"]))
            assert allowed == {*verbs[path], "OPTIONS"}
        else:
            assert_refused(answer, 404, "NotFound")
    answer = await bare_request("BREW", "exec/executions", headers=dict(jp_auth_header), body="")
    assert_refused(answer, 405, "MethodNotAllowed")


async def test_options_tell_nothing_but_what_a_browser_needs(bare_request: BareRequest) -> None:
    """A browser asks before it has credentials; the answer has no body, and changes nothing."""
    for route in ROUTES:
        where = re.sub(r"\{\w+\}", "a", route.path)
        answer = await bare_request("OPTIONS", where, headers={"Origin": "https://evil.example"})
        assert (answer.status, answer.body) == (200, b"")
        assert "Access-Control-Allow-Origin" not in answer.headers
    assert_refused(await bare_request("OPTIONS", "exec/nothing"), 403, "Forbidden")


async def test_browsers_cannot_take_answers_for_pages(exec_api: ExecApi) -> None:
    """Outputs are what users' code made: no sniffing, a sandbox, no cache, notebooks attached."""
    record = await exec_api.run_cells("print('<script>alert(1)</script>')")
    one = f"executions/{record['id']}"

    answers = {
        where: await exec_api.request("GET", where)
        for where in (
            "/",
            "executions",
            one,
            f"{one}/log",
            f"{one}/events",
            f"{one}/notebook",
            "no",
            "executions/x",
        )
    }

    for where, answer in answers.items():
        assert answer.headers["X-Content-Type-Options"] == "nosniff", where
        assert answer.headers["Cache-Control"] == "no-store", where
        policy = answer.headers["Content-Security-Policy"]
        assert {"sandbox", "default-src 'none'"} <= set(re.split(r";\s*", policy)), where
        assert "html" not in answer.headers["Content-Type"]
    disposition = answers[f"{one}/notebook"].headers["Content-Disposition"]
    assert disposition == f'attachment; filename="{record["id"]}.ipynb"'
    assert answers[f"{one}/log"].headers["Content-Type"] == "text/plain; charset=utf-8"
