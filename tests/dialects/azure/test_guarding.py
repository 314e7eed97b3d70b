"""Who may do what, what never shows, and what nobody can break."""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from jupyter_exec_ext.dialects.azure import AZURE
from jupyter_exec_ext.web.forms import MAX_FIELDS, MAX_TYPE_LENGTH
from tests.api.test_rights import (
    EXECUTE,
    EXECUTE_KERNELS,
    READ,
    READ_FILES,
    READ_SESSIONS,
    WRITE_FILES,
    WRITE_SESSIONS,
    Recorder,
)
from tests.conftest import Answer, ExecApi
from tests.dialects.azure.conftest import NEW, OLD
from tests.dialects.conftest import Call

QUERY = f"?api-version={NEW}&identifier=chat"
CODE = {"codeInputType": "Inline", "executionType": "Synchronous", "code": "1"}
FORM = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--B--\r\n'
MAKE = [WRITE_SESSIONS, EXECUTE_KERNELS]

CALLS: dict[tuple[str, str], tuple[bytes | None, list[tuple[str, str]]]] = {
    ("POST", "executions"): (json.dumps(CODE).encode(), [EXECUTE, EXECUTE_KERNELS]),
    ("POST", "code/execute"): (
        json.dumps({"properties": CODE}).encode(),
        [EXECUTE, EXECUTE_KERNELS],
    ),
    ("POST", "python/execute"): (
        b'{"properties":{"pythonCode":"1"}}',
        [EXECUTE, EXECUTE_KERNELS],
    ),
    ("GET", "executions/none"): (None, [READ]),
    ("GET", "files"): (None, [READ_FILES]),
    ("POST", "files"): (FORM, [WRITE_FILES]),
    ("POST", "files/upload"): (FORM, [WRITE_FILES]),
    ("GET", "files/upload"): (None, [READ_FILES]),
    ("DELETE", "files/upload"): (None, [WRITE_FILES]),
    ("GET", "files/a"): (None, [READ_FILES]),
    ("GET", "files/a/content"): (None, [READ_FILES]),
    ("GET", "files/content/a"): (None, [READ_FILES]),
    ("DELETE", "files/a"): (None, [WRITE_FILES]),
    ("GET", "session"): (None, [READ_SESSIONS]),
    ("GET", "listSessions"): (None, [READ_SESSIONS]),
    ("GET", "metadata"): (None, [READ]),
    ("DELETE", "session"): (None, [WRITE_SESSIONS]),
}
"""Each call, with what the authorizer is asked when the session is there."""

MAKING = {
    ("POST", "executions"),
    ("POST", "code/execute"),
    ("POST", "python/execute"),
    ("GET", "files"),
    ("POST", "files"),
    ("POST", "files/upload"),
}
"""Those that make the session when there is none."""


@pytest.fixture
def jp_server_config(jp_server_config: Config) -> Config:
    jp_server_config["ServerApp"]["authorizer_class"] = Recorder
    return jp_server_config


@pytest.fixture
def recorder(jp_serverapp: Any) -> Recorder:
    assert isinstance(jp_serverapp.authorizer, Recorder)
    return jp_serverapp.authorizer


