"""Executions through Qinling's door: input, output, ids, lists, logs."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jupyter_exec_ext.core.models import Execution, ExecutionError
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.qinling.wire import function_id_of
from tests.dialects.qinling.conftest import UNTIL_GO, Qinling
from tests.stalling import taken_when_cut

SHOW = "import os\n{n: os.environ.get(n) for n in ('a', 'b', 'QINLING_INPUT')}"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ('{"a": "x", "b": [1, {"c": null}]}', {"a": "x", "b": '[1,{"c":null}]'}),
        ('{"a": 1.5, "b": null}', {"a": "1.5"}),
        ("Qinling", {"QINLING_INPUT": "Qinling"}),
        ("6", {"QINLING_INPUT": "6"}),
        ("[1, 2]", {"QINLING_INPUT": "[1, 2]"}),
        ("6.5", {"QINLING_INPUT": "6.5"}),
        ("true", {"QINLING_INPUT": "true"}),
        ("", {"QINLING_INPUT": ""}),
        (None, {}),
    ],
)
async def test_an_input_becomes_variables(
    qinling: Qinling, given: str | None, seen: dict[str, str]
) -> None:
    """Each key of an object is one; any other text is one with a name of ours."""
    qinling.api.write_notebook("nb.ipynb", SHOW)

    output = await qinling.output("nb.ipynb", input=given)

    assert {name: value for name, value in output.items() if value is not None} == seen


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("'Hello'", "Hello"),
        ("'42'", "42"),
        ("42", 42),
        ("10**400", 10**400),
        ("{'a': (1, 2.5, None, True)}", {"a": [1, 2.5, None, True]}),
        ("float('nan')", "nan"),
        ("object", "object"),
        ("print('no value')", "before"),
        ("from IPython.display import JSON\nJSON({'a': 1})", {"a": 1}),
    ],
)
async def test_the_output_is_what_was_displayed_last(
    qinling: Qinling, code: str, output: object
) -> None:
    """As JSON where it is a literal, else its text."""
    qinling.api.write_notebook("nb.ipynb", "'before'", code)

    assert await qinling.output("nb.ipynb") == output


async def test_a_notebook_can_name_its_outputs(qinling: Qinling) -> None:
    """Then they are an object, by their names."""
    names = {"outputs": ["a", "b", "none"]}
    qinling.api.write_notebook("nb.ipynb", "a = {'x': [1]}; b = object; 'not this'", qinling=names)

    output = await qinling.output("nb.ipynb")

    assert output["a"] == {"x": [1]}
    assert isinstance(output["b"], str)
    assert output["none"] is None


async def test_one_output_can_be_the_output_itself(qinling: Qinling) -> None:
    """The variable `qinling_output`, where a notebook names no other."""
    code = "qinling_output = None; 'not this'"
    qinling.api.write_notebook("one.ipynb", code, qinling={"outputs": ["qinling_output"]})
    qinling.api.write_notebook("two.ipynb", code, qinling={"outputs": ["qinling_output", "a"]})

    assert await qinling.output("one.ipynb") is None
    assert await qinling.output("two.ipynb") == {"qinling_output": None, "a": None}


@pytest.mark.parametrize("exec_config", [{"max_variables": 2}])
async def test_names_of_outputs_that_cannot_be_are_left_out(qinling: Qinling) -> None:
    """And what is more than may be gathered: a notebook is no request, and runs."""
    names = ["", "a\n", "x" * 257, 1, None, "a", "a", "b", "c"]
    qinling.api.write_notebook("nb.ipynb", "a = 1; b = 2; c = 3", qinling={"outputs": names})

    assert await qinling.output("nb.ipynb") == {"a": 1, "b": 2}


async def test_code_that_asks_meets_the_end_of_its_input(qinling: Qinling) -> None:
    """At once: no client of Qinling's can answer it."""
    qinling.api.write_notebook("nb.ipynb", "input('who?')")

    execution = await qinling.create("nb.ipynb")

    assert execution["status"] == "failed"
    assert (await qinling.api.get(execution))["error"]["code"] == "InputNotGiven"


async def test_a_runtime_that_is_gone_is_a_conflict(qinling: Qinling) -> None:
    """In Qinling's words."""
    qinling.api.write_notebook("nb.ipynb", "1", kernelspec={"name": "gone", "display_name": "g"})

    answer = await qinling.request("POST", "executions", {"function_id": "nb.ipynb"})

    assert (answer.status, answer.json["faultstring"]) == (409, "Runtime gone is not available.")


