"""Commands: programs that run beside a kernel, in up to three steps."""

import base64
import json
import shutil
from typing import Any

import pytest

from tests.api.commanding import run_command, start_command
from tests.api.following import FollowingClient, text_of
from tests.conftest import ExecApi

needs_compiler = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("make")),
    reason="cc and make are not installed: apt-get install gcc make libc6-dev",
)

MAKEFILE = """
main: main.o twice.o
\tcc -o main main.o twice.o
clean:
\trm -f main *.o
"""
MAIN_C = """
#include <stdio.h>
int twice(int);
int main(void) { printf("%d\\n", twice(21)); return 0; }
"""
TWICE_C = "int twice(int n) { return 2 * n; }\n"


@pytest.fixture(params=["python", "r", "bash"])
def kernel_name(request: pytest.FixtureRequest) -> str:
    """A kernel of each language that runs commands."""
    fixture = {"r": "ir_kernel", "bash": "bash_kernel"}.get(request.param)
    return str(request.getfixturevalue(fixture)) if fixture else "python3"


def write(exec_api: ExecApi, **files: str) -> None:
    for name, text in files.items():
        (exec_api.root / name.replace("_", ".")).write_text(text)


@needs_compiler
async def test_three_steps_build_and_run_a_c_program(exec_api: ExecApi, kernel_name: str) -> None:
    """In the kernel's folder, one after the other; the record has each one's exit code."""
    write(exec_api, Makefile=MAKEFILE, main_c=MAIN_C, twice_c=TWICE_C, old_o="")

    record = await run_command(
        exec_api, {"clean": "*", "build": "make", "exec": ["./main"]}, kernel_name=kernel_name
    )

    assert record["state"] == "succeeded", record
    assert record["type"] == "command"
    assert record["source"] == {"clean": "*", "build": "make", "exec": ["./main"]}
    assert record["result"]["exit_codes"] == {"clean": 0, "build": 0, "exec": 0}
    assert record["result"]["stdout"].endswith("\n42\n")
    assert "cc " in record["result"]["stdout"]
    assert record["progress"] == {"done": 3, "total": 3}
    assert not (exec_api.root / "old.o").exists()


@needs_compiler
async def test_the_default_steps_of_one_c_file(exec_api: ExecApi) -> None:
    """The build is decided when it begins, by what the step before left, and so is the program."""
    write(exec_api, hello_c='#include <stdio.h>\nint main(void) { puts("hello"); }\n')

    record = await run_command(exec_api, {"clean": "*", "build": "*", "exec": "*"})

    assert record["state"] == "succeeded", record
    assert record["result"]["stdout"] == "hello\n"
    assert record["result"]["exit_codes"] == {"build": 0, "exec": 0}
    assert record["progress"] == {"done": 3, "total": 3}


async def test_the_default_steps_of_a_python_program(exec_api: ExecApi, kernel_name: str) -> None:
    """There is nothing to build, so that step has no exit code."""
    write(exec_api, job_py="import sys; print('job'); sys.exit(4)")

    record = await run_command(
        exec_api, {"clean": "*", "build": "*", "exec": "*"}, kernel_name=kernel_name
    )

    assert record["result"]["exit_codes"] == {"exec": 4}
    assert record["result"]["stdout"] == "job\n"


async def test_a_python_program_runs_with_the_python_of_the_kernel(exec_api: ExecApi) -> None:
    """So it finds the packages that the session's code finds."""
    write(exec_api, main_py="import sys; print(sys.executable)")

    record = await run_command(exec_api, "*")
    kernel = await exec_api.run_code("import sys; sys.executable")

    assert record["result"]["stdout"].strip() == kernel["result"]["value"]


