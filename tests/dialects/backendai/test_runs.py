"""Runs: what each answer of the loop of a client has."""

import asyncio
from typing import Any

import pytest

from jupyter_exec_ext.dialects.backendai.sessions import SessionHandler
from tests.conftest import WAIT_SECONDS, ExecApi
from tests.dialects.backendai.conftest import BackendClient, statuses, text_of

FAST = {"reply_seconds": 0.3}
UNTIL_GO = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"


async def let_go(client: BackendClient, exec_api: ExecApi) -> None:
    session = await exec_api.session((await client.create())["sessionId"])
    (exec_api.root / session["path"] / "go").touch()


async def test_a_query_shows_what_it_prints_in_order(client: BackendClient) -> None:
    """Both streams, and the value of the last line; neighbours are one entry."""
    await client.create()

    (result,) = await client.run(
        "query",
        "import sys\nprint('a')\nprint('b')\nsys.stdout.flush()\nprint('c', file=sys.stderr)\n"
        "sys.stderr.flush()\n40 + 2",
    )

    assert result["console"] == [["stdout", "a\nb\n"], ["stderr", "c\n"], ["stdout", "42\n"]]
    assert statuses([result]) == [("finished", 0)]


async def test_displays_come_as_media(client: BackendClient) -> None:
    """A picture as a data URI, HTML as a fragment, SVG as text."""
    await client.create()

    (result,) = await client.run(
        "query",
        "from IPython.display import HTML, SVG, display\n"
        "display({'image/png': 'iVBO\\nRw0=', 'text/plain': 'p'}, raw=True)\n"
        "display(HTML('<b>x</b>'), SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))",
    )

    picture, html, svg = result["console"]
    assert picture == ["media", ["image/png", "data:image/png;base64,iVBORw0="]]
    assert html == ["html", "<b>x</b>"]
    assert svg[0] == "media"
    assert svg[1][0] == "image/svg+xml"
    assert svg[1][1].startswith("<svg")


async def test_code_that_raises_finishes_with_a_traceback(client: BackendClient) -> None:
    """A query has no exit code but 0; the traceback is on stderr."""
    await client.create()

    (result,) = await client.run("query", "1/0")

    assert statuses([result]) == [("finished", 0)]
    assert "ZeroDivisionError" in text_of([result], "stderr")


@pytest.mark.parametrize("backendai_config", [FAST])
async def test_a_long_run_is_handed_out_in_pieces(client: BackendClient, exec_api: ExecApi) -> None:
    """Nothing twice, nothing lost; a busy run says so in time, with an empty console."""
    await client.create()
    first = await client.execute("query", f"print('one')\n{UNTIL_GO}\nprint('two')")

    second = await client.execute("continue", runId=first["runId"])
    await let_go(client, exec_api)
    last = await client.execute("continue", runId=first["runId"])
    again = await client.execute("continue", runId=first["runId"])

    assert (first["status"], first["console"]) == ("continued", [["stdout", "one\n"]])
    assert (second["status"], second["console"], second["exitCode"]) == ("continued", [], None)
    assert (last["status"], last["console"]) == ("finished", [["stdout", "two\n"]])
    assert again == last


async def test_input_is_asked_for_with_its_prompt(client: BackendClient) -> None:
    """As often as the code asks; a password is told."""
    await client.create()

    first, second, last = await client.run(
        "query",
        "from getpass import getpass\nprint('What?')\nn = input('>> ')\np = getpass('pw: ')\n"
        "print(n, p)",
        inputs=("Bob", "secret"),
    )

    assert first["status"] == second["status"] == "waiting-input"
    assert first["console"] == [["stdout", "What?\n>> "]]
    assert (first["options"], second["options"]) == ({"is_password": False}, {"is_password": True})
    assert (last["console"], last["options"]) == ([["stdout", "Bob secret\n"]], None)


async def test_a_question_stays_open_until_it_is_answered(client: BackendClient) -> None:
    """Who only asks again learns at once that it waits, and not its prompt a second time."""
    await client.create()
    first = await client.execute("query", "print(input('? '))")

    again = await client.execute("continue", runId=first["runId"])
    last = await client.execute("input", "x", runId=first["runId"])
    late = await client.execute("input", "y", runId=first["runId"])

    assert (again["status"], again["console"]) == ("waiting-input", [])
    assert (last["status"], last["console"]) == ("finished", [["stdout", "x\n"]])
    assert late == last