async def test_an_id_is_the_same_in_any_spelling(qinling: Qinling, echo_kernel_name: str) -> None:
    """Of functions and of executions, in bodies, paths and filters."""
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "1", kernelspec=spec)
    chosen, function = str(uuid.uuid4()), function_id_of("nb.ipynb")
    spelt = chosen.upper().replace("-", "")

    created = await qinling.create(function.upper(), id=spelt)
    again = await qinling.request("POST", "executions", {"function_id": function, "id": chosen})
    listed = await qinling.listed(f"?function_id={function.upper()}")
    log = await qinling.request("GET", f"executions/{spelt}/log")

    assert (created["id"], created["function_id"]) == (chosen, function)
    assert again.json["faultstring"] == "Duplicate entry for Execution: ['id']"
    assert [shown["id"] for shown in listed] == [chosen]
    assert (await qinling.get(f"executions/{chosen.upper()}"))["id"] == chosen
    assert log.body.decode().startswith(f"Start execution: {chosen}\n")
    assert (await qinling.get(f"functions/{function.upper()}"))["id"] == function
    assert (await qinling.request("DELETE", f"executions/{spelt}")).status == 204


async def test_no_key_of_the_native_api_is_an_id(qinling: Qinling, echo_kernel_name: str) -> None:
    """Whatever it looks like: only those of executions that were created here are."""
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "1", kernelspec=spec)
    wanted = str(uuid.uuid4())
    for key, labels in ((wanted, {}), ("no id", {"dialect": "qinling"})):
        await qinling.api.request(
            "POST",
            "executions",
            json={"notebook": {"path": "nb.ipynb"}, "labels": labels},
            headers={"Idempotency-Key": f"qinling:{key}"},
        )

    natives = (await qinling.api.request("GET", "executions")).json["executions"]
    listed = {shown["id"] for shown in await qinling.listed()}

    assert listed == {native["id"] for native in natives}
    assert len(listed) == 2
    assert (await qinling.request("GET", f"executions/{wanted}")).status == 404


async def test_of_a_filter_given_twice_the_last_counts(
    qinling: Qinling, keep_final: Callable[..., Awaitable[Execution]]
) -> None:
    kept = await keep_final()

    assert await qinling.listed("?status=success&status=failed") == []
    (shown,) = await qinling.listed("?status=failed&status=success")
    assert shown["id"] == kept.id


async def test_a_client_may_choose_the_id(qinling: Qinling, echo_kernel_name: str) -> None:
    """Once; it is the id in all that is shown, and what is asked for."""
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "1", kernelspec=spec)
    chosen = str(uuid.uuid4())
    body = {"function_id": "nb.ipynb", "id": chosen}

    answers = await asyncio.gather(*(qinling.request("POST", "executions", body) for _ in range(3)))
    again = await qinling.request("POST", "executions", body)
    (native,) = (await qinling.api.request("GET", "executions")).json["executions"]
    taken = await qinling.request("POST", "executions", {**body, "id": native["id"]})

    assert sorted(answer.status for answer in answers) == [201, 400, 400]
    assert again.json["faultstring"] == taken.json["faultstring"]
    assert again.json["faultstring"] == "Duplicate entry for Execution: ['id']"
    assert [shown["id"] for shown in await qinling.listed()] == [chosen]
    assert (await qinling.get(f"executions/{chosen}"))["id"] == chosen
    log = await qinling.request("GET", f"executions/{chosen}/log")
    assert log.body.decode().startswith(f"Start execution: {chosen}\n")
    assert (await qinling.request("DELETE", f"executions/{chosen}")).status == 204
    assert await qinling.listed() == []


