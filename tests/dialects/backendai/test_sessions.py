"""Sessions: which one a key means, what names and images are, and what is told of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.core.errors import RunsElsewhereError
from jupyter_exec_ext.dialects.backendai.errors import problem_of
from tests import echo_kernel
from tests.conftest import ExecApi
from tests.dialects.backendai.conftest import BackendClient, text_of

PROBLEMS = "https://api.backend.ai/probs/"
ECHO = echo_kernel.NAME
AN_ID = "0b0e1f7e-6a0c-4c3e-9a44-0d5f0f6f2a11"


@pytest.fixture
def broken_kernel_name(jp_data_dir: Path) -> str:
    """The name of a kernelspec whose kernel never starts."""
    folder = jp_data_dir / "kernels" / "broken"
    folder.mkdir(parents=True)
    argv = ["/no/such/program", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Broken", "language": "broken"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    return "broken"


@pytest.mark.usefixtures("echo_kernel_name")
@pytest.mark.parametrize("name", [AN_ID, AN_ID.upper(), "create", "a-", "abc"])
async def test_names_that_mean_something_else_are_refused(client: BackendClient, name: str) -> None:
    """An id, a path of the service, and what is no name; neither new nor by renaming."""
    await client.create(image=ECHO)

    created = await client.request("POST", "/session", {"name": name, "image": ECHO})
    renamed = await client.request("POST", f"/session/demo-01/rename?name={name}")

    assert (created.status, renamed.status) == (400, 400)
    assert created.json["type"] == renamed.json["type"] == f"{PROBLEMS}invalid-api-params"


@pytest.mark.usefixtures("echo_kernel_name")
async def test_an_id_comes_before_a_name(client: BackendClient, exec_api: ExecApi) -> None:
    """Whatever another door called a session; a name that is no id is found all the same."""
    victim = await client.create("victim-1", ECHO)
    like_it = await exec_api.new_session(name=victim["sessionId"], kernel_name=ECHO)
    no_id = AN_ID
    named = await exec_api.new_session(name=no_id, kernel_name=ECHO)

    found = await client.request("GET", f"/session/_/match?id={no_id}")
    upper = await client.request("GET", f"/session/{victim['sessionId'].upper()}")
    deleted = [
        await client.request("DELETE", f"/session/{victim['sessionId']}"),
        await client.request("DELETE", f"/session/{no_id}"),
    ]

    assert [one["id"] for one in found.json["matches"]] == [named["id"]]
    assert upper.status == 200
    assert [one.status for one in deleted] == [200, 200]
    left = (await exec_api.request("GET", "sessions")).json["sessions"]
    assert [one["id"] for one in left] == [like_it["id"]]


@pytest.mark.usefixtures("echo_kernel_name")
async def test_sessions_are_created_where_the_service_does(client: BackendClient) -> None:
    """By two paths, and the second's old form; below them nothing else creates one."""
    body = {"name": "demo-01", "image": ECHO}

    statuses = {
        path: (await client.request("POST", path, body)).status
        for path in ("/session", "/session/create", "/session/_/create", "/kernel/_/create")
    }
    other = await client.request("POST", "/session/_", body)

    assert set(statuses.values()) == {201}, statuses
    assert other.status in (400, 404)


@pytest.mark.parametrize(
    ("body", "status", "title"),
    [
        ({}, 400, "Missing or invalid API parameters."),
        ({"image": ""}, 400, "Missing or invalid API parameters."),
        ({"image": "cobol:85"}, 404, "No such environment image."),
        ({"image": ECHO, "clusterSize": 0}, 400, "Missing or invalid API parameters."),
        ({"image": ECHO, "clusterSize": 2}, 400, "Missing or invalid API parameters."),
        ({"image": ECHO, "cluster_size": 0}, 400, "Missing or invalid API parameters."),
    ],
)
@pytest.mark.usefixtures("echo_kernel_name")
async def test_what_no_session_can_be_is_refused(
    client: BackendClient, body: dict[str, Any], status: int, title: str
) -> None:
    """A parameter that is missing is another mistake than an image that is not here."""
    answer = await client.request("POST", "/session", {"name": "demo-01", **body})

    assert (answer.status, answer.json["title"]) == (status, title)