@pytest.fixture
def call(send: Call, token: str) -> Call:
    """Send a call with credentials."""

    async def send_it(
        method: str, path: str, body: bytes | None = None, query: str = QUERY, **headers: str
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        credentials = {"Authorization": f"Bearer {token}"}
        return await send(method, f"azure/{path}{query}", {**credentials, **named}, body)

    return send_it


def test_all_calls_are_here() -> None:
    """Each route of the dialect but the last, and each verb of it."""
    served = {
        (method, handler)
        for _, handler in AZURE.routes[:-1]
        for method in ("GET", "POST", "PUT", "DELETE")
        if hasattr(getattr(handler, method.lower()), "right")
    }
    tested = {
        (method, next(handler for route, handler in AZURE.routes if re.fullmatch(route, place)))
        for method, path in CALLS
        for place in [f"azure/{path}"]
    }
    assert served == tested


def _rights(asked: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what was asked, each once: an upload is asked before its body comes, and after."""
    return list(dict.fromkeys(asked))


async def test_each_call_asks_for_the_rights_of_what_it_does(
    call: Call, recorder: Recorder, exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """And for those of making a session where it makes one."""
    for (method, path), (body, rights) in CALLS.items():
        for is_there in (True, False):
            await call("DELETE", "session")
            if is_there:
                await exec_api.new_session(name="chat", kernel_name=echo_kernel_name)
            recorder.take()
            answer = await call(method, path, body)
            expected = rights
            if not is_there and (method, path) in MAKING:
                expected = _rights([*rights, *MAKE])
            assert _rights(recorder.take()) == expected, (method, path, is_there)
            assert answer.status < 500


async def test_each_single_right_is_needed(
    call: Call, recorder: Recorder, exec_api: ExecApi
) -> None:
    """Without one of them: 403 as the service has it, no session, and no file anywhere."""
    for (method, path), (body, rights) in CALLS.items():
        needed = [*rights, *MAKE] if (method, path) in MAKING else rights
        for right in needed:
            recorder.denied = {right}
            answer = await call(method, path, body)
            assert answer.status == 403, (method, path, right)
            assert answer.headers["x-ms-error-code"] == "Forbidden"
            assert answer.json["error"]["code"] == "Forbidden"
            assert answer.json["error"]["message"].endswith(f": {' '.join(right)}")
    recorder.denied = set()

    assert (await call("GET", "listSessions")).json["sessions"] == []
    assert (await exec_api.request("GET", "executions")).json["executions"] == []
    assert list(exec_api.root.rglob("*")) == []


@pytest.fixture
def open_config(jp_server_config: Config) -> Iterator[Config]:
    """Jupyter Server's own default, by which each verb looks after itself."""
    jp_server_config["ServerApp"]["allow_unauthenticated_access"] = True
    return jp_server_config


async def test_another_users_operation_is_shown_only_to_who_may_read(
    call: Call, recorder: Recorder, exec_api: ExecApi
) -> None:
    """A request with the operation-id and the code of that operation finds it."""
    assert exec_api is not None
    body = json.dumps({**CODE, "code": "print('secret')"}).encode()
    first = await call("POST", "executions", body, operation_id="op-1")
    assert b"secret" in first.body

    recorder.denied = {READ}
    refused = await call("POST", "executions", body, operation_id="op-1")

    assert refused.status == 403
    assert b"secret" not in refused.body


async def test_nobody_gets_anything_without_credentials(
    open_config: Config, send: Call, exec_api: ExecApi
) -> None:
    """401 in the service's shape, also where a forged cookie passes for that of a page."""
    xsrf = {"Cookie": "_xsrf=0a0b0c0d", "X-XSRFToken": "0a0b0c0d"}
    for method, path in [*CALLS, ("GET", "nothing"), ("GET", "")]:
        for headers in ({}, xsrf, {**xsrf, "Authorization": "Bearer wrong"}):
            body = CALLS.get((method, path), (None, []))[0]
            answer = await send(method, f"azure/{path}{QUERY}", headers, body)
            assert answer.status == 401, (method, path, headers)
            assert answer.json["error"]["code"]
            assert answer.headers["WWW-Authenticate"] == "Bearer"

    assert list(exec_api.root.rglob("*")) == []
    assert (await exec_api.request("GET", "sessions")).json["sessions"] == []


async def test_the_verb_options_tells_nothing(send: Call) -> None:
    """A browser asks before it has credentials; the answer has no body."""
    for path in ("executions", "files", "files/a", "session"):
        answer = await send("OPTIONS", f"azure/{path}{QUERY}")
        assert (answer.status, answer.body) == (200, b"")


async def test_secrets_are_not_in_the_log(
    call: Call,
    token: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither tokens, nor code, nor outputs, nor contents, also of calls that fail."""
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    code = {**CODE, "code": "print('can' + 'ary-out'); 'canary-code'; 1/0"}
    await call("POST", "executions", json.dumps(code).encode())
    await call("POST", "code/execute", json.dumps({"properties": code}).encode())
    await call("POST", "executions", json.dumps({"shellCommand": "echo canary-shell"}).encode())
    await call("POST", "executions", b'{"code": "canary-broken')
    await call("POST", "executions", b'{"code": 5, "codeInputType": "canary-type"}')
    form = FORM.replace(b"\r\nx\r\n", b"\r\ncanary-content\r\n")
    await call("POST", "files", form, Content_Type="multipart/form-data; boundary=B")
    await call("POST", "files", form[:-9], Content_Type="multipart/form-data; boundary=B")
    await call("GET", "files/a/content")
    await call("DELETE", "session")

    log = caplog.text + "".join(capfd.readouterr())
    assert "POST /user/a%40b/exec/azure/executions" in log
    assert "canary" not in log
    assert token not in log


HOSTILE: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"properties":' * 50_000,
    b'{"properties":null}',
    b'{"properties":[]}',
    b'{"code":null,"shellCommand":null}',
    b'{"shellCommand":""}',
    b'{"shellCommand":"\\u0000"}',
    b'{"shellCommand":["ls"]}',
    b'{"code":"\\ud800","codeInputType":"Inline","executionType":"Synchronous"}',
    b'{"code":"1","codeInputType":5,"executionType":"Synchronous"}',
    b'{"code":"1","codeInputType":"Inline","executionType":"Synchronous","timeoutInSeconds":1e99}',
    b'{"code":"1","codeInputType":"Inline","executionType":"Synchronous","timeoutInSeconds":-1}',
    b'{"code":"1","codeInputType":"Inline","executionType":"Synchronous","useEmptyKernel":"yes"}',
    b'{"code":"1","codeInputType":"Inline","executionType":"Synchronous","timeoutInSeconds":1.5}',
    b'{"shellCommand":"ls","timeoutInSeconds":99999999999999999999}',
    b'{"code":"/w==","codeInputType":"InlineBase64","executionType":"Synchronous"}',
    b'{"code":"\xc3\xa4","codeInputType":"InlineBase64","executionType":"Synchronous"}',
]


@pytest.mark.parametrize("path", ["executions", "code/execute", "python/execute"])
async def test_no_body_breaks_the_server(path: str, call: Call) -> None:
    """Every one is refused with 400 in the service's shape."""
    for body in HOSTILE:
        answer = await call("POST", path, body)
        assert answer.status == 400, (body[:80], answer.status, answer.body[:200])
        assert answer.json["error"]["code"] == answer.headers["x-ms-error-code"]


async def test_a_body_that_is_too_large_is_413(call: Call) -> None:
    """As the service has it, for code too."""
    answer = await call("POST", "executions", b" " * 8_000_001)

    assert (answer.status, answer.json["error"]["code"]) == (413, "PayloadTooLarge")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?identifier=chat",
        f"?api-version={NEW}",
        f"?api-version={NEW}&identifier=%ff",
        "?api-version=%ff&identifier=chat",
        f"?api-version={NEW}&identifier=%00",
        f"?api-version={NEW}&identifier={'x' * 257}",
        f"?api-version={NEW}&identifier=%C3%A4",
        "?api-version=2025-10-02-preview%0A&identifier=chat",
        "?api-version=20\u00b25-10-02&identifier=chat",
    ],
)
async def test_a_query_that_is_none_is_refused(query: str, call: Call) -> None:
    """With 400, by every call that needs a session."""
    for method, path in CALLS:
        if path in ("listSessions", "metadata"):
            continue
        answer = await call(method, path, CALLS[method, path][0], query)
        assert answer.status == 400, (method, path, answer.status)


FORMS: list[tuple[str, bytes]] = [
    ("", b""),
    ("", b"-"),
    ("", b"--"),
    ("", b"--\r\n"),
    ("", b"--" + b"x" * 500),
    ("", b"x" * 500),
    ("application/json", b"{}\r\n"),
    ("application/json", b'--"\r\n'),
    ("application/json", b"--\xff\r\n"),
    ("application/json", b"--B\r\n\r\n"),
    ("multipart/form-data", FORM[:-8]),
    ("multipart/form-data; boundary=C", FORM),
    ("multipart/form-data; boundary=", FORM[:20]),
    ("text/plain; boundary=B", FORM),
    ("multipart/form-data; boundary=B", b"--B--\r\n"),
    ("multipart/form-data; boundary=B", FORM.replace(b'; filename="a"', b"")),
    ("multipart/form-data; boundary=B", FORM.replace(b'"a"', b'"\xff"')),
    ("multipart/form-data; boundary=B", FORM.replace(b'"a"', b'"/mnt/data/../../a"')),
    ("multipart/form-data; boundary=B", FORM.replace(b'"a"', b'"..%2f..%2Fa"')),
    ("multipart/form-data; boundary=B", FORM.replace(b'"a"', b'"/etc/passwd"')),
    ("multipart/form-data; boundary=B", FORM.replace(b'"a"', b'"' + b"a" * 300 + b'"')),
    (f"multipart/form-data; boundary=B; a={'a' * MAX_TYPE_LENGTH}", FORM),
    (
        "multipart/form-data; boundary=B",
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * (MAX_FIELDS + 1) + FORM,
    ),
]


ESCAPED: list[tuple[str, bytes]] = [
    ("multipart/form-data; boundary=B", FORM.replace(b'"a"', b'"%2Fetc%2Fpasswd"')),
    ("multipart/form-data; boundary=B", FORM.replace(b'"a"', b'"%00"')),
]
"""The same of names where those are read as in a URL."""


@pytest.mark.parametrize(
    ("path", "forms"), [("files", FORMS), ("files/upload", [*FORMS, *ESCAPED])]
)
async def test_no_form_breaks_the_server(
    path: str, forms: list[tuple[str, bytes]], call: Call, exec_api: ExecApi
) -> None:
    """Each is refused with 400, and leaves no file."""
    for content_type, body in forms:
        answer = await call("POST", path, body, Content_Type=content_type)
        assert answer.status == 400, (content_type, body[:80], answer.status, answer.body[:200])
    assert [found for found in exec_api.root.rglob("*") if found.is_file()] == []


NO_SESSION: list[tuple[str, str, bytes | None, dict[str, str]]] = [
    ("POST", "executions", b'{"shellCommand":" "}', {}),
    ("POST", "executions", b'{"shellCommand":"\\u0000"}', {}),
    ("POST", "executions", json.dumps({**CODE, "codeInputType": "Zip"}).encode(), {}),
    (
        "POST",
        "executions",
        json.dumps({**CODE, "codeInputType": "InlineBase64", "code": "="}).encode(),
        {},
    ),
    ("POST", "executions", json.dumps({**CODE, "code": "\ud800"}).encode(), {}),
    ("POST", "executions", json.dumps(CODE).encode(), {"operation_id": ".."}),
    ("GET", "files&path=..", None, {}),
    ("GET", "files&path=a//b", None, {}),
    ("GET", "files&recursive=x", None, {}),
    ("GET", "files&pageToken=x", None, {}),
    ("POST", "files&path=..", FORM, {"Content_Type": "multipart/form-data; boundary=B"}),
    ("POST", "files", FORM, {"Content_Type": "text/plain; boundary=B"}),
]


async def test_what_is_refused_makes_no_session(call: Call) -> None:
    """All that can be known before is looked at before."""
    for method, path, body, headers in NO_SESSION:
        where, _, more = path.partition("&")
        answer = await call(method, where, body, f"{QUERY}&{more}", **headers)
        assert answer.status == (404 if "pageToken" in path else 400), (path, answer.body)

    assert (await call("GET", "listSessions")).json["sessions"] == []


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("..%2f..%2fx", 400),
        ("%2e%2e", 400),
        ("%00", 400),
        ("%ff", 400),
        ("a%5Cb", 400),
        ("%2Fetc%2Fpasswd", 400),
        ("a//b", 400),
        ("%2F%2F", 400),
        ("x" * 300, 400),
    ],
)
async def test_no_name_leads_out_of_the_session(name: str, status: int, call: Call) -> None:
    """Whatever is asked of it."""
    await call("GET", "files")
    for method, path in (
        ("GET", f"files/{name}"),
        ("DELETE", f"files/{name}"),
        ("GET", f"files/{name}/content"),
        ("GET", f"files/content/{name}"),
    ):
        for query in (QUERY, QUERY.replace(NEW, OLD)):
            answer = await call(method, path, None, query)
            assert answer.status == status, (method, path, answer.status, answer.body)
            assert answer.json["error"]["code"] == "InvalidRequest"


@pytest.mark.parametrize("azure_config", [{"max_upload_bytes": 1000}])
async def test_an_upload_that_is_too_large_is_413(
    azure_config: dict[str, Any], call: Call, exec_api: ExecApi
) -> None:
    """Whatever is said of its length, and nothing of it is left; one that fits is taken."""
    kind = {"Content_Type": "multipart/form-data; boundary=B"}
    for size, status in ((1000, 200), (1001, 413), (3_000_000, 413)):
        answer = await call(
            "POST", "files", FORM.replace(b"\r\nx\r\n", b"\r\n" + b"x" * size + b"\r\n"), **kind
        )
        assert answer.status == status, size
    sizes = [found.stat().st_size for found in Path(exec_api.root).rglob("*") if found.is_file()]
    assert sizes == [1000]