SECRET = '{"a": 1, "Password": "p-1", "deep": [{"api_key": "p-2", "b": 2}], "TOKENS": ["p-3"]}'


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            SECRET,
            '{"a": 1, "Password": "***", "deep": [{"api_key": "***", "b": 2}], "TOKENS": "***"}',
        ),
        ('[{"password": "p-1"}, 2]', '[{"password": "***"}, 2]'),
        ("[1,2]", "[1,2]"),
        ('{"password": "p-1", "a": NaN}', None),
        ('{"password": "p-1",}', None),
        ('["p-1",]', None),
        (' {"a": "p-1"', None),
        ("Password: p-1", None),
        ('"the secret is p-1"', None),
        (r'"p\u0061ss is p-1"', None),
        ("p-1" * 400, None),
        ("Qinling", "Qinling"),
        ("6.5", "6.5"),
    ],
)
async def test_secrets_are_masked_and_not_stored(
    qinling: Qinling, echo_kernel_name: str, given: str, shown: str | None
) -> None:
    """By their names, however deep; what looks like JSON and is none, or may be a secret, is not
    stored at all. A list shows no input.
    """
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "1", kernelspec=spec)

    created = await qinling.create("nb.ipynb", input=given)
    native = await qinling.api.request("GET", "executions", created["id"])

    assert created["input"] == shown
    assert (await qinling.get(f"executions/{created['id']}"))["input"] == shown
    assert not any(f"p-{number}" in native.body.decode() for number in (1, 2, 3))
    assert [execution["input"] for execution in await qinling.listed()] == [None]


@pytest.mark.parametrize("exec_config", [{"QinlingOptions": {"mask_inputs": False}}])
async def test_masking_can_be_switched_off(
    qinling: Qinling, echo_kernel_name: str, jp_serverapp: Any
) -> None:
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "1", kernelspec=spec)

    assert json.loads((await qinling.create("nb.ipynb", input=SECRET))["input"]) == json.loads(
        SECRET
    )


@pytest.mark.parametrize(
    "given",
    ['{"not a name": 1}', '{"PATH": "x"}', '{"a": "\\u0000"}', '{"a": "%s"}' % ("x" * 200_000)],
)
async def test_an_input_that_is_no_variable_is_refused(
    qinling: Qinling, echo_kernel_name: str, given: str
) -> None:
    """With 400, and without its value."""
    spec = {"name": echo_kernel_name, "display_name": "e"}
    qinling.api.write_notebook("nb.ipynb", "1", kernelspec=spec)

    answer = await qinling.request(
        "POST", "executions", {"function_id": "nb.ipynb", "input": given}
    )

    assert (answer.status, sorted(answer.json)) == (400, ["debuginfo", "faultcode", "faultstring"])
    assert "xxx" not in answer.json["faultstring"]


async def test_a_log_has_both_streams_and_the_traceback(qinling: Qinling) -> None:
    """Between two lines that frame it, without colours."""
    error = "import sys\nprint('err', file=sys.stderr)"
    qinling.api.write_notebook("nb.ipynb", "print('out')", error, "print('end', end='')", "1 / 0")
    key = (await qinling.create("nb.ipynb"))["id"]

    log = (await qinling.request("GET", f"executions/{key}/log")).body.decode()

    assert log.startswith(f"Start execution: {key}\nout\nerr\nend\n")
    assert "ZeroDivisionError: division by zero\n" in log
    assert "\x1b" not in log
    assert log.endswith(f"\nFinished execution: {key}\n")


async def test_a_log_has_why_the_kernel_did_not_start(qinling: Qinling) -> None:
    (qinling.api.root / "re.py").write_text("x = 1")
    qinling.api.write_notebook("nb.ipynb", "1")
    shown = await qinling.create("nb.ipynb")

    log = (await qinling.request("GET", f"executions/{shown['id']}/log")).body.decode()

    assert "re.py in the kernel's folder hides" in json.loads(shown["result"])["output"]
    assert "AttributeError: module 're' has no attribute 'compile'\n" in log


async def test_lists_are_filtered(
    qinling: Qinling, keep_final: Callable[..., Awaitable[Execution]]
) -> None:
    """By all fields and operators; the oldest comes first, over all pages of the store."""
    kept = [
        await keep_final(
            minute=number,
            path=f"nb{number % 3}.ipynb",
            description="" if number % 2 else f"Nightly {number}",
            state=State.SUCCEEDED if number % 5 else State.FAILED,
            error=None if number % 5 else ExecutionError(code="CodeError", message="E: m"),
        )
        for number in range(205)
    ]
    one = function_id_of("nb1.ipynb")

    async def numbers(query: str = "") -> list[int]:
        places = {execution.id: number for number, execution in enumerate(kept)}
        return [places[shown["id"]] for shown in await qinling.listed(query)]

    everything = list(range(205))
    assert await numbers() == everything
    assert await numbers("?all_projects=false") == everything
    assert await numbers("?project_id=default") == everything
    assert await numbers("?project_id=other") == []
    assert await numbers(f"?function_id={one}") == everything[1::3]
    assert await numbers("?function_id=nb1.ipynb") == everything[1::3]
    assert await numbers("?function_id=in:nb1.ipynb,nb2.ipynb") == [n for n in everything if n % 3]
    assert await numbers("?function_id=any-text") == []
    assert await numbers("?status=eq:failed") == everything[::5]
    assert await numbers("?status=neq:failed") == [n for n in everything if n % 5]
    assert await numbers("?status=") == await numbers("?status=pending") == []
    assert await numbers("?description=has:NIGHT") == everything[::2]
    assert await numbers("?description=neq:Nightly%202") == [n for n in everything[::2] if n != 2]
    assert await numbers(f"?function_id={one}&status=failed&description=eq:Nightly%2010") == [10]


