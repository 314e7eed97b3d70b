"""Signatures: what clients make is taken, and what they do not make is refused."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from jupyter_server.auth import IdentityProvider, User

from jupyter_exec_ext.dialects.backendai.signing import (
    Credential,
    SignedRequest,
    is_recent,
    is_signed,
    is_version,
    read_credential,
    read_date,
)
from tests.conftest import ExecApi
from tests.dialects.backendai.conftest import VERSION, BackendClient, signed_headers
from tests.echo_kernel import NAME as ECHO

SECRET = "0123456789abcdef"
DATE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
MADE_BY_A_CLIENT = [
    (
        "GET",
        "/exec/backendai/session/demo-01",
        "text/plain",
        "7e5e6512c0326eed9820fc50d344c4184d73c7e93ecac2a231fddef37f05d026",
    ),
    (
        "POST",
        "/exec/backendai/session/demo-01/upload",
        "multipart/form-data",
        "e3f18e29cbe83a8615d1015ff22a5a8a8ac8a1a4f6e4e53f0744e617a37b8cc2",
    ),
    (
        "GET",
        "/exec/backendai/stream/session/demo-01/execute",
        "application/octet-stream",
        "a3206449c5ee91053a8dbc99220d2f6082a77e1fef9e6fb807570d77953cccaf",
    ),
    (
        "POST",
        "/exec/backendai/session/demo-01/rename?name=demo-02",
        "text/plain",
        "7e03869339cb315103734907a7146a5a025a5613bfb0f1e354241b5ebe03e3a8",
    ),
]


def request_of(method: str, uri: str, content_type: str) -> SignedRequest:
    return SignedRequest(
        method=method,
        uri=uri,
        host="127.0.0.1:8888",
        date_text=DATE.isoformat(),
        version=VERSION,
        content_type=content_type,
    )


@pytest.mark.parametrize(("method", "uri", "content_type", "signature"), MADE_BY_A_CLIENT)
def test_signatures_are_those_of_the_public_client(
    method: str, uri: str, content_type: str, signature: str
) -> None:
    """Method, path with query and media type all count; the secret is what counts most."""
    request = request_of(method, uri, content_type)
    credential = Credential(hash_name="sha256", access_key="me", signature=signature)

    assert request.signature(SECRET, DATE, "sha256") == signature
    assert is_signed([request], credential, DATE, SECRET)
    assert not is_signed([request], credential, DATE, SECRET + "0")
    for other in (
        request_of("PUT", uri, content_type),
        request_of(method, uri + "x", content_type),
        request_of(method, uri, "application/json"),
    ):
        assert not is_signed([other], credential, DATE, SECRET)


def test_an_empty_secret_signs_nothing() -> None:
    """Whoever knows that a server has no token could make the signature."""
    request = request_of("GET", "/", "text/plain")
    signature = request.signature("", DATE, "sha256")
    credential = Credential(hash_name="sha256", access_key="me", signature=signature)

    assert not is_signed([request], credential, DATE, "")


def test_credentials_are_read_strictly() -> None:
    """Two schemes, three hashes; names that `hashlib` has and that prove little are refused."""
    digits = "0a" * 32
    good = read_credential(f"BackendAI signMethod=HMAC-SHA256, credential=AK:IA:{digits}")

    assert good == Credential(hash_name="sha256", access_key="AK:IA", signature=digits)
    assert read_credential(f"Sorna signMethod=HMAC-SHA512, credential=me:{digits}") is not None
    for header in (
        "",
        "BackendAI",
        f"BackendAI signMethod=HMAC-MD5, credential=me:{digits}",
        f"BackendAI signMethod=HMAC-SHAKE_128, credential=me:{digits}",
        f"BackendAI signMethod=SHA256, credential=me:{digits}",
        f"BackendAI credential=me:{digits}",
        f"BackendAI signMethod=HMAC-SHA256, credential=:{digits}",
        "BackendAI signMethod=HMAC-SHA256, credential=me:xyz",
    ):
        assert read_credential(header) is None, header


def test_dates_come_in_several_forms() -> None:
    """A day is counted in the offset of the date itself."""
    moment = datetime(2016, 9, 30, 1, 23, 45, tzinfo=UTC)

    for text in (
        "2016-09-30T01:23:45+00:00",
        "2016-09-30T01:23:45.000Z",
        "20160930T01:23:45Z",
        "2016-09-30T01:23:45",
        "Fri, 30 Sep 2016 01:23:45 GMT",
    ):
        assert read_date(text) == moment, text
    far_east = read_date("2016-10-01T10:23:45+09:00")
    assert far_east is not None
    assert far_east.strftime("%Y%m%d") == "20161001"
    for text in ("", "now", "2016", "99999999999999"):
        assert read_date(text) is None, text
    edge = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
    assert not is_recent(edge, seconds=900)


def test_versions_are_read_strictly() -> None:
    """A number and a day."""
    for text in ("v4.20190615", "v7.20230615", "v9.20250722"):
        assert is_version(text)
    for text in ("", "v3.20170215", "v7", "7.20230615", "v7.2023061", "v7.20230615x"):
        assert not is_version(text)


async def test_the_window_of_time_is_kept(client: BackendClient) -> None:
    """A quarter of an hour, both ways."""
    now = datetime.now(UTC)

    async def status(minutes: float) -> tuple[int, str]:
        headers = client.headers(
            "GET", "/session/none", "text/plain", date=now + timedelta(minutes=minutes)
        )
        answer = await client.send(
            "GET", "backendai/session/none", {"Host": client.host, **headers}
        )
        return answer.status, answer.json["type"].rpartition("/")[2]

    assert await status(14) == await status(-14) == (404, "object-not-found")
    assert await status(16) == await status(-16) == (400, "invalid-auth-params")


@pytest.mark.parametrize("hash_name", ["sha384", "sha512"])
async def test_other_clients_sign_other_parts(client: BackendClient, hash_name: str) -> None:
    """The path without where the service is mounted, and that as a part of the host."""
    prefix = f"{client.base_url}exec/backendai"
    path = "/session/_/match?id=demo"

    for how in (
        {},
        {"signed_uri": path},
        {"signed_uri": path, "signed_host": client.host + prefix},
        {"signed_uri": path, "signed_host": "elsewhere"},
        {"signed_host": client.host + prefix},
    ):
        headers = client.headers("GET", path, "text/plain", hash_name=hash_name, **how)
        answer = await client.send("GET", f"backendai{path}", {"Host": client.host, **headers})
        is_wrong = how.get("signed_host") == "elsewhere" or set(how) == {"signed_host"}
        assert answer.status == (401 if is_wrong else 200), how


async def test_a_forwarded_host_counts_only_from_a_trusted_proxy(
    client: BackendClient, jp_serverapp: Any
) -> None:
    """Anybody can send the header."""

    async def status() -> int:
        headers = client.headers("GET", "/session/_/match", "text/plain", signed_host="hub.example")
        forwarded = {"Host": client.host, "X-Forwarded-Host": "hub.example"}
        answer = await client.send("GET", "backendai/session/_/match", {**forwarded, **headers})
        return answer.status

    assert await status() == 401
    jp_serverapp.trust_xheaders = True
    assert await status() == 200


@pytest.mark.parametrize("secret", ["", "anything"])
async def test_a_server_without_a_token_takes_no_signature(
    client: BackendClient, jp_serverapp: Any, secret: str
) -> None:
    """Not even where everybody is let in: nothing could be proven."""
    jp_serverapp.identity_provider.token = ""

    headers = client.headers("GET", "/session/_/match", "text/plain", secret=secret)
    answer = await client.send("GET", "backendai/session/_/match", {"Host": client.host, **headers})

    assert answer.status == 401
    assert "no token" in answer.json["msg"]


class HubProvider(IdentityProvider):
    """Knows its users' tokens as a hub does; its own stands for that of the server itself."""

    hub_auth = "hub"

    def get_user(self, handler: Any) -> User | None:
        if self.get_token(handler) == "users-own-token":
            return User("alice")
        return None

    def get_token(self, handler: Any) -> str | None:
        header = handler.request.headers.get("Authorization", "")
        return str(header).removeprefix("token ") or None

    def is_token_authenticated(self, handler: Any) -> bool:
        return True