async def test_streams_inputs_and_exit_code(exec_api: ExecApi, kernel_name: str) -> None:
    """Both streams apart, whatever bytes they have; inputs are there for the command alone."""
    session = await exec_api.new_session(kernel_name=kernel_name)
    command = r"printf '%s|\303\244|\377|\t' \"$NAME\"; echo wrong >&2; exit 7".replace('\\"', '"')

    record = await run_command(
        exec_api, command, session_id=session["id"], inputs={"NAME": "a 'b' \"c\" $d"}
    )
    after = await run_command(exec_api, 'echo "<$NAME>"', session_id=session["id"])

    assert record["state"] == "failed"
    assert record["result"]["stdout"] == "a 'b' \"c\" $d|ä|\ufffd|\t"
    assert record["result"]["stderr"] == "wrong\n"
    assert record["result"]["exit_codes"] == {"exec": 7}
    assert record["error"] == {
        "code": "CommandFailed",
        "message": "the exec step ended with exit code 7",
        "exit_code": 7,
        "step": "exec",
    }
    assert after["result"]["stdout"] == "<>\n"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-program-here"], 127, "no-such-program-here: no such file"),
        (["./plain"], 126, "./plain: permission denied"),
        ("no-such-program-here", 127, "not found"),
        ("*", 127, "nothing here fits '*': looked for ./main"),
        ([""], 127, ""),
    ],
)
async def test_what_cannot_be_started(
    exec_api: ExecApi, command: Any, code: int, words: str
) -> None:
    """Has the exit code of a shell, and says why on its standard error."""
    write(exec_api, plain="text")
    if command == [""]:
        answer = await exec_api.request("POST", "executions", json={"command": {"exec": command}})
        assert answer.status == 422
        return

    record = await run_command(exec_api, command)

    assert record["error"]["code"] == "CommandFailed"
    assert record["result"]["exit_codes"] == {"exec": code}
    assert words in record["result"]["stderr"]


async def test_a_signal_is_named(exec_api: ExecApi) -> None:
    """It counts 128 and its number."""
    record = await run_command(exec_api, {"build": "kill -SEGV $$", "exec": "echo never"})

    assert record["result"]["exit_codes"] == {"build": 139}
    assert record["error"]["signal"] == "SIGSEGV"
    assert record["error"]["step"] == "build"
    assert record["result"]["stdout"] == ""


async def test_a_clean_that_fails_does_not_matter_and_a_build_does(exec_api: ExecApi) -> None:
    """Nothing runs after a build that failed."""
    steps = {"clean": "exit 3", "build": "exit 4", "exec": "echo never"}

    record = await run_command(exec_api, steps)

    assert record["state"] == "failed"
    assert record["result"]["exit_codes"] == {"clean": 3, "build": 4}
    assert (record["error"]["step"], record["error"]["exit_code"]) == ("build", 4)
    assert record["progress"] == {"done": 2, "total": 3}
    assert record["result"]["stdout"] == ""

    lucky = await run_command(exec_api, {"clean": "exit 3", "exec": "echo done"})

    assert lucky["state"] == "succeeded"
    assert lucky["result"]["exit_codes"] == {"clean": 3, "exec": 0}


@pytest.mark.parametrize(("lines", "expected"), [(["a", "ü $(b)"], "a\nü $(b)\n"), (None, "")])
async def test_the_last_step_reads_prepared_lines(
    exec_api: ExecApi, kernel_name: str, lines: list[str] | None, expected: str
) -> None:
    """Then, or without any, the end; the record says how many there were."""
    record = await run_command(
        exec_api,
        {"build": "cat; echo built", "exec": "cat"},
        kernel_name=kernel_name,
        **({} if lines is None else {"stdin": lines}),
    )

    assert record["state"] == "succeeded"
    assert record["result"]["stdout"] == f"built\n{expected}"
    assert record.get("stdin_count") == (None if lines is None else 2)


async def test_a_program_that_does_not_read_ends_all_the_same(exec_api: ExecApi) -> None:
    """More than a pipe holds is left where it is."""
    record = await run_command(exec_api, "true", stdin=["x" * 1000] * 500)

    assert record["state"] == "succeeded"


