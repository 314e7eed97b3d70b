"""Stream text: JupyterLab's rule for control characters, and what is kept of much text."""

import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jupyter_exec_ext.engine.streams import (
    MAX_LINE_LENGTH,
    MAX_OPEN_LINES,
    StreamBudget,
    StreamText,
    size_of,
)

PLENTY = 100_000_000

GAP = "\n[... {} bytes left out ...]\n"


def lab(text: str, shown: str = "", cursor: int = 0) -> str:
    """Return *text* as the output area of JupyterLab 4 shows it, one character at a time.

    Its model takes one text and a cursor: a character overwrites the one under the cursor, a
    carriage return moves the cursor behind the last line feed, a line feed goes to the end of the
    text, and a backspace takes away the character before the cursor and the one under it.
    """
    for character in text:
        if character == "\n":
            shown += "\n"
            cursor = len(shown)
        elif character == "\r":
            while cursor > 0 and shown[cursor - 1] != "\n":
                cursor -= 1
        elif character == "\b":
            if cursor > 0 and shown[cursor - 1] != "\n":
                shown = shown[: cursor - 1] + shown[cursor + 1 :]
                cursor -= 1
        else:
            shown = shown[:cursor] + character + shown[cursor + 1 :]
            cursor += 1
    return shown


def shown(*chunks: str, max_bytes: int = PLENTY) -> str:
    text = StreamText(StreamBudget(max_bytes))
    for chunk in chunks:
        text.append(chunk)
    return text.value


texts = st.text(st.sampled_from("ab ü☃😀\n\r\b"), max_size=40)


@given(st.lists(texts, max_size=12))
@example(["ab\r", "\n", "c"])
@example(["abc\b", "\b\b\b\b", "x\ny\b\bz"])
@example(["abcdef\rXY\b"])
@example(["a\n\b", "b"])
@example(["100%\r\r\n", "", "done\n"])
def test_text_is_shown_as_in_jupyterlab(chunks: list[str]) -> None:
    """However the text is cut into chunks, it reads as in JupyterLab."""
    assert shown(*chunks) == lab("".join(chunks))


@given(st.lists(texts, max_size=12), st.integers(0, 60))
def test_what_is_kept_does_not_depend_on_the_chunks(chunks: list[str], max_bytes: int) -> None:
    """Text cut into chunks leaves what it leaves in one piece, cuts and counts included."""
    assert shown(*chunks, max_bytes=max_bytes) == shown("".join(chunks), max_bytes=max_bytes)


@given(st.lists(st.text(st.sampled_from("ab ü☃😀"), max_size=9), max_size=30), st.integers(0, 90))
def test_the_head_and_the_tail_are_kept_and_the_rest_is_counted(
    lines: list[str], max_bytes: int
) -> None:
    """Of finished lines the first and the last half of the budget stay, in whole characters."""
    whole = "".join(f"{line}\n" for line in lines).encode()
    budget = StreamBudget(max_bytes)
    text = StreamText(budget)

    for line in lines:
        text.append(f"{line}\n")

    head, tail = bytes(text.head), b"".join(block.data for block in text.tail)
    assert len(head) + text.lost_bytes + len(tail) == len(whole)
    assert budget.lost_bytes == text.lost_bytes
    assert whole.startswith(head)
    assert whole.endswith(tail)
    head.decode()
    tail.decode()
    if text.lost_bytes:
        # A character has at most four bytes, and none is kept in part.
        assert max_bytes // 2 - 3 <= len(head) <= max_bytes // 2
        assert max_bytes - max_bytes // 2 - 3 <= len(tail) <= max_bytes - max_bytes // 2
    assert text.value == head.decode() + (
        GAP.format(text.lost_bytes) + tail.decode() if text.lost_bytes else tail.decode()
    )


@pytest.mark.parametrize("chunk_length", [1, 7, 1_000, 80_000])
def test_one_chunk_larger_than_the_tail_is_cut_not_dropped(chunk_length: int) -> None:
    """A chunk that fits neither half keeps its own beginning and its own end."""
    whole = "".join(f"{number:06}\n" for number in range(80_000 // 7))[:80_000]
    chunks = [whole[at : at + chunk_length] for at in range(0, len(whole), chunk_length)]
    budget = StreamBudget(1_000)
    text = StreamText(budget)

    for chunk in chunks:
        text.append(chunk)

    text.finish_line()
    lost = len(whole) - 1_000
    assert text.value == whole[:500] + GAP.format(lost) + whole[-500:]
    assert budget.lost_bytes == lost


def test_bytes_are_counted_not_characters() -> None:
    """The budget and what is reported lost are in bytes of UTF-8."""
    budget = StreamBudget(20)
    text = StreamText(budget)

    text.append("☃" * 9 + "\n")
    text.finish_line()

    assert text.value == "☃☃☃" + GAP.format(9) + "☃☃☃\n"
    assert size_of("☃ü\ud800") == 8
    assert size_of("☃" * 1_500_000) == 4_500_000


def test_a_cleared_output_gives_back_what_it_held() -> None:
    """After an output is cleared its bytes are free again and its losses are nobody's any more."""
    budget = StreamBudget(100)
    first, second, third = (StreamText(budget) for _ in range(3))
    first.append("a" * 49 + "\n")
    second.append("b" * 199 + "\n")
    assert budget.lost_bytes == 150

    budget.release(second)

    assert budget.lost_bytes == 0
    third.append("c" * 49 + "\n")
    assert third.value == "c" * 49 + "\n"
    assert budget.lost_bytes == 0
    assert first.value == "a" * 49 + "\n"

    budget.release(first)
    budget.release(third)

    fourth = StreamText(budget)
    fourth.append("d" * 99 + "\n")
    assert fourth.value == "d" * 99 + "\n"


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30), st.booleans()), max_size=40))
def test_the_budget_is_never_exceeded_and_comes_back_whole(
    steps: list[tuple[int, int, bool]],
) -> None:
    """Whatever several outputs add and give back, the kept bytes stay within the budget."""
    budget = StreamBudget(64)
    texts = [StreamText(budget) for _ in range(5)]
    added = [0] * 5
    for index, length, is_cleared in steps:
        if is_cleared:
            budget.release(texts[index])
            texts[index], added[index] = StreamText(budget), 0
        else:
            texts[index].append("x" * length + "\n")
            added[index] += length + 1
        kept = [len(text.head) + sum(len(block.data) for block in text.tail) for text in texts]
        assert sum(kept) <= 64
        assert kept == [all_ - text.lost_bytes for all_, text in zip(added, texts, strict=True)]
        assert budget.lost_bytes == sum(text.lost_bytes for text in texts)

    for text in texts:
        budget.release(text)

    last = StreamText(budget)
    last.append("y" * 63 + "\n")
    assert last.value == "y" * 63 + "\n"


