"""The command line with a server that somebody else runs."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import nbformat
import psutil
import pytest

from jupyter_exec_ext.cli.embedded import running_servers
from jupyter_exec_ext.cli.servers import api_path, find_server, own_root
from tests.imperfect import code, notebook, text

from .conftest import Here
from .machine import Machine, RunningServer, wait_until
from .scripted import scripted_server


def test_a_running_server_that_holds_the_notebook_is_found(
    machine: Machine, server: RunningServer, here: Here
) -> None:
    """It is used and left running; its records are found from its folder."""
    notebook = machine.notebook("../served/sub/found.ipynb", "x = 1", "print(x)")

    code, out, err = here("run", notebook, "-o", "x")

    assert (code, out) == (0, "x (int) = 1\n")
    assert f"using the running server {server.url}" in err
    assert server.process.poll() is None
    assert err.splitlines()[-1].startswith("executed notebook: kept with the record; jupyter exec")


def test_a_server_elsewhere_is_not_found(
    machine: Machine, server: RunningServer, here: Here, tmp_path: Path
) -> None:
    """Its root must hold the notebook in the open, and it must answer."""
    assert find_server(tmp_path / "a.ipynb") is None
    assert find_server(server.root / ".hidden" / "a.ipynb") is None
    assert find_server(server.root.with_name("served-too") / "a.ipynb") is None
    found = find_server(server.root / "a" / "b.ipynb")
    assert found is not None
    assert found[0].url == server.url
    stale = machine.runtime / "jpserver-1.json"
    for change in ({"url": "http://127.0.0.1:1/"}, {"token": ""}, {"url": "http+unix://%2Fs"}):
        info = {"url": server.url, "token": "x", "root_dir": str(tmp_path), "pid": os.getpid()}
        stale.write_text(json.dumps({**info, **change}))
        assert find_server(tmp_path / "a.ipynb") is None
    stale.write_text("{")
    assert find_server(tmp_path / "a.ipynb") is None
    stale.unlink()


@contextmanager
def idle_process(user: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that waits until it is killed."""
    command = ["sleep", "600"]
    with subprocess.Popen(command, user=user) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def process_of_another_user() -> Iterator[int]:
    """Give the id of a process that runs as another user."""
    if os.geteuid() != 0:
        if psutil.Process(1).username() == psutil.Process().username():
            pytest.skip("needs root, or a first process of another user")
        yield 1
        return
    with idle_process(user=65534) as process:
        yield process.pid


@contextmanager
def zombie() -> Iterator[int]:
    """Give the id of a process that ended and whose parent has not noticed."""
    with idle_process() as process:
        process.kill()
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE, "the end")
        yield process.pid


@contextmanager
def own_process() -> Iterator[int]:
    """Give the id of a process of this user."""
    with idle_process() as process:
        yield process.pid


@pytest.mark.skipif(sys.platform == "win32", reason="needs the users and zombies of POSIX")
@pytest.mark.parametrize(
    ("process", "file_age_seconds", "is_used"),
    [
        (own_process, 0, True),
        (own_process, 60, False),
        (process_of_another_user, 0, False),
        (zombie, 0, False),
    ],
)
def test_a_token_goes_only_to_the_process_that_wrote_it_down(
    process: Callable[[], AbstractContextManager[int]],
    file_age_seconds: int,
    is_used: bool,
    machine: Machine,
    here: Here,
    tmp_path: Path,
) -> None:
    """After a crash, another process may have the server's id and another user its port.

    The writer of a runtime file is older than the file, runs, and is the user's own.
    """
    file = machine.runtime / "jpserver-1.json"
    file.parent.mkdir(exist_ok=True)
    with scripted_server() as listener, process() as pid:
        listener.answer(200, {"features": []})
        info = {"url": listener.url, "token": "x", "root_dir": str(tmp_path), "pid": pid}
        file.write_text(json.dumps(info))
        written_at = time.time() - file_age_seconds
        os.utime(file, (written_at, written_at))

        found = find_server(tmp_path / "a.ipynb")

        file.unlink()
        assert (found is not None) == is_used
        assert bool(listener.requests) == is_used


@pytest.mark.parametrize("pid", [None, -1, 0, "x", [1], {}, 2**70, 1.5e300, True])
def test_a_damaged_runtime_file_is_ignored(machine: Machine, here: Here, pid: object) -> None:
    """Whatever stands where the process id should be."""
    file = machine.runtime / "jpserver-1.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"url": "http://127.0.0.1:1/", "token": "x", "pid": pid}))

    found = [info for info in running_servers() if info.get("token") == "x"]

    file.unlink()
    assert found == []