async def test_the_native_door_can_answer(client: BackendClient, exec_api: ExecApi) -> None:
    """It is one record: what asks here can be answered there."""
    await client.create()
    first = await client.execute("query", "print(input('? '))")
    (record,) = (await exec_api.request("GET", "executions")).json["executions"]

    await exec_api.request("POST", "executions", record["id"], "input", json={"value": "native"})
    last = await client.execute("continue", runId=first["runId"])

    assert (last["status"], last["console"]) == ("finished", [["stdout", "native\n"]])
    assert record["labels"] == {"dialect": "backendai", "backendai.run_id": first["runId"]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("clean-finished", 0), ("build-finished", 0), ("finished", 0)]),
        (
            {"clean": "exit 2", "build": "true", "exec": "exit 5"},
            [("clean-finished", 2), ("build-finished", 0), ("finished", 5)],
        ),
        (
            {"clean": None, "build": "exit 3", "exec": "echo never"},
            [("clean-finished", 0), ("build-finished", 3), ("finished", 127)],
        ),
        (
            {"clean": "", "build": "", "exec": "no-such-command"},
            [("clean-finished", 0), ("build-finished", 0), ("finished", 127)],
        ),
        (
            {"exec": "kill -9 $$"},
            [("clean-finished", 0), ("build-finished", 0), ("finished", 137)],
        ),
        (
            {"clean": "*", "exec": "exit 3"},
            [("clean-finished", 0), ("build-finished", 0), ("finished", 3)],
        ),
        (
            {"clean": "true"},
            [("clean-finished", 0), ("build-finished", 0), ("finished", 0)],
        ),
    ],
)
async def test_each_step_of_a_batch_tells_its_end(
    client: BackendClient, options: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    """Also those that are left out; after a failed build nothing is run."""
    await client.create()

    results = await client.run("batch", options=options)

    assert statuses(results) == expected
    assert "never" not in text_of(results)


async def test_output_of_a_step_comes_before_its_end(client: BackendClient) -> None:
    """Never with that of another step."""
    await client.create()
    steps = {step: f"echo {step}; echo {step}-err >&2" for step in ("clean", "build", "exec")}

    results = await client.run("batch", options={**steps, "buildLog": True})

    for result, step in zip(
        [one for one in results if one["status"] != "continued"],
        ("clean", "build", "exec"),
        strict=True,
    ):
        assert sorted(result["console"]) == [["stderr", f"{step}-err\n"], ["stdout", f"{step}\n"]]


@pytest.mark.parametrize("backendai_config", [FAST | {"max_console_chars": 1_000}])
async def test_no_more_text_than_the_limit_is_in_one_answer(client: BackendClient) -> None:
    """The rest comes with the next ones, whole."""
    await client.create()

    results = await client.run("query", "print('x' * 3500)\n'y' * 1500")

    assert text_of(results) == "x" * 3500 + "\n'" + "y" * 1500 + "'\n"
    assert all(len(text_of([one])) <= 1_000 for one in results)
    assert len(results) >= 6


@pytest.mark.parametrize("backendai_config", [FAST])
async def test_runs_of_a_session_wait_for_each_other(
    client: BackendClient, exec_api: ExecApi
) -> None:
    """What waits has nothing to show, and outputs never mix."""
    await client.create()
    first = await client.execute("query", f"print('one')\n{UNTIL_GO}\nprint('two')")

    second = await client.execute("query", "print('three')")
    await let_go(client, exec_api)
    last = await client.execute("continue", runId=second["runId"])

    assert (second["status"], second["console"]) == ("continued", [])
    assert (last["status"], last["console"]) == ("finished", [["stdout", "three\n"]])
    one = await client.execute("continue", runId=first["runId"])
    assert text_of([one]) == "two\n"


@pytest.mark.parametrize("backendai_config", [FAST])
async def test_an_interrupt_ends_code_and_commands(client: BackendClient) -> None:
    """Code with a KeyboardInterrupt; the session goes on."""
    await client.create()
    query = await client.execute("query", "print('on')\nimport time; time.sleep(60)")
    assert (await client.request("POST", "/session/demo-01/interrupt")).status == 204
    results = [query]
    while results[-1]["status"] != "finished":
        results.append(await client.execute("continue", runId=query["runId"]))
    assert "KeyboardInterrupt" in text_of(results, "stderr")
    assert statuses(results) == [("finished", 0)]

    batch = [await client.execute("batch", options={"exec": "echo on; sleep 60"})]
    while "on" not in text_of(batch):
        batch.append(await client.execute("continue", runId=batch[0]["runId"]))
    await client.request("POST", "/session/demo-01/interrupt")
    while batch[-1]["status"] != "finished":
        batch.append(await client.execute("continue", runId=batch[0]["runId"]))
    assert statuses(batch)[-1] == ("finished", 130)
    assert text_of(await client.run("query", "print('still')")) == "still\n"


@pytest.mark.parametrize("backendai_config", [{"run_timeout_seconds": 0.5}])
async def test_a_run_out_of_time_finishes_with_a_note(client: BackendClient) -> None:
    """Never with a status that clients do not know."""
    await client.create()

    results = await client.run("query", "print('on')\nimport time; time.sleep(60)")

    assert statuses(results) == [("finished", 124)]
    assert text_of(results) == "on\n"
    assert "time limit" in text_of(results, "stderr")


@pytest.mark.parametrize("backendai_config", [{"run_timeout_seconds": 0.5}])
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("build", [("clean-finished", 0), ("build-finished", 124), ("finished", 127)]),
        ("exec", [("clean-finished", 0), ("build-finished", 0), ("finished", 124)]),
    ],
)
async def test_a_step_out_of_time_has_its_own_code(
    client: BackendClient, step: str, expected: list[tuple[str, int]]
) -> None:
    """And not that of the interrupt which ended it."""
    await client.create()

    results = await client.run("batch", options={step: "sleep 60"})

    assert statuses(results) == expected
    assert "time limit" in text_of(results, "stderr")