def test_of_a_very_long_line_only_the_end_can_be_overwritten() -> None:
    """What is far before the cursor is finished, at the same place however it was cut."""
    text = "a" * MAX_LINE_LENGTH + "b" * 10 + "\rXY"
    expected = "a" * 10 + "XY" + "a" * (MAX_LINE_LENGTH - 12) + "b" * 10

    assert shown(text) == expected
    assert shown(text[:70_000], text[70_000:-2], "X", "Y") == expected


def test_only_so_many_lines_stay_open() -> None:
    """The line that was left alone longest is finished, so that open lines need bounded memory."""
    budget = StreamBudget(PLENTY)
    texts = [StreamText(budget) for _ in range(MAX_OPEN_LINES + 1)]

    for text in texts:
        text.append("old")
    for text in texts:
        text.append("\rnew")

    assert [text.value for text in texts[:2]] == ["oldnew", "oldnew"]
    # Each that is written to again pushes out another, so all were finished by then.
    budget = StreamBudget(PLENTY)
    texts = [StreamText(budget) for _ in range(MAX_OPEN_LINES)]
    for text in texts:
        text.append("old")
    for text in texts:
        text.append("\rnew")
    assert {text.value for text in texts} == {"new"}


def seconds_of(text: StreamText, chunk: str, *, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        text.append(chunk)
    return time.perf_counter() - start


CHUNKS = ["x", "☃", "x\n", "x\r\n", "\rx", "x\b", "\b", "ab\rc", "\r" + "y" * 50]


@pytest.mark.serial
@pytest.mark.parametrize("chunk", CHUNKS, ids=repr)
def test_very_many_tiny_chunks_take_seconds(chunk: str) -> None:
    """Lines, one endless line and progress bars cost little per chunk, however many."""
    text = StreamText(StreamBudget(1_000_000))

    seconds = seconds_of(text, chunk, count=100_000)

    # A hundred microseconds a chunk: ten times what it takes, for slow machines and coverage.
    assert seconds < 10
    assert len(text.value) < 1_200_000


@pytest.mark.serial
@pytest.mark.parametrize("chunk", CHUNKS, ids=repr)
def test_a_long_line_costs_no_more_than_a_short_one(chunk: str) -> None:
    """Changing a line of a hundred thousand characters does not copy all of it each time."""
    budget = StreamBudget(PLENTY)
    long, short = StreamText(budget), StreamText(budget)
    long.append("a" * MAX_LINE_LENGTH)

    # The best of several: what else the machine does slows some of them down.
    seconds = [
        min(seconds_of(text, chunk, count=10_000) for _ in range(3)) for text in (short, long)
    ]

    assert seconds[1] < 5 * seconds[0] + 0.2


@pytest.mark.serial
def test_clearing_in_a_loop_does_not_look_at_what_others_hold() -> None:
    """With the tail full of another output's blocks, clearing a small output stays cheap."""
    budget = StreamBudget(20_000_000)

    def clear_often() -> float:
        start = time.perf_counter()
        for _ in range(7_000):
            small = StreamText(budget)
            small.append("working\n")
            budget.release(small)
        return time.perf_counter() - start

    alone = min(clear_often() for _ in range(3))
    large = StreamText(budget)
    for _ in range(300):
        large.append(("z" * 99 + "\n") * 1000)

    beside_large = min(clear_often() for _ in range(3))

    # Looking at each of the six hundred blocks would take ten times as long.
    assert beside_large < 3 * alone + 0.2


@pytest.mark.serial
@pytest.mark.parametrize(
    "line", ["x" * 79 + "\n", "☃" * 40, "é" * 78 + "\r\n"], ids=["a", "b", "c"]
)
def test_one_huge_chunk_is_taken_in_pieces(line: str) -> None:
    """A chunk of 200 MB needs a few times the budget beside itself, and seconds."""
    chunk = line * (200_000_000 // len(line.encode()))
    text = StreamText(StreamBudget(10_000_000))
    tracemalloc.start()
    try:
        start = time.perf_counter()
        text.append(chunk)
        seconds = time.perf_counter() - start
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 50_000_000
    assert seconds < 20
    assert len(text.head) > 4_999_990


def test_the_reference_is_the_rule() -> None:
    """The examples that JupyterLab's own tests give."""
    examples = [
        ("hello\b", "hell"),
        ("hello\rX", "Xello"),
        ("a\nb\rc", "a\nc"),
        ("ab\b\b\b\bc", "c"),
        ("one\r\ntwo", "one\ntwo"),
        ("a\n\bb", "a\nb"),
    ]
    for text, expected in examples:
        assert lab(text) == expected == shown(text)
