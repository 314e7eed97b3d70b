"""What is refused before any dialect looks at it."""

import logging

import pytest

from tests.dialects.conftest import Call

PATHS = {
    "native": "executions",
    "azure": "azure/listSessions?api-version=2025-10-02-preview",
    "datasphere": "datasphere/v2/projects",
    "qinling": "qinling/v1/executions",
    "backendai": "backendai/session/_/match?id=x",
}


@pytest.mark.parametrize("door", PATHS)
async def test_a_foreign_name_of_the_server_is_no_matter_of_tokens(
    send: Call, token: str, door: str
) -> None:
    """Whoever has the right token and the wrong host need not look for another token."""
    headers = {"Authorization": f"token {token}"}

    taken = await send("GET", PATHS[door], headers)
    refused = await send("GET", PATHS[door], {**headers, "Host": "evil.example"})

    assert taken.status == 200
    assert refused.status == 403
    assert b"token" not in refused.body


@pytest.mark.parametrize("path", ["executions/%ff", "azure/files/%ff", "operations/%ff", "no"])
async def test_a_token_in_a_malformed_address_is_not_logged(
    send: Call, token: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by Tornado either, which tells of each request that it cannot read."""
    caplog.set_level(logging.DEBUG)

    refused = await send("GET", f"{path}?token={token}")

    assert refused.status in (400, 404)
    assert refused.json
    assert f"GET /user/a%40b/exec/{path}" in caplog.text
    assert token not in caplog.text


@pytest.mark.parametrize(
    "exec_config", [{"dialects": [name]} for name in PATHS if name != "native"] + [{"dialects": []}]
)
async def test_each_dialect_can_be_switched_off(
    send: Call, token: str, exec_config: dict[str, list[str]]
) -> None:
    """Then its addresses are no more than any other below ``exec/``, and it is not listed."""
    served = exec_config["dialects"]

    listed = await send("GET", "", {"Authorization": f"token {token}"})
    answers = {
        name: await send("GET", path, {"Authorization": f"token {token}"})
        for name, path in PATHS.items()
    }

    assert listed.json["dialects"] == served
    for name, answer in answers.items():
        if name in (*served, "native"):
            assert answer.status == 200
        else:
            assert (answer.status, answer.json["code"]) == (404, "NotFound")
