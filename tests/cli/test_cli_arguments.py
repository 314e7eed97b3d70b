"""What can be typed, and what it is turned into."""

import argparse
import io
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.cli.arguments import UsageError, build_parser, parse_cells, read_inputs
from jupyter_exec_ext.cli.run import local_destination, make_plan
from jupyter_exec_ext.cli.servers import Address, named_server


@pytest.fixture(autouse=True)
def _no_server_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUPYTER_EXEC_URL", raising=False)
    monkeypatch.delenv("JUPYTER_EXEC_TOKEN", raising=False)


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    file = tmp_path / "a.ipynb"
    file.write_text("{}")
    return file


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("0", [0]),
        ("2, load,plot", [2, "load", "plot"]),
        ("12345678", ["12345678"]),
        ("from=load", {"from": "load"}),
        ("up_to=3", {"up_to": 3}),
        ("tag=slow", {"tag": "slow"}),
    ],
)
def test_cells_are_ids_indexes_or_a_range(text: str, cells: Any) -> None:
    """Short numbers are indexes; long ones are ids, as tools make them."""
    assert parse_cells(text) == cells


@pytest.mark.parametrize("text", ["", "a,,b", "to=3", "from=", "tag="])
def test_other_cells_are_refused(text: str) -> None:
    """What means nothing is a mistake, not an empty choice."""
    with pytest.raises(argparse.ArgumentTypeError):
        parse_cells(text)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run", "a.ipynb", "-i", "NOVALUE"],
        ["run", "a.ipynb", "-i", "=x"],
        ["run", "a.ipynb", "--timeout", "0"],
        ["run", "a.ipynb", "--timeout", "soon"],
        ["run", "a.ipynb", "--timeout", "inf"],
        ["run", "a.ipynb", "--on-error", "panic"],
        ["list", "--state", "lost"],
        ["list", "--limit", "0"],
        ["cancel"],
        ["execute", "a.ipynb"],
    ],
)
def test_a_mistake_is_one_error(arguments: list[str]) -> None:
    """Argparse's mistakes come as the same error as our own, and say where help is."""
    with pytest.raises(UsageError, match=r"; see jupyter exec.* --help$"):
        build_parser().parse_args(arguments)


def test_a_refused_input_is_not_repeated() -> None:
    """What was typed may be a secret."""
    with pytest.raises(UsageError) as caught:
        build_parser().parse_args(["run", "a.ipynb", "-i", "hunter2"])
    assert "hunter2" not in str(caught.value)


