"""The command line with a server of its own."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

import nbformat
import palmerpenguins
import psutil
import pytest

from jupyter_exec_ext.cli.embedded import BASE_URL, EmbeddedServer, running_servers

from .conftest import Here
from .machine import Machine, assert_gone, descendants, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "penguins.ipynb"

SLEEPER = "import time\ntime.sleep(600)"
STUBBORN = """\
import time
while True:
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        pass
"""


def read_until(process: Any, text: str) -> str:
    """Return the first line of standard error that holds *text*."""
    for line in process.stderr:
        if text in line:
            return str(line)
    raise AssertionError(f"the command ended without saying {text!r}")


def test_the_example_runs_from_one_command(machine: Machine) -> None:
    """Inputs go in, named variables come out, the executed notebook is written, nothing is left."""
    code, out, err = machine.run(
        *("run", str(EXAMPLE), "-i", "SPECIES=Adelie", "-i", "MIN_MASS=3500"),
        *("-o", "mean_mass", "-o", "table", "-o", "count", "--save-to", "out.ipynb"),
        *("--label", "kind=example", "--json"),
    )

    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["state"] == "succeeded"
    assert record["labels"] == {"kind": "example"}
    assert record["input_names"] == ["MIN_MASS", "SPECIES"]
    penguins = palmerpenguins.load_penguins().dropna()
    birds = penguins[(penguins["species"] == "Adelie") & (penguins["body_mass_g"] >= 3500)]
    variables = record["result"]["variables"]
    assert variables["mean_mass"]["json"] == pytest.approx(birds["body_mass_g"].mean())
    assert variables["count"]["json"] == len(birds)
    assert variables["table"]["type"] == "DataFrame"
    rows = variables["table"]["data"]["text/plain"].splitlines()[1:]
    expected = birds.groupby(["island", "sex"]).size().to_dict()
    assert {(row[1], row[2]): int(row[3]) for row in map(str.split, rows)} == expected

    written = nbformat.read(machine.folder / "work" / "out.ipynb", as_version=4)
    nbformat.validate(written)
    outputs = {cell["id"]: cell.get("outputs", []) for cell in written.cells}
    assert any("image/png" in output.get("data", {}) for output in outputs["plot"])
    assert "text/html" in outputs["summarise"][0]["data"]
    assert list(machine.runtime.glob("jpserver-*.json")) == []


def test_the_records_stay_and_are_listed(machine: Machine, here: Here) -> None:
    """Other commands see what was run before, from whichever folder."""
    notebook = machine.notebook("parameters.ipynb", "import os\nx = os.environ['X']", "print(x)")
    assert here("run", notebook, "-i", "X=1", "-o", "x", "-o", "y")[0] == 0
    assert "ran by itself; --server names a server" in here("list", "--state", "cancelled")[2]

    with EmbeddedServer(machine.folder):  # which they use, so that not each starts its own
        code, out, _ = here("list", "--json", "--limit", "1")
        assert code == 0
        [record] = json.loads(out)
        assert record["source"]["path"] == "parameters.ipynb"
        assert record["description"] == str(notebook)
        assert here("log", record["id"])[:2] == (0, "1\n")

        code, out, err = here("show", record["id"][:8], "--save-to", "shown.ipynb")
    assert (code, err) == (0, "executed notebook: shown.ipynb\n")
    assert "succeeded" in out
    assert 'x (str) = "1"' in out
    assert "inputs" in out
    shown = json.loads((machine.folder / "work" / "shown.ipynb").read_text("utf-8"))
    assert shown["cells"][1]["outputs"][0]["text"] == ["1\n"]


def test_a_failure_shows_cell_and_traceback(machine: Machine, here: Here) -> None:
    """Exit code 1; what was printed before, and the variables that there are, are kept."""
    notebook = machine.notebook(
        "failing.ipynb", "x = 6\nprint('before')", "# divides\nx / 0", "never = True"
    )

    code, out, err = here("run", notebook, "-o", "x", "--save-to", "failed.ipynb")

    assert code == 1
    assert out == "x (int) = 6\n"
    lines = err.splitlines()
    assert "CodeError in cell cell-1 (index 1): ZeroDivisionError: division by zero" in lines
    assert lines[lines.index("x / 0") - 1] == "# divides"
    assert "ZeroDivisionError: division by zero" in lines
    assert "\x1b" not in err
    assert any(line.startswith("failed after ") for line in lines)
    assert "executed notebook: failed.ipynb" in lines
    failed = json.loads((machine.folder / "work" / "failed.ipynb").read_text("utf-8"))
    assert failed["cells"][0]["outputs"][0]["text"] == ["before\n"]
    assert failed["cells"][1]["outputs"][0]["ename"] == "ZeroDivisionError"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_cancels_the_execution_and_says_so(machine: Machine) -> None:
    """Neither a server nor a kernel is left, and what ran before is written."""
    notebook = machine.notebook("sleeper.ipynb", "print('before')", SLEEPER)
    with machine.start("run", str(notebook), "--save-to", "cancelled.ipynb") as process:
        read_until(process, "import time")
        below = descendants(process.pid)
        assert len(below) >= 2

        process.send_signal(signal.SIGINT)

        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "the execution was cancelled, as you asked" in err
        assert "cancelled after" in err
        assert "Traceback (most recent call last):\n  File" not in err
        assert_gone(below)
    cancelled = json.loads((machine.folder / "work" / "cancelled.ipynb").read_text("utf-8"))
    assert cancelled["cells"][0]["outputs"][0]["text"] == ["before\n"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_a_second_ctrl_c_gives_up_at_once(machine: Machine) -> None:
    """Also when the code takes no notice of the first; nothing is left running."""
    notebook = machine.notebook("stubborn.ipynb", STUBBORN)
    with machine.start("run", str(notebook)) as process:
        read_until(process, "import time")
        below = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        read_until(process, "cancelling")

        process.send_signal(signal.SIGINT)

        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err.splitlines()[-1] == "error: interrupted"
        assert_gone(below)


def test_other_commands_reach_a_running_one(machine: Machine, here: Here) -> None:
    """They use its server while it is there, so that they can cancel what it runs."""
    notebook = machine.notebook("cancelled.ipynb", "print('before')", SLEEPER)
    with machine.start("run", str(notebook)) as process:
        read_until(process, "import time")
        [record] = json.loads(here("list", "--state", "running", "--json")[1])
        wait_until(lambda: here("log", record["id"])[1] == "before\n", "the log")

        code, out, err = here("cancel", record["id"][:10])

        assert (code, out) == (0, "")
        assert err.startswith(f"{record['id']} is ")
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        assert err.startswith("cancelled after ") or "\ncancelled after " in err
        assert "as you asked" not in err

    code, _, err = here("delete", record["id"], "00000000", record["id"])
    assert code == 2
    assert err.splitlines()[:2] == [
        f"{record['id']} is deleted",
        "error: ID: no execution 00000000",
    ]


def test_a_server_that_dies_ends_the_command(machine: Machine, here: Here) -> None:
    """Exit code 3 and one line, not a wait for an answer that cannot come."""
    notebook = machine.notebook("dies.ipynb", SLEEPER)
    with machine.start("run", str(notebook)) as process:
        read_until(process, "import time")
        below = descendants(process.pid)
        [pid] = [
            info["pid"]
            for file in machine.runtime.glob("jpserver-*.json")
            if (info := json.loads(file.read_text()))["base_url"] == BASE_URL
        ]

        psutil.Process(pid).kill()

        _, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert err.splitlines()[-1] == "error: the server ended while the execution ran"
        assert_gone(below)


def test_a_server_that_does_not_start_shows_its_log(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The log is what tells the user what is wrong with the configuration."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    (tmp_path / "jupyter_server_config.json").write_text(
        json.dumps({"ExecApp": {"db_url": "nonsense://"}, "ServerApp": {"log_level": "soon"}})
    )

    code, out, err = here("list")

    assert (code, out) == (3, "")
    assert "log_level" in err
    assert err.splitlines()[-1] == "error: the server that was started ended at once"


def test_a_configuration_without_a_token_is_refused(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Everybody on this machine could run code on such a server."""
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    (tmp_path / "jupyter_server_config.json").write_text(
        json.dumps({"IdentityProvider": {"token": ""}})
    )

    code, out, err = here("list")

    assert (code, out) == (3, "")
    assert err.startswith("error: the Jupyter configuration sets an empty token")
    assert [info for info in running_servers() if info["base_url"] == BASE_URL] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.ipynb"], "error: NOTEBOOK: no file nowhere.ipynb\n"),
        (["run", "a.ipynb", "-i", "X"], "error: argument -i/--input: give NAME=VALUE; see "),
    ],
)
def test_usage_errors_start_nothing(arguments: list[str], message: str, here: Here) -> None:
    """Exit code 2, one line, at once."""
    code, out, err = here(*arguments)

    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
