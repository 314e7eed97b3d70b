"""Programs from the command line: there and back, on a real server."""

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_exec_ext.client import ExecClient

from .conftest import Here
from .machine import Machine, RunningServer
from .programs import TABLE, c_program, needs_compiler
from .scripted import scripted_server


@pytest.fixture
def work(machine: Machine, here: Here) -> Iterator[Path]:
    """The current folder; what a test makes there is gone for the next."""
    folder = machine.folder / "work"
    before = set(folder.iterdir())
    yield folder
    for path in set(folder.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def client(named: RunningServer) -> Iterator[ExecClient]:
    with ExecClient(named.url, named.token, trust_env=False) as client:
        yield client


def left_on(client: ExecClient, server: RunningServer) -> list[object]:
    """Return the sessions of the server and the folders of such."""
    folders = server.root / "exec-sessions"
    return [*client.sessions(), *(folders.iterdir() if folders.exists() else ())]


@needs_compiler
def test_the_example_of_the_readme(work: Path, here: Here) -> None:
    """The very words of it."""
    examples = Path(__file__).parents[2] / "examples"
    (line,) = re.findall(
        r"(?m)^\$ jupyter exec (run --upload .*)", (examples.parent / "README.md").read_text()
    )
    words = [
        str(examples.parent / word) if "/squares" in word else word for word in shlex.split(line)
    ]

    code, out, _ = here(*words)

    assert (code, out) == (0, "the sum of 10 squares is 385\n")
    assert (work / "out.csv").read_text().splitlines()[-1] == "10,100"


@needs_compiler
def test_a_program_goes_there_and_its_results_come_back(
    work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """Only its own output is on standard output, not the build's; nothing stays on the server."""
    c_program(work / "src")
    (work / "src" / ".git").mkdir()

    code, out, err = here(
        *("run", "--upload", "src/", "--clean", "*", "--build", "make", "--exec", "./main 3 -4"),
        *("--download", "out.csv"),
    )

    assert (code, out) == (0, "9\n16\n")
    assert (work / "out.csv").read_text() == "3,9\n-4,16\n"
    lines = err.splitlines()
    assert lines[:2] == ["left out of the upload: 1 hidden one", "uploaded 3 files, 470 B"]
    for line in ("[2/3] build: make", "gcc -o main main.o square.o", "squared"):
        assert line in lines
    assert lines[-2] == "downloaded out.csv, 10 B"
    assert lines[-1].startswith("succeeded after ")
    assert ", exit codes: clean 0, build 0, exec 0  execution " in lines[-1]
    assert left_on(client, named) == []


def test_a_script_reads_lines_and_writes_tables(
    work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """Inputs and lines go in; folders and what matches a pattern come out, as it was there."""
    (work / "make it.py").write_text(TABLE)
    (work / "lines.txt").write_text("a 1\nb 2\nü 3")

    code, out, err = here(
        *("run", "--upload", "make it.py=code/table.py", "--exec", "python3 code/table.py"),
        *("--stdin", "lines.txt", "-i", "SIZE=7", "--label", "kind=table"),
        *("--download", "results=all", "--download", "results/**/*.csv", "--json"),
    )

    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["result"]["stdout"] == "size 7 3\n"
    assert (record["result"]["exit_codes"], record["labels"]) == ({"exec": 0}, {"kind": "table"})
    for path in ("a.csv", "deep/b.csv", "all/a.csv", "all/deep/b.csv"):
        assert (work / path).read_text() == "a,1\nb,2\nü,3\n"
    assert left_on(client, named) == []


@needs_compiler
def test_a_failing_build_runs_nothing(
    work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """Exit code 4; what the compiler says is on standard error."""
    c_program(work / "broken")
    (work / "broken" / "square.c").write_text("int square(int x) { return x * ; }\n")

    code, out, err = here(
        "run", "--upload", "broken", "--build", "make", "--exec", "./main", "--download", "x=y/"
    )

    assert (code, out) == (4, "")
    assert "square.c:1:" in err
    lines = err.splitlines()
    assert "CommandFailed: the build step ended with exit code 2" in lines
    assert ", exit codes: build 2  execution " in lines[-1]
    assert not (work / "y").exists()
    assert left_on(client, named) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo x > f; exit 3", "the exec step ended with exit code 3"),
        ("echo x > f; kill -SEGV $$", "the exec step was ended by SIGSEGV"),
        ("echo x > f; exit 130", "the exec step ended with exit code 130"),
    ],
)
def test_a_failing_program_is_exit_code_1(
    command: str, message: str, work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """Whatever its own is, which is told; what it left is fetched all the same."""
    code, out, err = here("run", "--exec", command, "--download", "f", "--download", "g")

    assert (code, out) == (1, "")
    assert f"CommandFailed: {message}" in err.splitlines()
    assert "error: --download: no file or folder g" in err.splitlines()
    assert (work / "f").read_text() == "x\n"
    assert left_on(client, named) == []


def test_a_result_that_is_missing_is_exit_code_5(
    work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """The program did well, and what was asked for is not there; the rest is fetched."""
    (work / "kept.csv").write_text("old")

    code, _, err = here(
        *("run", "--exec", "echo 1 > there", "--download", "kept.csv", "--download", "*.none"),
        *("--download", "there=a folder/"),
    )

    assert code == 5
    assert "error: --download: no file or folder kept.csv" in err.splitlines()
    assert "error: --download: nothing matches *.none" in err.splitlines()
    assert (work / "kept.csv").read_text() == "old"
    assert (work / "a folder" / "there").read_text() == "1\n"
    assert err.splitlines()[-1].startswith("succeeded after ")
    assert left_on(client, named) == []


def test_a_link_that_the_program_made_is_not_followed(
    work: Path, here: Here, named: RunningServer
) -> None:
    """It may lead anywhere on the server; one line says which it was."""
    code, _, err = here("run", "--exec", "ln -s /etc/hostname l", "--download", "l")

    assert code == 3
    assert "error: --download: l: a symbolic link " in err
    assert not (work / "l").exists()


def test_a_folder_in_the_way_is_exit_code_3(work: Path, here: Here, named: RunningServer) -> None:
    """One line says what is where."""
    (work / "f" / "f").mkdir(parents=True)

    code, _, err = here("run", "--exec", "echo 1 > f", "--download", "f")

    assert code == 3
    assert "error: --download: cannot write " in err
    assert "Traceback" not in err


def test_a_named_session_stays(
    work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """The next run finds its files; a run that sends nothing works in it too."""
    try:
        assert here("run", "--session", "stays", "--exec", "echo one >> log")[0] == 0
        assert here("run", "--session", "stays", "--exec", "echo two >> log")[0] == 0

        code, out, err = here("run", "--session", "stays", "--exec", "cat log")

        assert (code, out) == (0, "one\ntwo\n")
        assert "starting the kernel" not in err
        [session] = client.sessions(name="stays")
        code, _, err = here("run", "--session", "stays", "--kernel", "other", "--exec", "true")
        assert code == 2
        assert err.startswith("error: ")
    finally:
        for session in client.sessions(name="stays"):
            client.delete_session(session["id"])
    assert left_on(client, named) == []


def test_many_small_files_are_sent_together(
    work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """A thousand of them, and all of them come back; names are what they were."""
    for number in range(1_000):
        file = work / "many" / f"folder {number % 7}" / f"file #{number}%.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))

    code, out, err = here(
        "run", "--upload", "many=m", "--exec", "find m -type f | wc -l", "--download", "m=back"
    )

    assert (code, out.strip()) == (0, "1000")
    assert err.splitlines()[0] == "uploaded 1000 files, 2.9 kB"
    back = {
        path.relative_to(work / "back"): path.read_text() for path in (work / "back").rglob("*.txt")
    }
    sent = {
        path.relative_to(work / "many"): path.read_text() for path in (work / "many").rglob("*.txt")
    }
    assert back == sent
    assert left_on(client, named) == []


def test_what_is_refused_leaves_nothing(
    work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """Exit code 2 for what was typed, one line; the session is ended."""
    (work / ".hidden").write_text("x")
    (work / "x.py").write_text("x")
    for typed, message in (
        (["--upload", ".hidden", "--upload", "x.py"], "error: --upload: .hidden: this server "),
        (["-i", "PATH=x"], "error: inputs.PATH: "),
        (["--kernel", "klingon"], "error: kernel_name: "),
        (["--upload", "x.py", "--timeout", "9e99"], "error: timeout_seconds: "),
    ):
        code, out, err = here("run", "--exec", "true", *typed)

        assert (code, out) == (2, ""), err
        assert err.splitlines()[-1].startswith(message)
    assert left_on(client, named) == []


def test_the_folder_of_a_server_can_be_sent(
    machine: Machine, server: RunningServer, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The running server is found; what its sessions hold is not sent to one of them."""
    folder = server.root / "project"
    folder.mkdir()
    (folder / "x.txt").write_text("x")
    monkeypatch.chdir(server.root)
    with ExecClient(server.url, server.token, trust_env=False) as client:
        other = client.create_session()
        client.upload_file(other["id"], "other.txt", b"other")
        try:
            code, out, err = here("run", "--upload", ".", "--exec", "find . -name '*.txt'")
        finally:
            client.delete_session(other["id"])

    assert (code, out) == (0, "./project/x.txt\n")
    assert f"using the running server {server.url}" in err
    assert "1 file of other sessions" in err
    assert err.splitlines()[-1].startswith("succeeded after ")


def test_commands_are_listed_and_shown(
    work: Path, here: Here, client: ExecClient, named: RunningServer
) -> None:
    """Their type, what they ran, how each step ended and which of them failed."""
    here("run", "--build", "echo built", "--exec", "echo ran;\nexit 9")
    [record] = json.loads(here("list", "--limit", "1", "--json")[1])

    code, out, _ = here("list", "--limit", "1")
    assert code == 0
    assert out.splitlines()[1].split(maxsplit=3)[1:3] == ["failed", "command"]
    assert " echo built; echo ran; exit 9 " in out.splitlines()[1]

    code, out, err = here("show", record["id"])
    facts = {line[:12].strip(): line[12:].strip() for line in out.splitlines()}
    assert (facts["type"], facts["state"], facts["steps"]) == ("command", "failed", "2 of 2")
    assert (facts["build"], facts["exit codes"]) == ("echo built", "build 0, exec 9")
    assert "what" not in facts
    assert err == "CommandFailed: the exec step ended with exit code 9\n"
    assert here("log", record["id"])[:2] == (0, "built\nran\n")


def test_a_time_out_names_its_step(here: Here, work: Path, named: RunningServer) -> None:
    """It is a failure of the program."""
    code, _, err = here("run", "--exec", "sleep 600", "--timeout", "0.5")

    assert code == 1
    assert "Timeout in the exec step: " in err


@pytest.mark.parametrize("what", ["file", "nothing", "folder"])
def test_a_download_goes_over_no_link(here: Here, work: Path, what: str) -> None:
    """One in the current folder that has the name of what comes may lead anywhere."""
    outside = work.parent / "outside"
    outside.mkdir()
    try:
        (outside / "file").write_text("old")
        (outside / "folder").mkdir()
        (work / "l").symlink_to(outside / what)
        make = "mkdir l && echo new > l/a" if what == "folder" else "echo new > l"

        code, _, err = here("run", "--exec", make, "--download", "l")

        assert code == 3
        assert "--download: l is a link here" in err
        assert (outside / "file").read_text() == "old"
        assert sorted(path.name for path in outside.rglob("*")) == ["file", "folder"]
    finally:
        shutil.rmtree(outside)
        (work / "l").unlink()


def test_an_old_server_is_told(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 3: another server can do it."""
    with scripted_server() as server:
        monkeypatch.setenv("JUPYTER_EXEC_URL", server.url)
        server.answer(200, {"features": ["notebooks"], "limits": {}})

        code, out, err = here("run", "--exec", "true")

    assert (code, out) == (3, "")
    assert "cannot run programs: its jupyter_exec_ext is too old" in err


def test_a_session_that_stays_needs_a_server_that_stays(work: Path, here: Here) -> None:
    """Exit code 2, before a server is started for it."""
    code, out, err = here("run", "--session", "x", "--exec", "true")

    assert (code, out) == (2, "")
    assert err.startswith("error: --session: no running server is found")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_a_closed_pipe_ends_the_program(
    machine: Machine, client: ExecClient, named: RunningServer
) -> None:
    """As in `jupyter exec run --exec yes | head -1`."""
    reader, writer = os.pipe()
    arguments = ("run", "--exec", "yes", "--server", named.url, "--token", named.token)
    with machine.start(*arguments, stdout=writer) as process:
        os.close(writer)
        assert os.read(reader, 2) == b"y\n"

        os.close(reader)

        _, err = process.communicate(timeout=60)
        assert process.returncode == 141
        assert "Traceback" not in err
    assert left_on(client, named) == []