async def test_behind_a_hub_both_keys_are_the_users_own_token(
    client: BackendClient, jp_serverapp: Any
) -> None:
    """What the hub does not know is refused, and so is the server's own token as a secret."""
    jp_serverapp.web_app.settings["identity_provider"] = HubProvider(token=client.token)

    async def status(access_key: str, secret: str) -> int:
        uri = f"{client.base_url}exec/backendai/session/_/match"
        headers = signed_headers(
            secret,
            method="GET",
            uri=uri,
            host=client.host,
            content_type="text/plain",
            access_key=access_key,
        )
        answer = await client.send(
            "GET", "backendai/session/_/match", {"Host": client.host, **headers}
        )
        return answer.status

    assert await status("users-own-token", "users-own-token") == 200
    assert await status("users-own-token", "something-else") == 401
    assert await status("unknown", "unknown") == 401
    assert await status("me", client.token) == 401


async def test_a_plain_token_works_too(client: BackendClient, exec_api: ExecApi) -> None:
    """For those who write their own client."""
    answer = await client.send(
        "GET", "backendai/session/_/match?id=x", {"Authorization": f"token {client.token}"}
    )

    assert (answer.status, answer.json) == (200, {"matches": []})


@pytest.mark.usefixtures("echo_kernel_name")
async def test_an_answer_is_worth_nothing_to_who_sees_it(client: BackendClient) -> None:
    """No cookie comes with any answer to a signed request: it would outlast the signature."""
    key = "/session/demo-01"
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/session", {"name": "demo-01", "image": ECHO}),
        ("GET", key, None),
        ("POST", key, {"mode": "query", "code": "1"}),
        ("GET", f"{key}/files", None),
        ("POST", f"{key}/download", {"files": ["."]}),
        ("POST", f"{key}/upload", b"no form"),
        ("GET", f"{key}/download_single?file=none", None),
        ("GET", "/session/none", None),
        ("PUT", key, None),
        ("GET", "/no/such/path", None),
        ("PATCH", key, None),
        ("DELETE", key, None),
    ]

    answers = [await client.request(method, path, body) for method, path, body in calls]
    wrong = client.headers("GET", key, "text/plain", secret="wrong")
    answers.append(await client.send("GET", f"backendai{key}", {**wrong, "Host": client.host}))
    await client.create(image=ECHO)
    socket = await client.stream("demo-01")

    assert [answer.status for answer in answers[-4:]] == [404, 204, 200, 401]
    for answer in answers:
        assert "Set-Cookie" not in answer.headers, answer.headers
    assert socket.headers is not None
    assert "Set-Cookie" not in socket.headers
    socket.close()


async def test_only_get_asks_for_the_version(client: BackendClient) -> None:
    """Other methods are known callers' mistakes, and nothing to unknown ones."""
    signed = [await client.request(method, "") for method in ("GET", "POST", "DELETE")]
    unsigned = await client.send("POST", "backendai")

    assert [answer.status for answer in signed] == [200, 405, 405]
    assert unsigned.status == 401