def test_the_root_of_an_own_server(tmp_path: Path) -> None:
    """The current folder if it can serve the notebook, else the notebook's folder."""
    (tmp_path / "a").mkdir()
    (tmp_path / ".b").mkdir()

    assert own_root(tmp_path / "a" / "n.ipynb", tmp_path) == tmp_path
    assert own_root(tmp_path / ".b" / "n.ipynb", tmp_path) == tmp_path / ".b"
    assert own_root(tmp_path / "n.ipynb", tmp_path / "a") == tmp_path
    assert own_root(tmp_path, tmp_path / "a") == tmp_path
    assert api_path(tmp_path / "a" / ".." / "n.ipynb", tmp_path) == "n.ipynb"
    assert api_path(tmp_path / ".n.ipynb", tmp_path) is None


def test_a_named_server_is_talked_to(machine: Machine, named: RunningServer, here: Here) -> None:
    """The notebook is a path there; the executed one is saved here or there."""
    machine.notebook("../served/named.ipynb", "x = [1, 2]", "print('hello')")

    code, out, err = here("run", "named.ipynb", "-o", "x", "--save-to", "here.ipynb")
    assert (code, out) == (0, "x (list) = [1, 2]\n")
    assert err.splitlines()[-1] == "executed notebook: here.ipynb"
    assert (machine.folder / "work" / "here.ipynb").is_file()

    code, out, err = here("run", "named.ipynb", "--save-to", "server:there.ipynb", "--cells", "1")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == "executed notebook: there.ipynb on the server"
    there = json.loads((named.root / "there.ipynb").read_text("utf-8"))
    assert there["cells"][0]["outputs"] == []
    assert there["cells"][1]["outputs"][0]["text"] == ["hello\n"]

    code, out, _ = here("list", "--limit", "2")
    lines = out.splitlines()
    assert [line.split()[1:4] for line in lines[1:]] == [
        ["succeeded", "notebook", "named.ipynb"]
    ] * 2
    code, out, _ = here("log", lines[1].split()[0])
    assert (code, out) == (0, "hello\n")
    code, out, err = here("cancel", lines[1].split()[0])
    assert (code, err) == (0, f"{lines[1].split()[0]} had succeeded already\n")


def test_a_local_notebook_is_sent(machine: Machine, named: RunningServer, here: Here) -> None:
    """What is on the server is replaced only when it is named."""
    local = machine.notebook("local.ipynb", "print('first')")

    assert here("run", "--upload", local)[0] == 0
    assert (named.root / "local.ipynb").is_file()

    code, _, err = here("run", "--upload", local)
    assert (code, err.startswith("error: --upload: the server has a file local.ipynb")) == (2, True)
    assert here("run", "local.ipynb", "--upload", local)[0] == 0

    (machine.folder / "work" / "broken.ipynb").write_text("[]")
    code, _, err = here("run", "--upload", "broken.ipynb")
    assert (code, err) == (2, "error: --upload: broken.ipynb is not a notebook\n")