def test_the_plan_holds_what_was_typed(notebook: Path, tmp_path: Path) -> None:
    """Each option ends in its field of the request; what was not given is left to the server."""
    inputs = tmp_path / "inputs.json"
    inputs.write_text('{"SIZES": [1, 2], "SPECIES": "Gentoo"}')
    typed = ["-i", "SPECIES=Adelie", "-i", "EMPTY=", "-i", "SUM=1=1", "-o", "x", "-o", "y"]
    typed += ["--inputs-json", str(inputs), "--kernel", "ir", "--cell-timeout", "1.5"]
    typed += ["--label", "team=a", "--on-error", "continue", "--save-to", "server:out.ipynb"]

    plan = make_plan(build_parser().parse_args(["run", str(notebook), *typed]))

    assert plan.local == notebook
    assert plan.address is None
    assert (plan.save_here, plan.save_there) == (None, "out.ipynb")
    assert plan.request == {
        "cells": None,
        "kernel_name": "ir",
        "inputs": {"SIZES": [1, 2], "SPECIES": "Adelie", "EMPTY": "", "SUM": "1=1"},
        "variable_names": ["x", "y"],
        "stdin": None,
        "timeout_seconds": None,
        "cell_timeout_seconds": 1.5,
        "on_error": "continue",
        "labels": {"team": "a"},
    }


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        (["run"], "NOTEBOOK"),
        (["run", "missing.ipynb"], "NOTEBOOK"),
        (["run", "a.ipynb", "--upload", "a.ipynb"], "--upload"),
        (["run", "a.ipynb", "--save-to", "."], "--save-to"),
        (["run", "a.ipynb", "--save-to", "nowhere/out.ipynb"], "--save-to"),
        (["run", "a.ipynb", "--save-to", "server:"], "--save-to"),
        (["run", "a.ipynb", "--token", "t"], "--token"),
        (["run", "a.ipynb", "--server", "localhost:8888"], "--server"),
        (["run", "a.ipynb", "--inputs-json", "missing.json"], "--inputs-json"),
        (["run", "a.ipynb", "--inputs-json", "list.json"], "--inputs-json"),
        (["run", "a.ipynb", "--inputs-json", "bad.json"], "--inputs-json"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    typed: list[str], field: str, notebook: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message begins with the option that is at fault."""
    monkeypatch.chdir(notebook.parent)
    Path("list.json").write_text("[1]")
    Path("bad.json").write_text("{'a': 1}")

    with pytest.raises(UsageError, match=f"^{field}: |^{field} needs"):
        make_plan(build_parser().parse_args(typed))


def test_inputs_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--inputs-json -` keeps values out of the list of processes."""
    monkeypatch.setattr("sys.stdin", io.StringIO('{"KEY": "value"}'))
    arguments = build_parser().parse_args(["run", "a.ipynb", "--inputs-json", "-"])

    assert read_inputs(arguments) == {"KEY": "value"}


def test_save_to_takes_a_new_and_an_old_file(notebook: Path) -> None:
    """Only folders that exist are written to; files may exist."""
    assert local_destination(str(notebook)) == notebook
    assert local_destination(str(notebook.with_name("new.ipynb"))).name == "new.ipynb"


def test_with_a_server_the_notebook_is_a_path_there(notebook: Path) -> None:
    """A path is not looked for here; an uploaded file is."""
    there = ["run", "x/y.ipynb", "--server", "http://h:1/"]
    upload = ["--upload", str(notebook)]

    plan = make_plan(build_parser().parse_args(there))
    both = make_plan(build_parser().parse_args([*there, *upload]))
    derived = make_plan(build_parser().parse_args([*there[:1], *there[2:], *upload]))

    assert (plan.local, plan.path) == (None, "x/y.ipynb")
    assert (both.local, both.path) == (notebook, "x/y.ipynb")
    assert (derived.local, derived.path) == (notebook, None)


BASE = "http://h:1/user/a%40b/"


@pytest.mark.parametrize(
    ("url", "token", "environment", "address"),
    [
        (None, None, {}, None),
        (BASE, None, {}, Address(url=BASE, token=None)),
        (BASE, "t", {"JUPYTER_EXEC_TOKEN": "e"}, Address(url=BASE, token="t")),
        (BASE, None, {"JUPYTER_EXEC_TOKEN": "e"}, Address(url=BASE, token="e")),
        (None, None, {"JUPYTER_EXEC_URL": BASE}, Address(url=BASE, token=None)),
        (
            None,
            None,
            {"JUPYTER_EXEC_URL": BASE, "JUPYTER_EXEC_TOKEN": "e"},
            Address(url=BASE, token="e"),
        ),
        (None, "t", {"JUPYTER_EXEC_URL": BASE}, Address(url=BASE, token="t")),
        (
            BASE,
            None,
            {"JUPYTER_EXEC_URL": "http://other/", "JUPYTER_EXEC_TOKEN": "e"},
            Address(url=BASE, token=None),
        ),
        ("http://h:1/a/lab?token=q", None, {}, Address(url="http://h:1/a", token="q")),
        ("http://h:1/?token=q", "t", {}, Address(url="http://h:1/", token="t")),
        ("http://h:1/user/lab", None, {}, Address(url="http://h:1/user/lab", token=None)),
    ],
)
def test_options_name_the_server_before_the_environment(
    url: str | None, token: str | None, environment: dict[str, str], address: Address | None
) -> None:
    """The token of the environment goes only to the server of the environment, if it has one."""
    assert named_server(url, token, environment) == address


@pytest.mark.parametrize(
    "url", ["h", "h:8888", "ftp://h/", "http:///x", "http://h:x/", "http://u:p@h/", "http://[h/"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    """A password in a URL would show in messages, so it is none of ours either."""
    with pytest.raises(UsageError, match="--server"):
        named_server(url, None, {})


def test_a_token_that_no_header_can_hold_is_refused() -> None:
    """It is not repeated."""
    with pytest.raises(UsageError, match=r"^--token: a token has printable ASCII characters only$"):
        named_server("http://h/", "tök\nen", {})
