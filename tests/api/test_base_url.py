"""Every route answers under each equivalent spelling of the server's base URL."""

import re
from typing import Any

import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.routes import DIALECTS, ROUTES
from tests.conftest import WAIT_SECONDS

SPELLINGS = ("/user/ada@example.org/", "/%75ser/%61da%40example%2eorg/", "/user/ada@example%2Eorg/")

CHANGING = re.compile(rb'"[0-9]{4}-[^"]*Z"|"[0-9a-f]{8}-[0-9a-f-]{27}"|"[0-9a-f]{32}"')
"""Times, ids of requests and names of anonymous users, which differ from answer to answer."""


@pytest.fixture
def jp_base_url() -> str:
    return "/user/ada%40example.org/"


def _paths() -> list[str]:
    """Return one path for each route of the native API and of the dialects."""
    native = [re.sub(r"\{\w+\}", "a", route.path) for route in ROUTES]
    foreign = [
        "azure/session",
        "azure/files/a/content",
        "backendai/",
        "backendai/session/demo-01",
        "datasphere/v2/projects",
        "datasphere/v2/projects/default:stateVariables",
        "operations/a",
        "qinling/v1/functions",
        "qinling//v1/executions/",
    ]
    assert {dialect.name for dialect in DIALECTS} <= {path.partition("/")[0] for path in foreign}
    return [*native, *(f"exec/{path}" for path in foreign), "exec/nothing", "exec"]


async def test_each_spelling_is_the_same_url(
    exec_app: ExecApp, http_server_client: Any, jp_base_url: str, jp_auth_header: dict[str, str]
) -> None:
    """The answer is the same, to the letter: its links are in the server's own spelling."""
    assert exec_app is not None

    async def answer(url: str) -> tuple[int, str, bytes]:
        got = await http_server_client.fetch(
            url,
            headers=dict(jp_auth_header),
            raise_error=False,
            follow_redirects=False,
            request_timeout=WAIT_SECONDS,
        )
        return got.code, got.headers["Content-Type"], CHANGING.sub(b"", got.body)

    for path in _paths():
        expected = await answer(jp_base_url + path)
        for spelling in SPELLINGS:
            assert await answer(spelling + path) == expected, (spelling, path)
    missing = await answer("/user/ada%2540example.org/exec/executions")
    assert missing[0] == 404


async def test_links_are_in_the_servers_own_spelling(
    exec_app: ExecApp,
    http_server_client: Any,
    jp_base_url: str,
    jp_auth_header: dict[str, str],
    echo_kernel_name: str,
) -> None:
    """Whichever the client used."""
    assert exec_app is not None

    created = await http_server_client.fetch(
        f"{SPELLINGS[0]}exec/executions?wait=60",
        method="POST",
        headers=dict(jp_auth_header),
        body=f'{{"code": "1", "kernel_name": "{echo_kernel_name}"}}',
    )

    assert created.headers["Location"].startswith(f"{jp_base_url}exec/executions/")


def test_jupyter_checks_the_sign_in_of_our_handlers(exec_app: ExecApp) -> None:
    """The server looks at all handlers that its own method adds; none of ours is unknown to it."""
    web_app = exec_app.serverapp.web_app  # type: ignore[union-attr]
    found = {
        rule.target
        for router in web_app.default_router.rules
        for rule in getattr(router.target, "rules", ())
    }

    assert {route.handler for route in ROUTES} <= found
