"""Lines of a guard, as they come, are damaged, or are forged."""

import base64
import json
from typing import Any

import pytest

from jupyter_exec_ext.engine.commands.frames import Ending, Frames

MARKER = "MARKER"


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def line(kind: str, data: bytes, offset: int | None = None) -> str:
    return f"{MARKER} {kind} {'' if offset is None else f'{offset} '}{encoded(data)}\n"


def end(**facts: Any) -> str:
    known = {"exit_code": 0, "stdout_bytes": 0, "stderr_bytes": 0, **facts}
    return line("x", json.dumps(known).encode())


def taken(*texts: str) -> tuple[Frames, list[dict[str, Any]]]:
    contents: list[dict[str, Any]] = []
    frames = Frames(MARKER, contents.append)
    for text in texts:
        frames.take_text(text)
    return frames, contents


def test_text_of_both_streams() -> None:
    """A character that is cut between two lines stays whole."""
    euro = "€".encode()
    frames, contents = taken(
        line("o", b"a" + euro[:1], 0),
        line("e", b"x", 0) + line("o", euro[1:], 2),
        end(exit_code=3, stdout_bytes=4, stderr_bytes=1),
    )

    assert contents == [
        {"name": "stdout", "text": "a"},
        {"name": "stderr", "text": "x"},
        {"name": "stdout", "text": "€"},
    ]
    assert frames.ending == Ending(exit_code=3)


def test_what_is_missing_is_counted() -> None:
    """Between two lines and at the end; half a character before a hole is replaced."""
    _, contents = taken(
        line("o", b"a\xe2", 0), line("o", b"b", 10), end(stdout_bytes=20, stderr_bytes=5)
    )

    assert contents == [
        {"name": "stdout", "text": "a"},
        {"name": "stdout", "text": "\ufffd"},
        {"name": "stdout", "text": "b", "left_out_bytes": 8},
        {"name": "stdout", "text": "", "left_out_bytes": 9},
        {"name": "stderr", "text": "", "left_out_bytes": 5},
    ]


def test_a_line_that_comes_twice_counts_once() -> None:
    frames, contents = taken(line("o", b"a", 0), line("o", b"a", 0), end(stdout_bytes=1))

    assert contents == [{"name": "stdout", "text": "a"}]
    assert frames.ending is not None


def test_a_step_with_nothing_to_do() -> None:
    frames, _ = taken(line("x", b'{"is_skipped": true, "stdout_bytes": 0, "stderr_bytes": 0}'))

    assert frames.ending == Ending()


@pytest.mark.parametrize(
    "text",
    [
        f"{MARKER} x !!!\n",
        f"{MARKER} x AAAA\n",
        line("x", b"[]"),
        line("x", b"{}"),
        end(exit_code="0"),
        end(exit_code=True),
        end(exit_code=-1),
        end(exit_code=2**40),
        end(stdout_bytes=2**60),
        end().replace(MARKER, "OTHER"),
        f"{MARKER} o 99999999999999999999999 AAAA\n",
        f"{MARKER} o 0 A\n",
        "nothing of ours",
    ],
)
def test_what_is_damaged_tells_nothing(text: str) -> None:
    frames, contents = taken(text)

    assert frames.ending is None
    assert contents == []


def test_a_signal_is_a_name_of_one() -> None:
    """No other text of a kernel comes into a message."""
    good, _ = taken(end(exit_code=137, signal="SIGKILL"))
    forged, _ = taken(end(exit_code=137, signal="SIGKILL\nof nobody"))

    assert good.ending == Ending(exit_code=137, signal="SIGKILL")
    assert forged.ending == Ending(exit_code=137)


def test_only_displays_of_ours_and_prints_are_read() -> None:
    """Whatever else a kernel publishes meanwhile."""
    contents: list[dict[str, Any]] = []
    frames = Frames(MARKER, contents.append)
    for msg_type, content in (
        ("execute_result", {"data": {"text/vnd.jupyter-exec-reading": line("o", b"no", 0)}}),
        ("display_data", {"data": {"text/plain": line("o", b"no", 0)}}),
        ("display_data", {"data": 5}),
        ("stream", {"text": 5}),
        ("display_data", {"data": {"text/vnd.jupyter-exec-reading": line("o", b"1", 0)}}),
        ("stream", {"name": "stdout", "text": f"junk {line('o', b'2', 1)}"}),
    ):
        frames.take({"header": {"msg_type": msg_type}, "content": content})

    assert [content["text"] for content in contents] == ["1", "2"]
