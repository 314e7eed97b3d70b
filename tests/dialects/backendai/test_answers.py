"""Answers, out of events and records as they are."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from jupyter_exec_ext.core.models import (
    CodeSource,
    CommandSource,
    CommandStep,
    Event,
    EventType,
    Execution,
    ExecutionError,
    Progress,
    Source,
)
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.backendai.answers import Answer, Place, exit_code_of, note_of
from jupyter_exec_ext.dialects.backendai.console import LEFT_OUT, item_of, text_of

NOW = datetime(2026, 1, 2, tzinfo=UTC)
TABLE = {"text/html": "<table></table>", "text/plain": "t"}
NUMBER = {"text/html": "4", "text/markdown": "4", "text/plain": "[1] 4"}


def event(number: int, event_type: EventType, **content: Any) -> Event:
    return Event(number=number, type=event_type, cell_index=0, content=content)


def read(answer: Answer, *events: Event) -> list[str | None]:
    return [answer.take(one) for one in events]


def test_text_is_cut_where_an_answer_is_full_and_goes_on_there() -> None:
    """Of each stream by itself; a place is in the middle of an event if need be."""
    events = [
        event(1, EventType.STREAM, name="stdout", text="abcdef"),
        event(2, EventType.STREAM, name="stderr", text="xyz"),
    ]
    first = Answer(Place(), is_command=False, max_chars=4)
    second = Answer(Place(number=0, chars=4), is_command=False, max_chars=4)

    assert read(first, events[0]) == ["continued"]
    assert read(second, *events) == [None, None]

    assert (first.console.items, first.place) == ([["stdout", "abcd"]], Place(number=0, chars=4))
    assert second.console.items == [["stdout", "ef"], ["stderr", "xyz"]]
    assert second.place == Place(number=2)


def test_the_end_is_told_as_often_as_it_is_read() -> None:
    """It is not behind the place: whoever asks again reads it again."""
    answer = Answer(Place(number=3), is_command=False, max_chars=9)

    assert read(answer, event(4, EventType.END)) == ["finished"]
    assert answer.place == Place(number=3)


def test_steps_end_one_by_one() -> None:
    """Also those that one event tells together."""
    answer = Answer(Place(), is_command=True, max_chars=9)
    build = event(1, EventType.PROGRESS, current_step="build")
    end = event(2, EventType.END)

    found = read(answer, build, build, end, end, end)

    assert found == ["clean-finished", None, "build-finished", "finished", "finished"]


def test_a_question_ends_an_answer_behind_its_prompt() -> None:
    """And says whether the answer is to be hidden."""
    answer = Answer(Place(), is_command=False, max_chars=9)

    found = read(answer, event(1, EventType.INPUT_REQUEST, prompt="? ", password=True))

    assert (found, answer.is_password) == (["waiting-input"], True)
    assert (answer.console.items, answer.place.number) == ([["stdout", "? "]], 1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (TABLE, ["html", "<table></table>"]),
        (NUMBER, ["stdout", "[1] 4\n"]),
        ({"text/html": "4"}, ["html", "4"]),
        ({"image/svg+xml": "<svg/>", **TABLE}, ["media", ["image/svg+xml", "<svg/>"]]),
        ({"image/png": "no base 64!", "text/plain": "p"}, ["stdout", "p\n"]),
        ({"application/json": {"a": [1]}}, ["media", ["application/json", '{"a": [1]}']]),
        ({"application/json": {"a": 1}, "text/plain": "j"}, ["stdout", "j\n"]),
        ({"application/x-unheard-of": "x"}, None),
    ],
)
def test_the_richest_that_a_console_shows(data: dict[str, Any], expected: Any) -> None:
    """Pictures, then HTML that is more than text, then text, then JSON."""
    output = event(1, EventType.OUTPUT, msg_type="display_data", data=data)

    assert item_of(output) == expected


def test_a_log_has_what_the_console_has() -> None:
    """Prompts and gaps too, and no media."""
    events = [
        event(1, EventType.INPUT_REQUEST, prompt="name? "),
        event(2, EventType.STREAM, name="stderr", text="Ada\n"),
        event(4, EventType.GAP, lost=2),
        event(5, EventType.OUTPUT, msg_type="display_data", data=TABLE),
        event(6, EventType.END),
    ]

    assert text_of(events) == f"name? Ada\n{LEFT_OUT}"


COMMAND = CommandSource(clean="c", build="b", exec="e")
ENDS = ("clean-finished", "build-finished", "finished")


def execution_of(
    source: Source, code: str | None = None, step: CommandStep | None = None, **how: Any
) -> Execution:
    return Execution(
        id="1",
        type=source.type,
        state=State.SUCCEEDED if code is None else State.FAILED,
        source=source,
        session_id="2",
        kernel_name="python3",
        created_time=NOW,
        progress=Progress(current_step=step),
        error=None if code is None else ExecutionError(code=code, message="why", **how),
    )


@pytest.mark.parametrize(
    ("source", "error", "step", "codes", "expected"),
    [
        (COMMAND, None, None, {"clean": 2, "build": 0, "exec": 0}, [2, 0, 0]),
        (COMMAND, "Timeout", "exec", {"clean": 0, "build": 0, "exec": 130}, [0, 0, 124]),
        (COMMAND, "Timeout", "build", {"clean": 0, "build": 130}, [0, 124, 127]),
        (CommandSource(exec="e"), "Timeout", "exec", {}, [0, 0, 124]),
        (COMMAND, "CommandFailed", "exec", {"clean": 0, "build": 0}, [0, 0, 127]),
        (COMMAND, "KernelDied", "build", {"clean": 0}, [0, 130, 127]),
    ],
)
def test_exit_codes_of_steps(
    source: Source,
    error: str | None,
    step: CommandStep | None,
    codes: dict[CommandStep, int],
    expected: list[int],
) -> None:
    """That of the program, but for what ended it from outside."""
    execution = execution_of(source, error, step)

    assert [exit_code_of(execution, end, codes) for end in ENDS] == expected
    assert exit_code_of(execution, "continued", codes) is None


def test_a_note_has_what_the_kernel_wrote_before_it_ended() -> None:
    execution = execution_of(CodeSource(code="1"), "KernelStartFailed")
    error = replace(execution.error, details=["one", "two"]) if execution.error else None

    assert note_of(replace(execution, error=error)) == "why\none\ntwo\n"


@pytest.mark.parametrize(
    ("execution", "code", "note"),
    [
        (execution_of(CodeSource(code="1")), 0, ""),
        (execution_of(CodeSource(code="1"), "CodeError"), 0, ""),
        (execution_of(CodeSource(code="1"), "Timeout"), 124, "why\n"),
        (execution_of(CodeSource(code="1"), "KernelStartFailed"), 127, "why\n"),
        (execution_of(CodeSource(code="1"), "KernelDied"), 130, ""),
        (execution_of(COMMAND, "CommandFailed", exit_code=3), 127, ""),
        (execution_of(COMMAND, "CommandFailed"), 127, "why\n"),
    ],
)
def test_what_only_a_note_tells_is_told(execution: Execution, code: int, note: str) -> None:
    """A failure of the code itself is on the console already."""
    assert exit_code_of(execution, "finished", {}) == code
    assert note_of(execution) == note
