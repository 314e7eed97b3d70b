"""Programs from the command line that end before they want to: nothing of them is left."""

import json
import os
import re
import signal
import struct
import sys
from pathlib import Path

import psutil
import pytest

from jupyter_exec_ext.cli.embedded import BASE_URL
from jupyter_exec_ext.client import ExecClient

from .machine import Machine, RunningServer, assert_gone, descendants, wait_until
from .programs import c_program, needs_compiler

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

SLEEPER = "echo begun; echo $$ > pid; exec sleep 600"
STUBBORN = "trap '' INT TERM HUP; echo begun; while true; do sleep 600; done"


def sleepers(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes that run the program."""
    found = []
    for process in processes:
        try:
            if "sleep" in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


def own_folders(machine: Machine) -> list[Path]:
    """Return the root folders of servers of commands that run."""
    return [*Path(machine.environment["TMPDIR"]).glob("jupyter-exec-*")]


def own_servers(machine: Machine) -> list[int]:
    """Return the processes of servers of commands that run."""
    infos = [json.loads(file.read_text()) for file in machine.runtime.glob("jpserver-*[0-9].json")]
    return [info["pid"] for info in infos if info["base_url"] == BASE_URL]


@pytest.fixture(scope="module", autouse=True)
def _own_temporary_folder(machine: Machine) -> None:
    temporary = machine.folder / "tmp"
    temporary.mkdir()
    machine.environment["TMPDIR"] = str(temporary)


@needs_compiler
def test_one_command_is_enough(machine: Machine) -> None:
    """Without any server one is started in a folder of its own; neither is left."""
    c_program(machine.folder / "work" / "c")

    code, out, err = machine.run(
        *("run", "--upload", "c", "--build", "*", "--exec", "*", "--download", "main=c/"),
    )

    assert (code, out) == (0, "")
    assert "[1/2] build: *" in err.splitlines()
    assert (machine.folder / "work" / "c" / "main").stat().st_size > 1_000
    assert own_folders(machine) == []
    assert not (machine.folder / "work" / "exec-sessions").exists()
    assert own_servers(machine) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(number: signal.Signals, machine: Machine) -> None:
    """No session, no folder, no process; the execution is cancelled, and its record stays."""
    with machine.start("run", "--exec", SLEEPER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        below = descendants(process.pid)
        assert len(sleepers(below)) == 1
        assert len(own_folders(machine)) == 1

        process.send_signal(number)

        _, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert "cancelling; ctrl-C again gives up at once" in err
        assert err.splitlines()[-1] == "the execution was cancelled, as you asked"
        assert_gone(below)
    assert own_folders(machine) == []


def test_a_second_ctrl_c_gives_up_at_once(machine: Machine) -> None:
    """Also when the program takes no notice of the first; nothing is left running."""
    with machine.start("run", "--exec", STUBBORN) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        below = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        for line in process.stderr:
            if "cancelling" in line:
                break

        process.send_signal(signal.SIGINT)

        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err.splitlines()[-1] == "error: interrupted"
        assert_gone(below)
    assert own_folders(machine) == []


@pytest.mark.parametrize("typed", [("--exec", SLEEPER), ("--build", SLEEPER, "--exec", "true")])
def test_ctrl_c_leaves_nothing_on_a_server(
    typed: tuple[str, ...], machine: Machine, server: RunningServer
) -> None:
    """That goes on, without a session, a folder or a process of the run; as JSON it is told."""
    before = {process.pid for process in descendants(server.process.pid)}
    arguments = ("run", "--server", server.url, "--token", server.token, "--json", *typed)
    with (
        ExecClient(server.url, server.token, trust_env=False) as client,
        machine.start(*arguments) as process,
    ):
        wait_until(lambda: sleepers(descendants(server.process.pid)), "the program")
        [session] = client.sessions()
        assert (server.root / session["path"] / "pid").read_text().strip()
        below = [one for one in descendants(server.process.pid) if one.pid not in before]

        process.send_signal(signal.SIGINT)

        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert json.loads(out)["state"] == "cancelled"
        assert err == "the execution was cancelled, as you asked\n"
        assert_gone(below)
        assert [*client.sessions()] == []
    assert [*(server.root / "exec-sessions").iterdir()] == []
    assert server.process.poll() is None


def test_ctrl_c_while_files_are_sent_leaves_nothing(
    machine: Machine, server: RunningServer
) -> None:
    """Nothing was run; the session and what it has of the files are gone."""
    with (machine.folder / "work" / "large").open("wb") as file:
        file.truncate(3_000_000_000)
    arguments = ("run", "--server", server.url, "--token", server.token, "--upload", "large")
    try:
        with (
            ExecClient(server.url, server.token, trust_env=False) as client,
            machine.start(*arguments, "--exec", "true") as process,
        ):
            wait_until(lambda: [*server.root.glob("exec-sessions/*/.~exec-*")], "the upload")

            process.send_signal(signal.SIGINT)

            out, err = process.communicate(timeout=60)
            assert (process.returncode, out) == (130, "")
            assert err.splitlines()[-1] == "error: interrupted"
            assert [*client.sessions()] == []
        wait_until(lambda: not [*server.root.glob("exec-sessions/*")], "the end of the folder")
    finally:
        (machine.folder / "work" / "large").unlink()


def test_a_server_that_dies_ends_the_command(machine: Machine) -> None:
    """Exit code 3 and one line, not a wait for an answer that cannot come."""
    with machine.start("run", "--exec", SLEEPER) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        below = descendants(process.pid)
        [pid] = own_servers(machine)

        psutil.Process(pid).kill()

        _, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert err.splitlines()[-1] == "error: the server ended while the execution ran"
        assert_gone(below)
    assert own_folders(machine) == []


def test_a_terminal_gets_a_bar_and_then_the_output(machine: Machine, server: RunningServer) -> None:
    """The bar makes room for what the program prints; that cannot steer the terminal."""
    import fcntl
    import pty
    import termios

    (machine.folder / "work" / "sent").write_bytes(b"x" * 2_000_000)
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    program = r"sleep 1; printf '10%%\r20%%\n\033[2Jclear\033[31mred\033[0m'; exit 4"
    seen = b""
    with machine.start(
        *("run", "--server", server.url, "--token", server.token),
        *("--upload", "sent", "--exec", program, "--download", "sent=got"),
        **streams,
    ) as process:
        os.close(terminal)
        while True:
            try:
                chunk = os.read(control, 65536)
            except OSError:  # Linux says so when the other side is closed
                break
            if not chunk:
                break
            seen += chunk
        os.close(control)
        assert process.wait(30) == 1
    for name in ("sent", "got"):
        (machine.folder / "work" / name).unlink()

    text = seen.decode()
    assert re.search(r"━.*1/1.*exec: sleep 1; printf", text)
    output = text[text.index("10%\r20%") :]
    assert text[: text.index("10%\r20%")].endswith("\x1b[2K")
    assert output.startswith("10%\r20%\r\n\\x1b[2Jclear\x1b[31mred\x1b[0m\r\n")
    assert "\x1b[2J" not in text
    assert "downloaded got, 2.0 MB" in output
    assert output.rstrip().splitlines()[-1].find("exit codes: exec 4") > 0
