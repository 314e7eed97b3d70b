"""What `"*"` means for each step, by what is in the kernel's working folder when it begins."""

from dataclasses import dataclass
from typing import Literal

from jupyter_exec_ext.core.models import CommandStep

DEFAULT = "*"
"""The command that stands for what fits the folder."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A command for folders that have certain files.

    Attributes:
        files: Their names; patterns as of a shell. Empty for all folders.
        choose: ``any`` of the files is enough; ``main``: it is the only one, or one of them is
            called ``main``; ``program``: it can be executed.
        command: The words of the command. ``{file}`` is the chosen file, ``{files}`` are all of
            them, ``{python}`` is the kernel's own Python, elsewhere ``python3``. ``None``:
            there is nothing to do.
    """

    files: tuple[str, ...]
    choose: Literal["any", "main", "program"] = "any"
    command: tuple[str, ...] | None


MAKEFILES = ("GNUmakefile", "makefile", "Makefile")

RULES: dict[CommandStep, tuple[Rule, ...]] = {
    "clean": (
        Rule(files=MAKEFILES, command=("make", "clean")),
        Rule(files=(), command=None),
    ),
    "build": (
        Rule(files=MAKEFILES, command=("make",)),
        Rule(files=("Cargo.toml",), command=("cargo", "build", "--release")),
        Rule(files=("go.mod",), command=("go", "build", "-o", "main", ".")),
        Rule(files=("*.c",), choose="main", command=("cc", "-o", "main", "{files}", "-lm")),
        Rule(
            files=("*.cpp", "*.cc", "*.cxx"),
            choose="main",
            command=("c++", "-o", "main", "{files}"),
        ),
        Rule(files=("*.rs",), choose="main", command=("rustc", "-O", "-o", "main", "{file}")),
        Rule(files=("*.go",), choose="main", command=("go", "build", "-o", "main", "{files}")),
        Rule(files=("*.java",), choose="main", command=("javac", "{files}")),
        Rule(
            files=("*.py", "pyproject.toml", "setup.py", "*.R", "*.js", "*.sh"),
            command=None,
        ),
    ),
    "exec": (
        Rule(files=("./main",), choose="program", command=("./main",)),
        Rule(files=("./a.out",), choose="program", command=("./a.out",)),
        Rule(files=("Cargo.toml",), command=("cargo", "run", "--release", "--quiet")),
        Rule(files=("Main.class",), command=("java", "Main")),
        Rule(files=("*.py",), choose="main", command=("{python}", "{file}")),
        Rule(files=("*.R",), choose="main", command=("Rscript", "{file}")),
        Rule(files=("*.js",), choose="main", command=("node", "{file}")),
        Rule(files=("*.sh",), choose="main", command=("/bin/sh", "{file}")),
    ),
}
"""The first rule that fits is taken; where none does, the step fails with exit code 127."""


def looked_for(step: CommandStep) -> str:
    """Return the names of the files that the rules of *step* look for, for people."""
    return ", ".join(dict.fromkeys(name for rule in RULES[step] for name in rule.files))
