"""The service's public client, as it is, against a server in a process of its own."""

import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.conftest import ServerProcess

PACKAGES = ("backend.ai-client==23.9.10", "yarl<1.17")
PYTHON = (3, 11)
"""The only one that this version of the client takes."""

DOCS = Path(__file__).parents[3] / "docs" / "dialects" / "backendai.md"

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]

Run = Callable[..., str]

LOOP = """
from pathlib import Path
from ai.backend.client.exceptions import BackendAPIError
from ai.backend.client.session import Session

def loop(session, mode, code="", opts=None, answers=()):
    answers, run_id, console, ends = list(answers), None, [], []
    while True:
        result = session.execute(run_id, code, mode=mode, opts=opts)
        run_id = result["runId"]
        console += result["console"]
        if result["status"] != "continued":
            ends.append((result["status"], result["exitCode"]))
        if result["status"] == "finished":
            return "".join(data for kind, data in console if kind == "stdout"), ends
        mode, code = "continue", ""
        if result["status"] == "waiting-input":
            mode, code = "input", answers.pop(0)
"""
"""What a program of a user has, by the service's own documentation."""


@pytest.fixture(scope="session")
def client_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the client and nothing of this project."""
    if sys.version_info[:2] != PYTHON:
        pytest.skip(f"{PACKAGES[0]} takes Python {'.'.join(map(str, PYTHON))} only")
    folder = tmp_path_factory.mktemp("backend.ai-client")
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    installed = subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", *PACKAGES],
        capture_output=True,
        text=True,
        check=False,
    )
    if installed.returncode:
        pytest.skip(f"{PACKAGES[0]} cannot be installed: {installed.stderr[-300:]}")
    return programs


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that tells all it can in its log."""
    server = ServerProcess(tmp_path / "home", tmp_path / "root", "--log-level=DEBUG")
    yield server
    server.close()
    assert "Traceback" not in server.log