async def test_events_tell_the_step_while_it_runs(
    exec_api: ExecApi, following: FollowingClient, kernel_name: str
) -> None:
    """Output comes before the program ends, and says of which step it is."""
    waiting = "echo now; while [ ! -e go ]; do sleep 0.02; done; echo later >&2"
    record = await start_command(
        exec_api, {"build": "echo built", "exec": waiting}, kernel_name=kernel_name
    )

    async with following.stream(record) as stream:
        events = await stream.until("stream", name="stdout", step="exec", text="now\n")
        running = await exec_api.get(record)
        (exec_api.root / "go").touch()
        events += await stream.rest()

    assert running["state"] == "running"
    assert running["progress"] == {"done": 1, "total": 2, "current_step": "exec"}
    assert running["result"]["exit_codes"] == {"build": 0}
    streams = [event for event in events if event["type"] == "stream"]
    assert [(event["step"], event["name"], event["text"]) for event in streams] == [
        ("build", "stdout", "built\n"),
        ("exec", "stdout", "now\n"),
        ("exec", "stderr", "later\n"),
    ]
    assert all("cell_index" not in event for event in streams)


async def test_the_kernel_and_the_command_share_folder_and_environment(
    exec_api: ExecApi, kernel_name: str
) -> None:
    """What the session's code changed there holds for its commands."""
    (exec_api.root / "sub").mkdir()
    code = {
        "python3": "import os; os.chdir('sub'); os.environ['SEEN'] = 'yes'; json = sys = None",
        "test-ir": "setwd('sub'); Sys.setenv(SEEN = 'yes'); pipe <- paste <- NULL",
        "test-bash": "cd sub; export SEEN=yes; printf() { :; }; alias exec=false; set -eu",
    }[kernel_name]
    await exec_api.new_session(name="s", kernel_name=kernel_name, path="")
    await exec_api.run_code(code, session_name="s")

    record = await run_command(exec_api, 'basename "$PWD"; echo $SEEN', session_name="s")
    failed = await run_command(exec_api, "exit 5", session_name="s")
    after = await run_command(exec_api, "true", session_name="s", variable_names=["x"])

    assert record["result"]["stdout"] == "sub\nyes\n"
    assert failed["result"]["exit_codes"] == {"exec": 5}
    assert after["state"] == "succeeded"
    assert list(after["result"]["variables"]) == ["x"]


async def test_nothing_is_left_in_the_kernel(exec_api: ExecApi) -> None:
    """No name is bound, and prompt numbers go on where they were."""
    names = "sorted(name for name in globals() if not name.startswith('_'))"
    before = await exec_api.run_code(names, session_name="s")

    await run_command(exec_api, "echo x", session_name="s")
    after = await exec_api.run_code(names, session_name="s")

    assert after["result"]["value"] == before["result"]["value"]
    assert after["result"]["outputs"][0]["execution_count"] == 2


async def test_bash_keeps_no_values_in_its_history(exec_api: ExecApi, bash_kernel: str) -> None:
    """It would write them to a file at its end; what the user typed stays there."""
    session = await exec_api.new_session(kernel_name=bash_kernel)
    await exec_api.run_code("echo typed", session_id=session["id"])

    await run_command(
        exec_api, "cat", session_id=session["id"], stdin=["line"], inputs={"NAME": "value"}
    )
    history = await exec_api.run_code("history", session_id=session["id"])

    shown = history["result"]["stdout"]
    assert "echo typed" in shown
    assert "JUPYTER_EXEC_EXT_END" not in shown
    assert base64.b64encode(b"value").decode() not in shown


@pytest.mark.parametrize(
    ("body", "status", "target"),
    [
        ({"command": {}}, 400, None),
        ({"command": {"build": "make"}}, 400, None),
        ({"command": {"exec": None}}, 422, "command"),
        ({"command": {"exec": ""}}, 422, "command.exec"),
        ({"command": {"exec": []}}, 422, "command.exec"),
        ({"command": {"exec": ["a", 1]}}, 400, None),
        ({"command": {"exec": "a\0b"}}, 422, "command.exec"),
        ({"command": {"exec": ["a", "\ud800"]}}, 400, None),
        ({"command": {"build": " ", "exec": "a"}}, 422, "command.build"),
        ({"command": {"exec": "x" * 1_000_001}}, 413, "command"),
        ({"command": {"exec": "a"}, "code": "1"}, 400, "code"),
        ({"command": {"exec": "a"}, "cell_timeout_seconds": 1}, 422, "cell_timeout_seconds"),
        (
            {"command": {"exec": "a"}, "session_name": "s", "on_busy": "subshell"},
            422,
            "on_busy",
        ),
        ({"command": {"exec": "a", "more": 1}}, 400, None),
    ],
)
async def test_what_is_refused(
    exec_api: ExecApi, body: dict[str, Any], status: int, target: str | None
) -> None:
    """Before anything runs, with the field at fault."""
    answer = await exec_api.request("POST", "executions", json=body)

    assert answer.status == status, answer.body
    assert target is None or answer.json["target"] == target


