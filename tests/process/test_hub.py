"""Behind a real JupyterHub: who may use whose server, through the native API and each dialect."""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.dialects.backendai.conftest import signed_headers
from tests.process.hub import Hub, installed_proxy

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A hub."""
    hub = Hub(tmp_path_factory.mktemp("hub"), installed_proxy(request.config))
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def url(hub: Hub) -> str:
    """The service on Ada's server; Bob has none."""
    hub.call("POST", "users/bob")
    return hub.start_server("ada")


def signed(url: str, key: str, secret: str) -> dict[str, str]:
    """Return the headers of a GET that *key* signs with *secret*."""
    parts = urlsplit(url)
    return signed_headers(
        secret,
        method="GET",
        uri=f"{parts.path}?{parts.query}" if parts.query else parts.path,
        host=parts.netloc,
        content_type="text/plain",
        access_key=key,
    )


DOORS: dict[str, tuple[str, Callable[[str, str], dict[str, str]]]] = {
    "native": ("executions", lambda _, token: {"Authorization": f"token {token}"}),
    "azure": (
        "azure/listSessions?api-version=2025-10-02-preview",
        lambda _, token: {"Authorization": f"Bearer {token}"},
    ),
    "datasphere": (
        "datasphere/v2/projects/default",
        lambda _, token: {"Authorization": f"Bearer {token}"},
    ),
    "qinling": ("qinling/v1/executions", lambda _, token: {"X-Auth-Token": token}),
    "backendai": (
        "backendai/session/_/match?id=x",
        lambda url, token: signed(url, token, token),
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_the_hub_decides_who_comes_in(hub: Hub, url: str, door: str) -> None:
    """A token of the user does; of another user, for other things or unknown it does not."""
    path, headers = DOORS[door]

    def ask(token: str) -> httpx.Response:
        return httpx.get(f"{url}{path}", headers=headers(f"{url}{path}", token))

    assert ask(hub.token_of("ada")).status_code == 200
    assert ask(hub.token_of("ada", "access:servers!user=ada")).status_code == 200
    for token in (hub.token_of("bob"), hub.token_of("ada", "read:users!user=ada"), "0" * 32):
        refused = ask(token)
        assert refused.status_code in (401, 403)
        assert "json" in refused.headers["Content-Type"]
        assert "reason" not in refused.json()


def test_a_signature_proves_nothing_but_the_token_that_is_the_access_key(
    hub: Hub, url: str
) -> None:
    """Neither another secret, nor what the server itself has, lets anybody in."""
    token = hub.token_of("ada")
    where = f"{url}backendai/session/_/match?id=x"
    (server,) = [
        process for process in hub.servers() if "jupyterhub.singleuser" in process.cmdline()
    ]
    own_token = server.environ()["JUPYTERHUB_API_TOKEN"]

    for key, secret in ((token, "other"), ("ada", token), ("ada", own_token), (token, own_token)):
        refused = httpx.get(where, headers=signed(where, key, secret))
        assert refused.status_code == 401
        assert refused.json()["type"].endswith("/auth-failed")


def test_records_say_who_and_links_lead_back(hub: Hub, url: str) -> None:
    """What a dialect ran is of the hub's user, and its address is the one that users know."""
    headers = {"Authorization": f"Bearer {hub.token_of('ada')}"}
    body = {"codeInputType": "Inline", "executionType": "Synchronous", "code": "6 * 7"}

    ran = httpx.post(
        f"{url}azure/executions?api-version=2025-10-02-preview&identifier=mine",
        json=body,
        headers=headers,
        timeout=60,
    )
    again = httpx.get(ran.headers["Operation-Location"], headers=headers)
    (record,) = httpx.get(f"{url}executions", headers=headers).json()["executions"]

    assert ran.json()["result"]["executionResult"] == 42
    assert ran.headers["Operation-Location"].startswith(f"{url}azure/executions/")
    assert again.json() == ran.json()
    assert record["owner"] == "ada"
    assert record["id"] == ran.json()["id"]


def test_no_token_is_in_any_log(hub: Hub, url: str) -> None:
    """Hub, proxy and server log at their most talkative, and never who could come in."""
    tokens: list[Any] = []
    for path, headers in DOORS.values():
        tokens.append(hub.token_of("ada"))
        answer = httpx.get(f"{url}{path}", headers=headers(f"{url}{path}", tokens[-1]))
        assert answer.status_code == 200

    assert "/exec/backendai" in hub.log
    assert not [token for token in tokens if token in hub.log]
