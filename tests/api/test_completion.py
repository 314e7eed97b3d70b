"""What can stand where somebody writes code: the kernel itself is asked."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.conftest import install_kernel
from tests.conftest import Answer, ExecApi


async def complete(exec_api: ExecApi, session: dict[str, Any], code: str, **more: Any) -> Answer:
    return await exec_api.request(
        "POST", "sessions", session["id"], "complete", json={"code": code, **more}
    )


async def test_a_kernel_completes_by_the_values_it_has(exec_api: ExecApi) -> None:
    """At the end, or where the cursor stands; positions count characters, not bytes."""
    session = await exec_api.new_session(kernel_name="python3")
    code = "unheard_of = 1; get_ipython().Completer.use_jedi = False"
    await exec_api.run_code(code, session_id=session["id"])

    at_end = (await complete(exec_api, session, "'ä😀'; unheard_")).json
    in_code = (await complete(exec_api, session, "unheard_ + 1", cursor_pos=8)).json

    assert at_end == {"matches": ["unheard_of"], "cursor_start": 6, "cursor_end": 14}
    assert in_code == {"matches": ["unheard_of"], "cursor_start": 0, "cursor_end": 8}


async def test_a_kernel_that_knows_nothing_completes_nothing(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """No matches is an answer too."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)

    answer = await complete(exec_api, session, "abc", cursor_pos=2)

    assert answer.status == 200
    assert answer.json == {"matches": [], "cursor_start": 2, "cursor_end": 2}


async def test_a_busy_session_completes_nothing(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """It says so at once, since its kernel would not answer."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)
    running = await exec_api.start_code("!sleep 60", session_id=session["id"])
    await exec_api.until_printed(running, "!sleep")

    answer = await complete(exec_api, session, "abc")

    assert (answer.status, answer.json["code"]) == (409, "KernelBusy")
    await exec_api.request("POST", "executions", running["id"], "cancel")


@pytest.mark.parametrize("exec_config", [{"max_code_bytes": 10}])
async def test_what_cannot_be_completed_is_refused(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """A cursor outside of the code, text that is not Unicode, too much of it."""
    session = await exec_api.new_session(kernel_name=echo_kernel_name)

    answers = [
        await complete(exec_api, session, "abc", cursor_pos=4),
        await complete(exec_api, session, "abc", cursor_pos=-1),
        await complete(exec_api, session, "x" * 11),
        await complete(exec_api, {"id": "nobody"}, "abc"),
    ]
    no_text = await exec_api.request(
        "POST", "sessions", session["id"], "complete", body=b'{"code": "\\ud800"}'
    )

    assert [answer.status for answer in answers] == [422, 400, 413, 404]
    assert no_text.status in (400, 422)


async def test_a_kernel_that_does_not_start_completes_nothing(
    exec_api: ExecApi, jp_data_dir: Path
) -> None:
    """The answer says so."""
    argv = [sys.executable, "-c", "raise SystemExit(3)", "{connection_file}"]
    install_kernel(jp_data_dir, "no-start", argv, "none")
    session = await exec_api.new_session(kernel_name="no-start")

    answer = await complete(exec_api, session, "abc")

    assert (answer.status, answer.json["code"]) == (503, "Unavailable")


async def test_a_session_is_given_another_name(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """The old name is free then, the new one leads to it, and no other session can have it."""
    session = await exec_api.new_session(name="before", kernel_name=echo_kernel_name)
    other = await exec_api.new_session(name="other", kernel_name=echo_kernel_name)

    async def rename(name: str) -> Answer:
        return await exec_api.request("PUT", "sessions", session["id"], json={"name": name})

    answer = await rename("after")
    again = await rename("after")
    taken = await rename("other")
    empty = await rename("")

    assert (answer.status, answer.json["name"]) == (200, "after")
    assert again.status == 200
    assert (taken.status, taken.json["code"]) == (409, "SessionNameTaken")
    assert other["id"] in taken.json["message"]
    assert (empty.status, empty.json["target"]) == (422, "name")
    found = await exec_api.request("POST", "sessions", json={"name": "after"})
    assert (found.status, found.json["id"]) == (200, session["id"])
    new = await exec_api.request(
        "POST", "sessions", json={"name": "before", "kernel_name": echo_kernel_name}
    )
    assert new.status == 201
