"""Code that asks for input: who answers it, and what happens when nobody does."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.core.models import CodeSource, NewExecution
from jupyter_exec_ext.services.idempotency import Fingerprints
from tests import echo_kernel
from tests.api.following import FollowingClient
from tests.conftest import ExecApi

ASK = "print('before'); answer = input('Your name? '); print('hello', answer)"


async def asked(exec_api: ExecApi, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record once its code asks for something."""
    return await exec_api.until(record, lambda shown: "input_request" in shown)


async def answer(exec_api: ExecApi, record: dict[str, Any], value: str) -> Any:
    return await exec_api.request(
        "POST", "executions", record["id"], "input", json={"value": value}
    )


async def test_a_question_is_shown_and_answered(exec_api: ExecApi) -> None:
    """The record tells what is asked, after what was printed before; the answer goes on."""
    record = await exec_api.start_code(ASK)

    shown = await asked(exec_api, record)
    answered = await answer(exec_api, record, "Ada")
    final = await exec_api.final(record)
    late = await answer(exec_api, record, "too late")

    assert shown["state"] == "running"
    assert shown["input_request"]["prompt"] == "Your name? "
    assert shown["input_request"]["password"] is False
    assert shown["result"]["stdout"] == "before\n"
    assert answered.status == 200
    assert final["result"]["stdout"].endswith("hello Ada\n")
    assert "input_request" not in final
    assert (late.status, late.json["code"]) == (409, "NoInputRequest")


