"""Notebook files on this machine."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jupyter_exec_ext.cli.notebooks import CellTexts, read_notebook, write_notebook

NOTEBOOK: dict[str, Any] = {
    "nbformat": 4,
    "nbformat_minor": 5,
    "metadata": {"language_info": {"name": "R"}},
    "cells": [
        {
            "id": "words",
            "cell_type": "markdown",
            "metadata": {},
            "source": "# Ünïcode\n\nmore",
            "attachments": {"a.png": {"image/png": "AAAA\nBBBB\n"}},
        },
        {
            "id": "code",
            "cell_type": "code",
            "metadata": {"trusted": True, "tags": ["a"]},
            "execution_count": 1,
            "source": "\n  x <- 1\nx",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": "one\ntwo\n"},
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": {
                        "text/plain": "a\nb",
                        "application/json": "a\nb",
                        "image/svg+xml": "<svg>\n</svg>",
                        "image/png": "AAAA\nBBBB\n",
                    },
                },
                {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["a\nb"]},
            ],
        },
        {
            "id": "empty",
            "cell_type": "code",
            "metadata": {},
            "execution_count": None,
            "source": "",
            "outputs": [],
        },
    ],
}


def test_the_file_is_what_nbformat_writes(tmp_path: Path) -> None:
    """The same bytes, so that a notebook in version control changes only where it changed."""
    path = tmp_path / "out.ipynb"

    write_notebook(path, NOTEBOOK)

    theirs = nbformat.writes(nbformat.reads(json.dumps(NOTEBOOK), as_version=4))
    assert path.read_text("utf-8") == theirs + "\n"
    assert [*tmp_path.iterdir()] == [path]


def test_half_a_character_is_written_as_an_escape(tmp_path: Path) -> None:
    """UTF-8 cannot hold a lone surrogate, JSON can."""
    notebook = {**NOTEBOOK, "cells": [{"cell_type": "raw", "source": "\ud800", "metadata": {}}]}

    write_notebook(tmp_path / "out.ipynb", notebook)

    text = read_notebook(tmp_path / "out.ipynb")
    assert json.loads(text)["cells"][0]["source"] == ["\ud800"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs file modes and links")
def test_a_file_that_is_replaced_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    """The target of a link is replaced, not the link."""
    target = tmp_path / "target.ipynb"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link.ipynb").symlink_to(target)

    write_notebook(tmp_path / "link.ipynb", NOTEBOOK)

    assert (tmp_path / "link.ipynb").is_symlink()
    assert json.loads(target.read_text("utf-8"))["nbformat"] == 4
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="needs file modes")
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    """Not that of a temporary file, which only its owner may read."""
    (tmp_path / "any").touch()

    write_notebook(tmp_path / "out.ipynb", NOTEBOOK)

    assert (tmp_path / "out.ipynb").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Whole or not at all."""
    (tmp_path / "out.ipynb").mkdir()
    (tmp_path / "out.ipynb" / "kept").touch()

    with pytest.raises(OSError, match=r"out\.ipynb"):
        write_notebook(tmp_path / "out.ipynb", NOTEBOOK)

    assert [path.name for path in tmp_path.iterdir()] == ["out.ipynb"]


@pytest.mark.parametrize("text", ["", "[1]", "{'a': 1}"])
def test_what_is_not_a_json_object_is_no_notebook(text: str, tmp_path: Path) -> None:
    """Whether an object is a valid notebook, the server tells."""
    (tmp_path / "a.ipynb").write_text(text)

    with pytest.raises(ValueError):
        read_notebook(tmp_path / "a.ipynb")


def test_a_cell_is_called_by_its_first_line() -> None:
    """Else by its id, else by its index; cells without ids are found by index."""
    cells = CellTexts(NOTEBOOK)
    without_ids = CellTexts(
        {"cells": [{"source": ["\n", "import this\n"]}], "metadata": {"kernelspec": {}}}
    )

    assert cells.title("code", 1) == "x <- 1"
    assert cells.title("empty", 2) == "empty"
    assert cells.title("gone", 7) == "gone"
    assert CellTexts().title(None, 7) == "cell 7"
    assert CellTexts().title(None, None) == ""
    assert without_ids.title(None, 0) == "import this"
    found = cells.find("code", None)
    assert found is not None
    assert (found.language, found.source) == ("R", "\n  x <- 1\nx")


def test_a_byte_order_mark_is_no_part_of_a_notebook(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    (tmp_path / "a.ipynb").write_text('{"cells": []}', "utf-8-sig")

    assert read_notebook(tmp_path / "a.ipynb") == '{"cells": []}'