@pytest.fixture
def run(server: ServerProcess, client_folder: Path, tmp_path: Path) -> Run:
    """Run a program of the client, with both of its keys; return what it printed."""
    folder = tmp_path / "empty"
    folder.mkdir()

    def run_it(*command: str, status: int = 0, stdin: str = "", **environment: str) -> str:
        ran = subprocess.run(
            [client_folder / command[0], *command[1:]],
            cwd=folder,
            env={
                "PATH": f"{client_folder}:{os.environ['PATH']}",
                "HOME": str(tmp_path / "home"),
                "BACKEND_ENDPOINT": f"{server.url}exec/backendai",
                "BACKEND_ENDPOINT_TYPE": "api",
                "BACKEND_ACCESS_KEY": "anything",
                "BACKEND_SECRET_KEY": server.token,
                **environment,
            },
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        return ran.stdout + ran.stderr

    return run_it


def test_a_program_with_the_sdk(run: Run, server: ServerProcess) -> None:
    """Create, run in all modes, move files, complete, rename, restart, destroy."""
    program = f"""{LOOP}
with Session() as api:
    session = api.ComputeSession.get_or_create("python:3.9", name="demo-01", envs={{"CASE": "7"}})
    assert session.created and session.status == "RUNNING"
    again = api.ComputeSession.get_or_create("python:3.9", name="demo-01")
    assert (again.id, again.created) == (session.id, False)
    assert session.get_info()["numQueriesExecuted"] == 0
    code = "import os; print(os.environ['CASE']); n = input('>> '); print(n)"
    assert loop(session, "query", code, answers=["Bob"]) == (
        "7\\n>> Bob\\n", [("waiting-input", None), ("finished", 0)]
    )
    slow = "import time\\nfor number in range(3): print(number, flush=True); time.sleep(1)"
    assert loop(session, "query", slow)[0] == "0\\n1\\n2\\n"
    Path("pkg").mkdir()
    Path("main.py").write_text("import pkg.h; print(pkg.h.x)")
    Path("pkg/h.py").write_text("x = 42")
    session.upload(["main.py", "pkg/h.py"], basedir=".")
    assert "h.py" in session.list_files("pkg")["files"]
    ends = [("clean-finished", 0), ("build-finished", 0), ("finished", 0)]
    assert loop(session, "batch", opts={{"clean": "*", "build": "*", "exec": "*"}}) == (
        "42\\n", ends
    )
    ends = [("clean-finished", 0), ("build-finished", 2), ("finished", 127)]
    assert loop(session, "batch", opts={{"build": "echo b; exit 2", "exec": "x"}}) == (
        "b\\n", ends
    )
    Path("dest").mkdir()
    session.download(["main.py", "pkg/h.py", "pkg"], dest="dest")
    found = sorted(path.relative_to("dest").as_posix() for path in Path("dest").rglob("*.py"))
    assert found == ["h.py", "main.py", "pkg/h.py"], found
    loop(session, "query", "get_ipython().Completer.use_jedi = False")
    done = session.complete("impo", {{"row": 0, "col": 4, "line": "impo", "post": ""}})
    assert done["result"]["completions"] == ["import"]
    assert session.get_logs()["result"]["logs"].startswith("7\\n")
    session.interrupt()
    session.rename("demo-02")
    renamed = api.ComputeSession("demo-02")
    renamed.restart()
    assert loop(renamed, "query", "print('n' in globals())")[0] == "False\\n"
    for files, text in ((["none"], "not found"), (["../x"], "outside"), (["a"] * 6, "5 files")):
        try:
            renamed.download(files)
        except BackendAPIError as error:
            assert error.status == 400 and text in str(error), error
        else:
            raise AssertionError(files)
    assert renamed.destroy() == {{"stats": {{"status": "terminated"}}}}
    try:
        renamed.get_info()
    except BackendAPIError as error:
        assert (error.status, error.data["title"]) == (404, "No such session.")
    print("all of it")
"""
    assert "all of it" in run("python", "-c", program)

    assert server.http.get("sessions").json()["sessions"] == []
    records = server.http.get("executions").json()["executions"]
    assert len(records) == 6
    assert {record["labels"]["dialect"] for record in records} == {"backendai"}
    # The address that is opened in a browser has it, as always.
    assert server.token not in server.log.replace(f"?token={server.token}", "")


def test_the_command_line(run: Run, server: ServerProcess, tmp_path: Path) -> None:
    """Code, programs and input over the stream; files and sessions."""
    folder = tmp_path / "empty"
    (folder / "pkg").mkdir()
    (folder / "main.py").write_text("import sys; print('from main', sys.argv[1:])")
    (folder / "pkg" / "h.py").write_text("x = 1")

    told = run("backend.ai", "run", "--rm", "python", "-c", "print(6 * 7); 1 / 0")
    assert "42\n" in told
    assert "ZeroDivisionError" in told
    assert "Execution finished. (exit code = 0)" in told
    told = run("backend.ai", "run", "--rm", "python", "main.py")
    assert "from main []" in told
    command = "python main.py a; exit 3"
    told = run("backend.ai", "run", "--rm", "--exec", command, "python", "main.py", "pkg/h.py")
    assert "from main ['a']" in told
    assert "Execution finished. (exit code = 3)" in told
    code = "print('hello', input('name? '))"
    told = run("backend.ai", "run", "--rm", "python", "-c", code, stdin="Bob\n")
    assert "name? hello Bob" in told
    assert server.http.get("sessions").json()["sessions"] == []

    run("backend.ai", "session", "create", "--name", "sess-01", "python:3.11")
    run("backend.ai", "session", "upload", "sess-01", "main.py", "pkg/h.py")
    assert "main.py" in run("backend.ai", "session", "ls", "sess-01")
    assert "h.py" in run("backend.ai", "session", "ls", "sess-01", "pkg")
    (folder / "pkg" / "h.py").unlink()
    run("backend.ai", "session", "download", "--dest", "pkg", "sess-01", "pkg/h.py")
    assert (folder / "pkg" / "h.py").read_text() == "x = 1"
    run("backend.ai", "session", "logs", "sess-01")
    run("backend.ai", "session", "rename", "sess-01", "sess-02")
    run("backend.ai", "session", "restart", "sess-02")
    wrong = run("backend.ai", "session", "ls", "sess-02", status=1, BACKEND_SECRET_KEY="wrong")
    assert "401" in wrong
    run("backend.ai", "session", "destroy", "sess-02")
    assert "No such session." in run("backend.ai", "session", "destroy", "sess-02", status=1)


def test_the_program_of_the_documentation(run: Run) -> None:
    """It runs as it stands there."""
    (program,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)

    assert run("python", "-c", program).splitlines()[-2:] == ["What is your name? Hello Ada", "42"]
