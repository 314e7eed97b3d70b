"""What ``"*"`` chooses, and what the guard has to be to run in any kernel."""

import ast
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from jupyter_exec_ext.core.models import STEPS, CommandStep
from jupyter_exec_ext.engine.commands.defaults import RULES, looked_for
from jupyter_exec_ext.engine.commands.guard.choice import choose
from jupyter_exec_ext.engine.commands.sending import MODULES, guard_path, guard_sources

NOTHING_TO_DO: list[str] = []


@pytest.mark.parametrize(
    ("step", "files", "expected"),
    [
        ("clean", "Makefile", "make clean"),
        ("clean", "GNUmakefile main.c", "make clean"),
        ("clean", "main.c", NOTHING_TO_DO),
        ("clean", "", NOTHING_TO_DO),
        ("build", "makefile main.c Cargo.toml", "make"),
        ("build", "Cargo.toml", "cargo build --release"),
        ("build", "go.mod main.go", "go build -o main ."),
        ("build", "main.c util.c", "cc -o main main.c util.c -lm"),
        ("build", "hello.c", "cc -o main hello.c -lm"),
        ("build", "a.c b.c", None),
        ("build", "-x.c", "cc -o main ./-x.c -lm"),
        ("build", "main.cpp util.cc", "c++ -o main main.cpp util.cc"),
        ("build", "main.rs util.rs", "rustc -O -o main main.rs"),
        ("build", "tool.go", "go build -o main tool.go"),
        ("build", "Main.java Other.java", "javac Main.java Other.java"),
        ("build", "job.py", NOTHING_TO_DO),
        ("build", "setup.py pyproject.toml", NOTHING_TO_DO),
        ("build", "notes.txt", None),
        ("build", "", None),
        ("exec", "main! a.out! main.py", "./main"),
        ("exec", "main main.py", "PYTHON main.py"),
        ("exec", "a.out!", "./a.out"),
        ("exec", "Main.class Main.java", "java Main"),
        ("exec", "main.py other.py", "PYTHON main.py"),
        ("exec", "other.py", "PYTHON other.py"),
        ("exec", "-x.py", "PYTHON ./-x.py"),
        ("exec", "a.py b.py", None),
        ("exec", "main.R", "Rscript main.R"),
        ("exec", "index.js", "node index.js"),
        ("exec", "run.sh", "/bin/sh run.sh"),
        ("exec", "", None),
    ],
)
def test_the_first_rule_that_fits_is_taken(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: CommandStep,
    files: str,
    expected: str | list[str] | None,
) -> None:
    """A ``!`` makes a file one that can be executed; ``None`` is where nothing fits."""
    for name in files.split():
        path = tmp_path / name.rstrip("!")
        path.touch(mode=0o755 if name.endswith("!") else 0o644)
    (tmp_path / "folder.c").mkdir()
    monkeypatch.chdir(tmp_path)

    command, does_fit = choose([asdict(rule) for rule in RULES[step]], "PYTHON")

    if expected is None:
        assert (command, does_fit) == (None, False)
    else:
        assert does_fit
        assert command == (expected.split() if isinstance(expected, str) else None)


def test_each_step_says_what_it_looks_for() -> None:
    """For the message where nothing fits."""
    assert looked_for("exec").startswith("./main, ./a.out, Cargo.toml")
    assert set(RULES) == set(STEPS)


def test_the_guide_has_every_rule() -> None:
    """The table in the documentation is the table of the program."""
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text()

    for rules in RULES.values():
        for rule in rules:
            if rule.command is not None:
                assert f"`{' '.join(rule.command)}`" in guide
            for name in rule.files:
                assert f"`{name}`" in guide


@pytest.mark.parametrize("source", guard_sources(), ids=MODULES)
def test_the_guard_runs_in_old_pythons_and_without_packages(source: str) -> None:
    """It is sent as texts into kernels whose Python is none of ours."""
    tree = ast.parse(source, feature_version=(3, 8))

    imported = {
        name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    } | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_every_module_of_the_guard_is_sent() -> None:
    """Or it would be missed in a kernel only."""
    folder = guard_path("step").parent

    assert {path.stem for path in folder.glob("*.py")} == {*MODULES, "__init__"}
