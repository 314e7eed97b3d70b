"""What becomes of a notebook that is not valid, kind by kind."""

import json
import re

import nbformat
import pytest

from jupyter_exec_ext.core.errors import InvalidNotebookError, TooLargeError
from jupyter_exec_ext.services import notebook_format
from jupyter_exec_ext.services.notebook_format import open_notebook
from tests.imperfect import KINDS, REFUSED, VALID, code, nested, notebook, old, text


@pytest.mark.parametrize("kind", KINDS)
def test_it_becomes_valid_and_is_named(kind: str) -> None:
    """What is not valid is named once, and what nbformat gets is valid."""
    content, warning = KINDS[kind]

    opened = open_notebook(json.dumps(content))
    runs = [number for number, c in enumerate(opened.content["cells"]) if "one" in c["source"]]
    repaired, warnings = opened.complete(runs)

    nbformat.validate(repaired)
    assert sum(warning in text for text in warnings) == 1, warnings
    assert any("one" in cell["source"] for cell in repaired["cells"])


@pytest.mark.parametrize("kind", VALID)
def test_a_valid_notebook_stays_as_it_is(kind: str) -> None:
    """It is what nbformat itself reads."""
    content = json.dumps(VALID[kind])

    repaired, warnings = open_notebook(content).complete()

    assert not warnings
    assert repaired == nbformat.reads(content, as_version=4)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_run_is_refused(kind: str) -> None:
    """The reason is a phrase for people."""
    content, reason = REFUSED[kind]

    with pytest.raises(InvalidNotebookError, match=re.escape(reason)):
        open_notebook(content).complete([0])


def test_old_outputs_of_cells_that_run_are_not_looked_at() -> None:
    """They are replaced, so that nothing has to be said of them."""
    content = old("no output", {"output_type": "stream"})

    repaired, warnings = open_notebook(json.dumps(content)).complete([0, 1])

    assert not warnings
    assert [cell["outputs"] for cell in repaired["cells"]] == [[], []]


def test_what_an_output_has_is_kept() -> None:
    """Only what is missing is added to an output that is kept."""
    content = old({"output_type": "display_data", "data": {"text/plain": ["a\n", "b"]}, "x": 1})

    repaired, _ = open_notebook(json.dumps(content)).complete([0])

    assert repaired["cells"][1]["outputs"] == [
        {"output_type": "display_data", "data": {"text/plain": "a\nb"}, "metadata": {}}
    ]


def test_tags_that_are_valid_count() -> None:
    """A cell is skipped though another tag of it is not valid."""
    content = notebook(code(metadata={"tags": ["skip-execution", 5, "a,b"]}))

    repaired, _ = open_notebook(json.dumps(content)).complete()

    assert repaired["cells"][0]["metadata"]["tags"] == ["skip-execution"]


def test_made_ids_are_of_their_own_and_always_the_same() -> None:
    """Neither of two cells gets an id that another cell has or gets."""
    long = "x" * 70
    cells = [code(id=cell_id) for cell_id in ("a", "a", "a-1", "cell-4", None, long, long, "a b")]
    content = json.dumps(notebook(*cells))

    ids = [[c["id"] for c in open_notebook(content).complete()[0]["cells"]] for _ in range(2)]

    assert ids[0] == ids[1]
    assert len({*ids[0]}) == len(cells)
    assert [ids[0][number] for number in (0, 2, 3)] == ["a", "a-1", "cell-4"]


def test_warnings_are_few_and_short() -> None:
    """However much is wrong, and however long and odd names are."""
    strange = {f"\x1b[2J{'n' * 10_000}{number}": 1 for number in range(100)}
    cells = [text(**{f"p{number}": 1}) for number in range(40)]
    content = json.dumps(notebook(*cells, text(**strange), **strange))

    _, warnings = open_notebook(content).complete()

    assert len(warnings) == notebook_format.MAX_WARNINGS
    assert all(len(text) <= notebook_format.MAX_WARNING_LENGTH for text in warnings)
    assert all(text.isprintable() and text.isascii() for text in warnings)


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(notebook(*[{}] * 10_001)),
        json.dumps(notebook(*[code()] * 10_001))[:-2],
        json.dumps({"nbformat": 3, "worksheets": [{"cells": [{}] * 6_000}] * 2}),
        json.dumps({"nbformat": 1, "cells": [{}] * 10_001}),
        '{"nbformat": 4, "cells": [' + "[]," * 2_000_001 + "0]}",
        json.dumps({"nbformat": 4, "cells": [], "metadata": {"a": nested(90, 1_500)}}),
    ],
    ids=["cells", "cells of no JSON", "worksheets", "version 1", "lists", "deep lists"],
)
def test_too_much_is_refused_before_work_is_done(content: str) -> None:
    """The error says how much is taken."""
    with pytest.raises(TooLargeError, match=r"at most (10000|500000)|more than 5000000"):
        open_notebook(content)