async def test_the_open_request_is_known_by_its_event(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """The record names the event of the request that is open, not of one that was answered."""
    record = await exec_api.start_code("first = input('?'); second = input('?')")

    requests = [(await asked(exec_api, record))["input_request"]]
    await answer(exec_api, record, "1")
    await exec_api.until(
        record, lambda shown: shown.get("input_request") not in (None, requests[0])
    )
    requests.append((await asked(exec_api, record))["input_request"])
    await answer(exec_api, record, "2")
    events = await following.events(record)

    asking = [event["id"] for event in events if event["type"] == "input_request"]
    assert [request["event_id"] for request in requests] == asking


async def test_a_password_is_marked_and_stays_out_of_the_record(exec_api: ExecApi) -> None:
    """Neither the answer nor a trace of it is kept."""
    record = await exec_api.start_code("import getpass; n = len(getpass.getpass('PIN: ')); n")

    shown = await asked(exec_api, record)
    await answer(exec_api, record, "geheim-1234")
    final = await exec_api.final(record)

    assert shown["input_request"]["prompt"] == "PIN: "
    assert shown["input_request"]["password"] is True
    assert final["result"]["value"] == 11
    assert "geheim" not in str(final)


async def test_prepared_answers_are_given_in_order(exec_api: ExecApi) -> None:
    """Without any question in the record; when they run out the code meets the end of its input."""
    code = "a = input(); b = input(); print(a, b)\ntry: input()\nexcept EOFError: print('end')"

    record = await exec_api.run_code(code, stdin=["one", "two"])

    assert record["state"] == "succeeded"
    assert record["result"]["stdout"].endswith("one two\nend\n")
    assert record["stdin_count"] == 2


def test_prepared_answers_are_in_no_fingerprint() -> None:
    """What is stored for a request with a key is nothing that a guess can be held against."""
    fingerprints = Fingerprints()
    requests = [
        NewExecution(source=CodeSource(code="input()"), stdin=[text]) for text in ("one", "two")
    ]

    one, two = map(fingerprints.of, requests)

    assert one.split()[0] == two.split()[0]
    assert not fingerprints.is_same(one, two)
    assert Fingerprints().is_same(Fingerprints().of(requests[0]), two)


async def test_an_end_of_input_that_the_code_does_not_expect_fails_it(exec_api: ExecApi) -> None:
    """With a code of its own, and the exception that the code met."""
    record = await exec_api.run_code("input('?')", stdin=[])

    assert record["state"] == "failed"
    assert (record["error"]["code"], record["error"]["ename"]) == ("InputNotGiven", "EOFError")
    assert (
        record["error"]["message"] == "the code requested input, and no client gave any: EOFError"
    )


@pytest.mark.parametrize("exec_config", [{"input_timeout_seconds": 0.5}])
async def test_a_question_that_nobody_answers_ends(exec_api: ExecApi) -> None:
    """After the limit, and the session is usable afterwards."""
    session = await exec_api.new_session()

    record = await exec_api.run_code(ASK, session_id=session["id"])
    after = await exec_api.run_code("1 + 1", session_id=session["id"])

    assert (record["state"], record["error"]["code"]) == ("failed", "InputNotGiven")
    assert "input_request" not in record
    assert after["result"]["value"] == 2


async def test_a_client_can_end_the_input(exec_api: ExecApi) -> None:
    """As ctrl-D in a terminal does: the code meets the end of its input."""
    record = await exec_api.start_code("try: input()\nexcept EOFError: print('end')")
    await asked(exec_api, record)

    await exec_api.request("POST", "executions", record["id"], "input", json={"value": None})

    final = await exec_api.final(record)
    assert (final["state"], final["result"]["stdout"][-4:]) == ("succeeded", "end\n")


async def test_cancelling_ends_a_question(exec_api: ExecApi) -> None:
    """The execution is cancelled, and nothing is asked any more."""
    session = await exec_api.new_session()
    record = await exec_api.start_code(ASK, session_id=session["id"])
    await asked(exec_api, record)

    await exec_api.request("POST", "executions", record["id"], "cancel")
    final = await exec_api.final(record)
    after = await exec_api.run_code("'alive'", session_id=session["id"])

    assert final["state"] == "cancelled"
    assert "input_request" not in final
    assert after["result"]["value"] == "alive"


async def test_a_question_that_comes_at_once_is_not_lost(
    exec_api: ExecApi, jp_data_dir: Path
) -> None:
    """A kernel gets its first code when it can ask, though it could execute before."""
    name = echo_kernel.install(jp_data_dir, "late-stdin", "late-stdin")

    record = await exec_api.start_code("!ask", kernel_name=name)
    await asked(exec_api, record)
    await answer(exec_api, record, "Ada")

    assert (await exec_api.final(record))["result"]["stdout"] == "!ask\nAda\n"


async def test_of_two_answers_one_is_taken(exec_api: ExecApi) -> None:
    """The other is told that nothing is asked."""
    record = await exec_api.start_code("input('?')")
    await asked(exec_api, record)

    answers = await asyncio.gather(*(answer(exec_api, record, name) for name in "ab"))

    assert sorted(shown.status for shown in answers) == [200, 409]
    assert (await exec_api.final(record))["result"]["value"] in ("a", "b")


async def test_notebooks_ask_too(exec_api: ExecApi) -> None:
    """A question belongs to the run, whatever it runs."""
    path = exec_api.write_notebook(
        "nb.ipynb", "x = input('one')", "y = input('two')", "print(x, y)"
    )
    record = await exec_api.start(path)

    for value in ("1", "2"):
        await asked(exec_api, record)
        assert (await answer(exec_api, record, value)).status == 200

    assert (await exec_api.final(record))["result"]["stdout"].endswith("1 2\n")


async def test_what_does_not_ask_takes_no_answer(exec_api: ExecApi) -> None:
    """409 for an execution that runs or has ended, 404 for one that is not there."""
    record = await exec_api.start_code("import time; time.sleep(60)")

    refused = await answer(exec_api, record, "x")
    unknown = await answer(exec_api, {"id": "no-such"}, "x")
    await exec_api.request("POST", "executions", record["id"], "cancel")

    assert (refused.status, refused.json["code"]) == (409, "NoInputRequest")
    assert (unknown.status, unknown.json["code"]) == (404, "ExecutionNotFound")
