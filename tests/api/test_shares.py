"""No user takes all streams, transfers and waiting requests from the others."""

from contextlib import AsyncExitStack
from typing import Any

import pytest
from jupyter_server.auth import IdentityProvider, User
from traitlets.config import Config

from jupyter_exec_ext.app import ExecApp
from tests.api.following import FollowingClient
from tests.conftest import ExecApi


class Named(IdentityProvider):
    """Takes the user's name from a header; without one, the server's token counts."""

    async def _get_user(self, handler: Any) -> User | None:
        name = handler.request.headers.get("X-User")
        return User(username=name) if name else await super()._get_user(handler)


@pytest.fixture
def jp_server_config(jp_server_config: Config) -> Config:
    jp_server_config["ServerApp"]["identity_provider_class"] = Named
    jp_server_config["ServerApp"]["disable_check_xsrf"] = True
    jp_server_config["ExecApp"].update({"max_streams": 4, "max_waits": 4})
    return jp_server_config


async def test_one_reader_leaves_streams_to_others(
    exec_api: ExecApi, following: FollowingClient, echo_kernel_name: str
) -> None:
    """Requests with the server's token are one user, whatever Jupyter calls each of them."""
    record = await exec_api.start_code("!sleep 60", kernel_name=echo_kernel_name)
    statuses = []

    async with AsyncExitStack() as streams:
        for headers in ({}, {}, {}, {"X-User": "ada"}, {"X-User": "ada"}, {"X-User": "bob"}):
            stream = following.stream(record, headers=headers)
            opened = await streams.enter_async_context(stream)
            statuses.append(opened.response.status_code)

    assert statuses == [200, 200, 429, 200, 429, 200]


async def test_who_waits_too_often_is_answered_without_waiting(
    exec_api: ExecApi, exec_app: ExecApp, echo_kernel_name: str
) -> None:
    """While other users still wait."""
    record = await exec_api.start_code("!sleep 60", kernel_name=echo_kernel_name)
    waits = exec_app.executions.waits

    with waits.hold(""), waits.hold(""):
        shown = await exec_api.get(record, wait=50)

        assert shown["state"] in ("pending", "running")
        assert waits.has_room("ada")
    await exec_api.request("POST", f"executions/{record['id']}/cancel")
    assert (await exec_api.final(record))["state"] == "cancelled"