async def test_a_step_that_nobody_saw_end_says_so(client: BackendClient) -> None:
    """It took with it what looks after it."""
    await client.create()

    results = await client.run("batch", options={"exec": "kill -9 $PPID; kill -9 $$"})

    assert statuses(results)[-1] == ("finished", 127)
    # Whether the news that it started came through before is a race.
    assert "the kernel did not" in text_of(results, "stderr")


async def test_a_dead_kernel_finishes_the_run(client: BackendClient) -> None:
    """With 130; the next one has a fresh kernel."""
    await client.create()

    results = await client.run("query", "import os; os._exit(1)")

    assert statuses(results) == [("finished", 130)]
    assert text_of(await client.run("query", "print(1)")) == "1\n"


async def test_an_id_can_be_used_again(client: BackendClient) -> None:
    """Once a run is over its id begins another one; while it goes on it is the same run."""
    await client.create()

    one = await client.run("query", "print(1)", runId="mine")
    two = await client.run("query", "print(2)", runId="mine")
    asking = await client.execute("query", "print(input())", runId="mine")
    same = await client.execute("query", "print(input())", runId="mine")

    assert (text_of(one), text_of(two)) == ("1\n", "2\n")
    assert asking["status"] == same["status"] == "waiting-input"
    last = await client.execute("input", "3", runId="mine")
    assert text_of([last]) == "3\n"


@pytest.mark.parametrize("backendai_config", [{"max_runs": 1}])
async def test_the_id_of_a_forgotten_run_can_be_used_again(client: BackendClient) -> None:
    """The new code is run, also if it is the old one; who asks again is told of the newest."""
    await client.create()
    await client.run("query", "x = 1; print(x)", runId="mine")
    await client.run("query", "'other'", runId="other")

    other = await client.run("query", "x += 1; print('now', x)", runId="mine")
    await client.run("query", "'other'", runId="other")
    same = await client.run("query", "x += 1; print('now', x)", runId="mine")
    await client.run("query", "'other'", runId="other")
    again = await client.execute("continue", runId="mine")

    assert (text_of(other), text_of(same)) == ("now 2\n", "now 3\n")
    assert again == same[0]


@pytest.mark.parametrize("backendai_config", [FAST, FAST | {"max_runs": 1}])
async def test_an_id_means_one_run_at_a_time(client: BackendClient, exec_api: ExecApi) -> None:
    """What came twice runs once, even at once; other code is refused, and the run goes on."""
    await client.create()
    code = f"{UNTIL_GO}\nprint('one')"

    await asyncio.gather(*(client.execute("query", code, runId="mine") for _ in range(3)))
    other = await client.execute("query", "'other'")
    again = await client.execute("query", code, runId="mine")
    refused = [
        await client.request("POST", "/session/demo-01", {**body, "runId": "mine"})
        for body in (
            {"mode": "query", "code": "print('two')"},
            {"mode": "batch", "options": {"exec": "echo two"}},
        )
    ]
    await let_go(client, exec_api)
    last = await client.execute("continue", runId="mine")

    assert other["status"] == again["status"] == "continued"
    assert [answer.status for answer in refused] == [400, 400]
    assert text_of([last]) == "one\n"
    assert len((await exec_api.request("GET", "executions")).json["executions"]) == 2