async def test_a_kernel_that_runs_no_commands(exec_api: ExecApi, echo_kernel_name: str) -> None:
    """The refusal names the languages whose kernels do, and so does the probe."""
    body = {"command": {"exec": "true"}, "kernel_name": echo_kernel_name}

    answer = await exec_api.request("POST", "executions", json=body)
    shown = (await exec_api.request("GET")).json

    assert answer.status == 422
    assert (answer.json["code"], answer.json["target"]) == ("InvalidArgument", "command")
    assert "python, r, bash" in answer.json["message"]
    specs = {spec["name"]: spec["runs_commands"] for spec in shown["kernelspecs"]}
    assert specs[echo_kernel_name] is False
    assert specs["python3"] is True
    assert "commands" in shown["features"]


async def test_a_kernelspec_that_names_no_language(
    exec_api: ExecApi, echo_kernel_name: str
) -> None:
    """Then the kernel itself is asked, and the execution fails."""
    path = next(exec_api.root.parent.rglob(f"kernels/{echo_kernel_name}/kernel.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "language": ""}))

    record = await run_command(exec_api, "true", kernel_name=echo_kernel_name)

    assert record["state"] == "failed"
    assert record["error"]["code"] == "CommandFailed"
    assert "cannot run commands" in record["error"]["message"]


async def test_records_of_commands(exec_api: ExecApi) -> None:
    """They are listed by their type, cut in lists, have a log and no notebook."""
    long = "echo " + "x" * 1000
    record = await run_command(exec_api, {"build": ["echo", *["y" * 90] * 4], "exec": long})
    await exec_api.run_code("1")

    listed = (await exec_api.request("GET", "executions", params={"type": "command"})).json
    notebook = await exec_api.request("GET", "executions", record["id"], "notebook")

    (basic,) = listed["executions"]
    assert basic["id"] == record["id"]
    assert basic["source"] == {"build": ["echo", "y" * 90, "y" * 90, "y" * 13], "exec": long[:200]}
    assert (await exec_api.get(record))["source"]["exec"] == long
    assert await exec_api.log(record) == " ".join(["y" * 90] * 4) + "\n" + "x" * 1000 + "\n"
    assert notebook.status == 409
    assert notebook.json["code"] == "NoNotebook"


async def test_the_same_command_with_the_same_key_runs_once(exec_api: ExecApi) -> None:
    """Another command with the key is refused."""
    headers = {"Idempotency-Key": "k"}

    async def send(command: str) -> Any:
        body = {"command": {"exec": command}}
        return await exec_api.request("POST", "executions", json=body, headers=headers)

    first, again, other = await send("true"), await send("true"), await send("false")

    assert first.json["id"] == again.json["id"]
    assert other.status == 409
    await exec_api.final(first.json)


async def test_a_progress_bar(exec_api: ExecApi) -> None:
    """A carriage return overwrites in the result, and stays in the log."""
    record = await run_command(exec_api, r"printf '10%%\r'; printf '100%%\n'")

    assert record["result"]["stdout"] == "100%\n"
    assert await exec_api.log(record) == "10%\r100%\n"


async def test_characters_that_come_in_pieces_stay_whole(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Also where a program writes them byte by byte."""
    program = (
        "import os, time\n"
        "for byte in 'aä€😀'.encode() * 3:\n"
        "    os.write(1, bytes([byte])); time.sleep(0.03)\n"
    )
    write(exec_api, main_py=program)

    record = await run_command(exec_api, "*")

    assert record["result"]["stdout"] == "aä€😀" * 3
    assert text_of(await following.events(record)) == "aä€😀" * 3