@pytest.mark.usefixtures("echo_kernel_name")
async def test_another_image_is_another_session(client: BackendClient, exec_api: ExecApi) -> None:
    """Tags count where both are known; from where an image comes does not."""
    made = await client.create("demo-01", f"{ECHO}:3.9")
    await exec_api.new_session(name="native-1", kernel_name=ECHO)

    same = [
        await client.create("demo-01", image)
        for image in (ECHO, f"{ECHO}:3.9", f"cr.backend.ai/stable/{ECHO}:3.9")
    ]
    other_tag = await client.request(
        "POST", "/session", {"name": "demo-01", "image": f"{ECHO}:3.11"}
    )
    other = await client.request("POST", "/session", {"name": "demo-01", "image": "python"})
    native = await client.create("native-1", f"{ECHO}:3.11")

    assert [(one["sessionId"], one["created"]) for one in same] == [(made["sessionId"], False)] * 3
    for answer, image in ((other_tag, f"{ECHO}:3.11"), (other, "python")):
        assert (answer.status, answer.json["type"]) == (400, f"{PROBLEMS}session-already-exists")
        assert answer.json["data"] == {"existingSessionId": made["sessionId"]}
        assert answer.json["msg"] == f"session 'demo-01' has the image {ECHO}:3.9, not {image}"
    assert native["created"] is False


@pytest.mark.usefixtures("echo_kernel_name")
@pytest.mark.parametrize("exec_config", [{"max_sessions": 1}])
async def test_too_many_sessions_say_how_one_ends(client: BackendClient) -> None:
    """How many there are, and what frees one."""
    await client.create("demo-01", ECHO)

    answer = await client.request("POST", "/session", {"name": "demo-02", "image": ECHO})

    assert (answer.status, answer.json["type"]) == (412, f"{PROBLEMS}quota-exceeded")
    assert "1 sessions" in answer.json["msg"]
    assert "--rm" in answer.json["msg"]


async def test_a_session_whose_kernel_did_not_start_is_in_error(
    client: BackendClient, broken_kernel_name: str
) -> None:
    """Whenever it is looked at; what needs a kernel is refused in the service's terms."""
    created = await client.create("demo-01", broken_kernel_name)
    again = await client.create("demo-01", broken_kernel_name)
    shown = (await client.request("GET", "/session/demo-01")).json
    found = (await client.request("GET", "/session/_/match?id=demo")).json["matches"]
    answers = [
        await client.request("POST", "/session/demo-01/complete", {"code": "x"}),
        await client.request("POST", "/session/demo-01", {"mode": "complete", "code": "x"}),
        await client.request("PATCH", "/session/demo-01"),
    ]
    (result,) = await client.run("query", "1")

    assert {created["status"], again["status"], shown["status"], found[0]["status"]} == {"ERROR"}
    for answer in answers:
        assert (answer.status, answer.json["type"]) == (400, f"{PROBLEMS}generic-bad-request")
    assert (result["status"], result["exitCode"]) == ("finished", 127)
    assert text_of([result], "stderr")


async def test_a_kernel_that_starts_at_last_ends_the_error(
    client: BackendClient, broken_kernel_name: str, jp_data_dir: Path
) -> None:
    """A restart that succeeds is no failure, whatever was before."""
    await client.create("demo-01", broken_kernel_name)
    echo_kernel.install(jp_data_dir, broken_kernel_name)

    restarted = await client.request("PATCH", "/session/demo-01")
    shown = await client.request("GET", "/session/demo-01")

    assert (restarted.status, shown.json["status"]) == (204, "RUNNING")
    assert (await client.request("DELETE", "/session/demo-01")).status == 200


@pytest.mark.usefixtures("echo_kernel_name")
async def test_the_history_of_a_session(client: BackendClient) -> None:
    """When it was made; its end is gone with it."""
    created = await client.create(image=ECHO)

    answer = await client.request("GET", "/session/demo-01/status-history")
    shown = (await client.request("GET", f"/session/{created['sessionId']}")).json
    unknown = await client.request("GET", "/session/none/status-history")

    assert answer.json == {"result": {"preparing": shown["creationTime"]}}
    assert unknown.status == 404


@pytest.mark.usefixtures("echo_kernel_name")
async def test_refusals_speak_of_what_clients_know(client: BackendClient) -> None:
    """Not of inputs, executions and paths of the native API."""
    await client.create("demo-01", ECHO)
    run = await client.execute("query", "!ask x")
    environ = {"name": "demo-02", "image": ECHO, "config": {"environ": {"A=B": "1"}}}
    key = "/session/demo-01"
    await client.execute("input", "1", runId=run["runId"])
    waiting = await client.execute("query", "!sleep 60")

    answers = [
        await client.request("POST", "/session", environ),
        await client.request("POST", f"{key}/upload", b"{}"),
        await client.request(
            "POST", key, {"mode": "input", "code": "x", "runId": waiting["runId"]}
        ),
    ]

    assert [answer.status for answer in answers] == [400, 400, 400]
    told = " ".join(answer.json["msg"] for answer in answers)
    assert not any(word in told for word in ("an input", "execution", "PUT"))
    assert "environ" in told


def test_what_another_process_has_is_no_other_status() -> None:
    """The service has no 409."""
    status, problem = problem_of(409, RunsElsewhereError("session 1", "alive"))

    assert (status, problem["type"]) == (400, f"{PROBLEMS}generic-bad-request")