@pytest.mark.parametrize("backendai_config", [{"max_runs": 1, "idle_timeout_seconds": 2}])
async def test_a_run_outlives_its_session(client: BackendClient, exec_api: ExecApi) -> None:
    """Its end is told as long as there is a record, by name too; nothing new is begun there."""
    created = await client.create()
    first = await client.execute("query", "print('one')")
    await client.create("demo-02")
    await client.execute("query", "'other'", key="demo-02")
    await exec_api.until_session(created["sessionId"], lambda session: session["state"] == "ended")

    for key in ("demo-01", created["sessionId"]):
        again = await client.execute("continue", key=key, runId=first["runId"])
        late = await client.execute("input", "x", key=key, runId=first["runId"])
        new = await client.request("POST", f"/session/{key}", {"mode": "query", "code": "1"})
        shown = await client.request("GET", f"/session/{key}")
        assert again == late == first
        assert new.status == 404
        assert shown.json["status"] == "TERMINATED"


@pytest.mark.parametrize("backendai_config", [{"max_runs": 1}])
async def test_a_forgotten_run_is_told_again_from_its_record(client: BackendClient) -> None:
    """Memory is bounded; who asks for a run that it does not have gets all of its output."""
    await client.create()
    first = await client.execute("query", "print('one')")
    batch = await client.run("batch", options={"build": "echo two; exit 4"})

    again = await client.execute("continue", runId=first["runId"])
    steps = [await client.execute("continue", runId=batch[0]["runId"])]
    while steps[-1]["status"] != "finished":
        steps.append(await client.execute("continue", runId=batch[0]["runId"]))

    assert again == first
    assert statuses(steps) == [("clean-finished", 0), ("build-finished", 4), ("finished", 127)]
    assert text_of(steps) == "two\n"


async def test_a_lost_answer_is_given_again(
    client: BackendClient, exec_api: ExecApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that hangs up before its answer has not seen it."""
    is_noticed = asyncio.Event()
    real = SessionHandler.on_connection_close

    def notice(handler: SessionHandler) -> None:
        real(handler)
        is_noticed.set()

    monkeypatch.setattr(SessionHandler, "on_connection_close", notice)
    await client.create()
    code = f"{UNTIL_GO}\nprint('two', flush=True)\ntime.sleep(60)"
    assert (await client.execute("query", code, runId="mine"))["console"] == []
    (record,) = (await exec_api.request("GET", "executions")).json["executions"]
    body = b'{"mode":"continue","code":"","runId":"mine"}'
    headers = client.headers("POST", "/session/demo-01", "application/json")
    lines = [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Host: {client.host}", f"Content-Length: {len(body)}", "", ""]
    uri = f"{client.base_url}exec/backendai/session/demo-01"

    _, writer = await asyncio.open_connection(*client.host.split(":"))
    writer.write("\r\n".join([f"POST {uri} HTTP/1.1", *lines]).encode() + body)
    await writer.drain()
    writer.close()
    await asyncio.wait_for(is_noticed.wait(), WAIT_SECONDS)
    await let_go(client, exec_api)
    await exec_api.until_printed(record, "two")
    last = await client.execute("continue", runId="mine")

    assert text_of([last]) == "two\n"
    await exec_api.request("POST", "executions", record["id"], "cancel")


@pytest.mark.parametrize(
    "body",
    [
        {"code": "1"},
        {"mode": "nothing", "code": "1"},
        {"mode": "query"},
        {"mode": "query", "code": 1},
        {"mode": "continue", "code": ""},
        {"mode": "input", "code": "x"},
        {"mode": "continue", "code": "", "runId": "unknown"},
        {"mode": "continue", "code": "", "runId": "x" * 65},
        {"mode": "batch", "options": {"exec": ["ls"]}},
        {"mode": "batch", "options": []},
        [],
    ],
)
async def test_what_no_run_can_be_is_refused(client: BackendClient, body: Any) -> None:
    """With 400, and nothing is run."""
    await client.create()

    answer = await client.request("POST", "/session/demo-01", body)

    assert answer.status == 400
    assert answer.json["type"] == "https://api.backend.ai/probs/invalid-api-params"


async def test_completion_by_both_ways(client: BackendClient) -> None:
    """The kernel answers; what follows the cursor is known to it too."""
    await client.create()
    await client.run("query", "unheard_of = 1; get_ipython().Completer.use_jedi = False")
    body = {"code": "unheard", "options": {"post": " + 1", "row": 0, "col": 7, "line": "unheard"}}

    answer = await client.request("POST", "/session/demo-01/complete", body)
    legacy = await client.execute("complete", "unheard", options={"post": " + 1"}, runId="mine")

    assert answer.json == {"result": {"status": "finished", "completions": ["unheard_of"]}}
    assert legacy == {
        "runId": "mine",
        "status": "finished",
        "exitCode": None,
        "console": [],
        "options": None,
        "files": [],
        "completions": ["unheard_of"],
    }
