"""Who may do what through Qinling's door, and that credentials stay unknown."""

import json
from typing import Any

import pytest
from jupyter_server.auth import Authorizer
from traitlets.config import Config

from jupyter_exec_ext.dialects.qinling.wire import function_id_of, runtime_id_of
from tests.conftest import Answer
from tests.dialects.conftest import Call
from tests.dialects.qinling.conftest import Qinling, form_of, notebook_text, package_of

READ = ("read", "executions")
WRITE = ("write", "executions")
EXECUTE = ("execute", "executions")
KERNELS = ("execute", "kernels")
READ_CONTENTS = ("read", "contents")
WRITE_CONTENTS = ("write", "contents")
ADMIN = ("write", "kernels")

FUNCTION = f"functions/{function_id_of('nb.ipynb')}"
RUNTIME = f"runtimes/{runtime_id_of('python3')}"

RIGHTS: dict[tuple[str, str], set[tuple[str, str]]] = {
    ("GET", "executions"): {READ},
    ("POST", "executions"): {EXECUTE, KERNELS, READ_CONTENTS},
    ("DELETE", "executions"): {WRITE},
    ("GET", "executions/{one}"): {READ},
    ("GET", "executions/{one}/log"): {READ},
    ("DELETE", "executions/{one}"): {WRITE},
    ("GET", "functions"): {READ_CONTENTS, READ},
    ("POST", "functions"): {WRITE_CONTENTS, READ},
    ("GET", FUNCTION): {READ_CONTENTS, READ},
    ("GET", f"{FUNCTION}?download=true"): {READ_CONTENTS},
    ("PUT", FUNCTION): {WRITE_CONTENTS, READ_CONTENTS, READ},
    ("DELETE", FUNCTION): {WRITE_CONTENTS},
    ("GET", f"{FUNCTION}/versions"): {READ_CONTENTS},
    ("POST", f"{FUNCTION}/versions"): {WRITE_CONTENTS},
    ("GET", f"{FUNCTION}/versions/1"): {READ_CONTENTS},
    ("DELETE", f"{FUNCTION}/versions/1"): {WRITE_CONTENTS},
    ("GET", "aliases"): {READ_CONTENTS},
    ("POST", "aliases"): {WRITE_CONTENTS, READ_CONTENTS},
    ("GET", "aliases/a"): {READ_CONTENTS},
    ("PUT", "aliases/a"): {WRITE_CONTENTS, READ_CONTENTS},
    ("DELETE", "aliases/a"): {WRITE_CONTENTS},
    ("GET", "runtimes"): {READ},
    ("POST", "runtimes"): {ADMIN},
    ("GET", RUNTIME): {READ},
    ("PUT", RUNTIME): {ADMIN},
    ("DELETE", RUNTIME): {ADMIN},
    ("GET", ""): {READ},
}
"""What each verb asks the authorizer."""

REFUSED = ("jobs", "webhooks/a/invoke", f"{FUNCTION}/scale_up", f"{RUNTIME}/pool", "nothing")


class Recorder(Authorizer):
    """Remembers what it is asked, and allows all but what a test denies."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked: set[tuple[str, str]] = set()
        self.denied: set[tuple[str, str]] = set()
        self.headers: set[str] = set()

    def is_authorized(self, handler: Any, user: Any, action: str, resource: str) -> bool:
        assert handler.current_user == user
        self.asked.add((action, resource))
        self.headers |= {name.lower() for name in handler.request.headers}
        return (action, resource) not in self.denied


@pytest.fixture
def jp_server_config(jp_server_config: Config) -> Config:
    jp_server_config["ServerApp"]["authorizer_class"] = Recorder
    return jp_server_config


@pytest.fixture
def recorder(jp_serverapp: Any) -> Recorder:
    assert isinstance(jp_serverapp.authorizer, Recorder)
    return jp_serverapp.authorizer


async def send_one(qinling: Qinling, method: str, path: str, one: str) -> Answer:
    """Send a request that succeeds, or would if there were such a thing."""
    body: Any = None
    headers = {}
    if path.startswith("functions") and method in ("POST", "PUT"):
        package = package_of(nb__ipynb=notebook_text("1"))
        body, content_type = form_of(package, name="new.ipynb", code='{"source":"package"}')
        headers = {"Content_Type": content_type}
    elif method in ("POST", "PUT"):
        body = {"function_id": "none.ipynb"}
    return await qinling.request(method, path.replace("{one}", one), body, **headers)


async def test_each_verb_asks_for_its_rights(
    qinling: Qinling, recorder: Recorder, keep_final: Any
) -> None:
    """And without any one of them does nothing; the notebook and the record are still there."""
    qinling.api.write_notebook("nb.ipynb", "1")
    one = await keep_final()

    for (method, path), rights in RIGHTS.items():
        for right in rights:
            recorder.denied = {right}
            answer = await send_one(qinling, method, path, one.id)
            assert answer.status == 403, (method, path, right)
            assert answer.json["faultstring"] == "Operation not allowed"
    recorder.denied = set()
    assert [found.name for found in qinling.api.root.iterdir()] == ["nb.ipynb"]
    assert [shown["id"] for shown in await qinling.listed()] == [one.id]
    for (method, path), rights in RIGHTS.items():
        qinling.api.write_notebook("nb.ipynb", "1")
        recorder.asked = set()
        await send_one(qinling, method, path, one.id)
        assert recorder.asked == rights, (method, path)


async def test_credentials_are_forgotten_once_they_are_read(
    qinling: Qinling, recorder: Recorder
) -> None:
    """Whatever shows a request later, a log for example, shows none of Qinling's headers."""
    await qinling.request("GET", "executions", X_Auth_User="a", X_Auth_Key="b", X_Region_Name="c")

    assert recorder.headers >= {"authorization", "x-region-name"}
    assert not recorder.headers & {"x-auth-token", "x-auth-user", "x-auth-key"}