def test_what_is_not_valid_is_a_warning(machine: Machine, named: RunningServer, here: Here) -> None:
    """A notebook that is not valid is sent as it is and runs; its warnings are on stderr."""
    path = machine.folder / "work" / "blemished.ipynb"
    cells = [text(outputs=[]), code("print('one')", outputs=...)]
    path.write_text(json.dumps(notebook(*cells)), "utf-8-sig")

    status, out, err = here("run", "--upload", path, "--save-to", "saved.ipynb", "--json")

    assert status == 0, err
    assert "warning: Cell 1: 'outputs' was missing or not a list.\n" in err
    assert json.loads(out)["warnings"] == [
        line.removeprefix("warning: ") for line in err.splitlines() if line.startswith("warning")
    ]
    assert named.root.joinpath("blemished.ipynb").read_text() == path.read_text("utf-8-sig")
    nbformat.validate(json.loads((machine.folder / "work" / "saved.ipynb").read_text()))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "gone.ipynb"], 2, "error: notebook.path: no notebook at this path"),
        (["run", "here.ipynb"], 2, "error: NOTEBOOK: the server has no notebook at here.ipynb"),
        (["run", "good.ipynb", "-i", "PATH=x"], 2, "error: inputs.PATH: the name PATH is reserved"),
        (["run", "good.ipynb", "--kernel", "klingon"], 2, "error: kernel_name: no kernelspec"),
        (["run", "good.ipynb", "--cells", "gone"], 2, "error: notebook.cells.0: "),
        (["show", "00000000-0000-4000-8000-000000000000"], 2, "error: "),
        (["show", "0000"], 2, "error: ID: no execution 0000"),
        (["list", "--token", "wrong"], 3, "error: the server at "),
        (["run", "good.ipynb", "--token", "wrong"], 3, "error: the server at "),
        (["list", "--server", "http://127.0.0.1:1/"], 3, "error: cannot reach a server at "),
    ],
)
def test_a_refusal_is_one_line_and_has_its_exit_code(
    arguments: list[str],
    code: int,
    message: str,
    machine: Machine,
    named: RunningServer,
    here: Here,
) -> None:
    """2 for what was typed, 3 for what the service cannot do; no token is shown."""
    machine.notebook("../served/good.ipynb", "1")
    machine.notebook("here.ipynb", "1")
    (named.root / "here.ipynb").unlink(missing_ok=True)

    exit_code, out, err = here(*arguments)

    assert (exit_code, out) == (code, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert named.token not in err


def test_a_time_out_is_the_codes_failure(
    machine: Machine, named: RunningServer, here: Here
) -> None:
    """Exit code 1, whatever the cell waits for."""
    machine.notebook("../served/slow.ipynb", "import time\ntime.sleep(600)")

    code, _, err = here("run", "slow.ipynb", "--cell-timeout", "0.5")

    assert code == 1
    assert "Timeout in cell cell-0" in err


def test_running_executions_are_deleted_only_by_force(
    machine: Machine, named: RunningServer, here: Here
) -> None:
    """A refusal names the execution; with force it is cancelled first."""
    machine.notebook("../served/long.ipynb", "import time\ntime.sleep(600)")
    with machine.start(
        "run", "long.ipynb", "--server", named.url, "--token", named.token
    ) as process:
        [record] = wait_until(
            lambda: json.loads(here("list", "--state", "pending,running", "--json")[1]),
            "the execution",
        )

        code, _, err = here("delete", record["id"])
        assert code == 2
        assert err.startswith("error: execution ")
        assert here("delete", record["id"], "--force")[0] == 0
        process.communicate(timeout=60)
        assert process.returncode in (1, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_progress_bar(machine: Machine, server: RunningServer) -> None:
    """Cells done of all, elapsed time and the current cell; then the bar is gone."""
    import fcntl
    import pty
    import termios

    notebook = machine.notebook(
        "../served/bar.ipynb",
        "x = '[bold]'",
        "# the long one\nimport time\ntime.sleep(1.2)",
        "\x1b[2J; 1 / 0",
    )
    control, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    seen = b""
    with machine.start("run", str(notebook), "-o", "x", **streams) as process:
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

    text = seen.decode()
    assert "━" in text
    assert re.search(r"1/3.*0:00:0\d.*# the long one", text)
    assert "\x1b[2J" not in text
    _, bar, result = text.rpartition("\x1b[2K")
    assert bar
    assert "━━━" not in result
    assert "── traceback ──" in result
    assert re.search(r"\x1b\[[0-9;]*mZeroDivisionError|SyntaxError", result)
    assert '"[bold]"' in result


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_cancels_on_a_named_server(
    machine: Machine, named: RunningServer, here: Here
) -> None:
    """The server goes on; the execution does not."""
    machine.notebook("../served/ctrl-c.ipynb", "import time\ntime.sleep(600)")
    arguments = ("run", "ctrl-c.ipynb", "--server", named.url, "--token", named.token, "--json")
    with machine.start(*arguments) as process:
        wait_until(
            lambda: json.loads(here("list", "--state", "running", "--json")[1]), "the execution"
        )

        process.send_signal(signal.SIGINT)

        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert json.loads(out)["state"] == "cancelled"
        assert "as you asked" in err
    assert named.process.poll() is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_a_closed_pipe_is_no_traceback(machine: Machine, named: RunningServer) -> None:
    """As in `jupyter exec list | head -0`."""
    reader, writer = os.pipe()
    os.close(reader)
    with machine.start(
        *("list", "--json", "--server", named.url, "--token", named.token),
        stdout=writer,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writer)
        _, err = process.communicate(timeout=60)

    assert (process.returncode, err) == (141, "")