KILLED = "Function execution failed because of too much resource consumption"


@pytest.mark.parametrize(
    ("code", "signal", "status", "output"),
    [
        ("KernelDied", "SIGKILL", "failed", KILLED),
        ("KernelDied", None, "error", "Function execution failed. why"),
        ("ServerRestarted", None, "error", "Function execution failed. why"),
        ("Timeout", None, "failed", "Function execution timeout."),
        ("CodeError", None, "failed", "why"),
    ],
)
async def test_why_it_failed_is_the_output(
    qinling: Qinling,
    keep_final: Callable[..., Awaitable[Execution]],
    code: str,
    signal: str | None,
    status: str,
    output: str,
) -> None:
    """The fault of the code is `failed`, that of the service `error`."""
    error = ExecutionError(code=code, message="why", signal=signal)
    await keep_final(state=State.FAILED, error=error)

    (shown,) = await qinling.listed()

    assert shown["status"] == status
    assert json.loads(shown["result"])["output"] == output


@pytest.mark.parametrize("exec_config", [{"QinlingOptions": {"sync_wait_seconds": 0.2}}])
async def test_who_waits_too_long_is_told_that_it_runs(qinling: Qinling) -> None:
    """A synchronous request ends with 201 and `running`; the execution goes on."""
    qinling.api.write_notebook("nb.ipynb", UNTIL_GO)

    shown = await qinling.create("nb.ipynb")
    (qinling.api.root / "go").touch()
    final = await qinling.api.final(shown)

    assert (shown["status"], shown["result"], shown["sync"]) == ("running", None, True)
    assert final["state"] == "succeeded"
    assert (await qinling.get(f"executions/{shown['id']}"))["status"] == "success"


async def test_much_output_is_sent_in_pieces(qinling: Qinling) -> None:
    """A list and a log of several megabytes are whole."""
    code = "print('y' * 3_000_000)\n'x' * 2_000_000"
    qinling.api.write_notebook("nb.ipynb", code)

    keys = [(await qinling.create("nb.ipynb"))["id"] for _ in range(2)]
    log = await qinling.request("GET", f"executions/{keys[0]}/log")
    listed = await qinling.listed()

    assert [shown["id"] for shown in listed] == keys
    assert all(shown["result"].count("x") == 2_000_000 for shown in listed)
    assert log.headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert log.body.count(b"y") == 3_000_000
    assert log.body.endswith(f"Finished execution: {keys[0]}\n".encode())


@pytest.mark.parametrize("exec_config", [{"transfer_timeout_seconds": 1}])
@pytest.mark.parametrize("path", ["executions/{}/log", "executions"])
async def test_a_client_that_takes_nothing_is_cut_off(
    qinling: Qinling, jp_http_port: int, jp_base_url: str, path: str
) -> None:
    """No answer waits for ever to be taken."""
    cells = ["print('x' * 3_000_000)"] * 4
    qinling.api.write_notebook("nb.ipynb", *cells, qinling={"outputs": ["text"]})
    qinling.api.write_notebook("big.ipynb", "text = 'y' * 3_000_000", qinling={"outputs": ["text"]})
    key = (await qinling.create("nb.ipynb"))["id"]
    for _ in range(4):
        await qinling.create("big.ipynb")
    target = f"{jp_base_url}exec/qinling/v1/{path.format(key)}"
    taken = await taken_when_cut(jp_http_port, target, {"X-Auth-Token": qinling.token})
    assert taken.startswith(b"HTTP/1.1 200 ")
    assert len(taken) < 12_000_000