async def test_stopping_needs_the_right_to_execute(
    qinling: Qinling, recorder: Recorder, echo_kernel_name: str
) -> None:
    """Whoever may only write cannot delete what runs."""
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "!sleep 60", kernelspec=spec)
    key = (await qinling.create("nb.ipynb", sync=False))["id"]
    recorder.denied = {EXECUTE}

    refused = await qinling.request("DELETE", f"executions/{key}")
    recorder.denied = set()
    done = await qinling.request("DELETE", f"executions/{key}")

    assert (refused.status, done.status) == (403, 204)


async def test_nobody_gets_anything_without_a_token(send: Call, recorder: Recorder) -> None:
    """Each method on each path: 401 in JSON, and no authorizer is asked."""
    paths = [path.replace("{one}", "x") for _, path in RIGHTS]

    for path in (*paths, *REFUSED):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            body = None if method == "GET" else b"{}"
            for headers in ({}, {"X-Auth-Token": "no"}, {"X-Auth-User": "a", "X-Auth-Key": "b"}):
                answer = await send(method, f"qinling/v1/{path}", dict(headers), body)
                assert answer.status == 401, (method, path)
                assert answer.json["title"] == "Unauthorized"
                assert answer.headers["Content-Type"] == "application/json"
    assert recorder.asked == set()


async def test_what_is_refused_does_nothing(qinling: Qinling, recorder: Recorder) -> None:
    """Jobs, webhooks, workers and unknown paths, whatever the method; a browser may still ask."""
    statuses = {
        path: {
            (await qinling.request(method, path, None if method == "GET" else {})).status
            for method in ("GET", "POST", "PUT", "DELETE")
        }
        for path in REFUSED
    }
    asked = await qinling.send("OPTIONS", "qinling/v1/executions", {}, None)

    assert statuses == dict(zip(REFUSED, ({501}, {501}, {403}, {403}, {404}), strict=True))
    assert (asked.status, asked.body) == (200, b"")


WRONG: tuple[Any, ...] = (1.5, -1, [], {}, [[1]], "\0", "é" * 10, 10**30)
HOSTILE: list[tuple[bytes, int]] = [
    (b"\xff\xfe", 400),
    (b'"\xff"', 400),
    (b"null", 400),
    (b"[]", 400),
    (b"1", 400),
    (b'{"function_id": "\\ud800.ipynb"}', 400),
    (b"[" * 100_000, 400),
    (b'{"function_id":' * 2000, 400),
    *(
        (json.dumps({"function_id": "nb.ipynb", name: value}).encode(), 400)
        for name in ("id", "function_id", "function_version", "sync")
        for value in WRONG
    ),
    *(
        (json.dumps({"function_id": "nb.ipynb", name: value}).encode(), 400)
        for name in ("function_alias", "input")
        for value in WRONG
        if not isinstance(value, str)
    ),
    (b'{"function_id": "nb.ipynb", "function_alias": "\\u0000"}', 404),
    (b'{"function_id": "nb.ipynb", "function_version": 7}', 404),
    (b'{"function_id": "nb.ipynb", "input": "\\u0000"}', 400),
    (b'{"function_id": "nb.ipynb", "input": "' + b"[" * 50_000 + b'"}', 400),
    (b'{"function_id": "nb.ipynb", "description": "' + b"x" * 256 + b'"}', 400),
    (b'{"function_id": "nb.ipynb", "sync": true, "function_alias": ""}', 201),
]


async def test_no_body_is_a_fault_of_the_server(qinling: Qinling, echo_kernel_name: str) -> None:
    """It is refused in Qinling's words, or taken."""
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "1", kernelspec=spec)

    for body, status in HOSTILE:
        answer = await qinling.request("POST", "executions", body, Content_Type="application/json")
        assert answer.status == status, (body[:200], answer.body)
        if status != 201:
            assert sorted(answer.json) == ["debuginfo", "faultcode", "faultstring"]


PATHS = [
    ("executions?status=%ff", 400),
    ("executions?%ff=1", 400),
    ("executions?description=has:%25%25_%5B", 200),
    ("executions?status=failed&status=success", 200),
    ("executions/%ff", 400),
    ("executions/%00/log", 404),
    ("executions/" + "a" * 5000 + "/log", 404),
    ("functions/%2e%2e%2fx.ipynb", 404),
    ("functions/..%2f..%2fetc%2fpasswd", 404),
    ("functions/%ff.ipynb", 400),
    ("functions/a%00.ipynb", 404),
    ("functions/nb.ipynb?download=perhaps", 404),
    ("runtimes/%ff", 400),
    ("aliases/%ff", 400),
    ("aliases/a/b", 404),
    ("functions/" + "a" * 3000 + "/versions/" + "9" * 3000, 404),
]


async def test_no_path_is_a_fault_of_the_server(qinling: Qinling) -> None:
    """It is refused in Qinling's words, or means something."""
    for path, status in PATHS:
        answer = await qinling.request("GET", path)
        assert answer.status == status, (path[:200], answer.body)
        assert ("faultstring" in answer.json) is (status != 200)
