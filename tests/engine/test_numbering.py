"""How lost messages are detected by the numbers of those that came."""

from typing import Any

import pytest

from jupyter_exec_ext.engine.numbering import MessageNumbers

PREFIX = "session_1"


def status(number: int, prefix: str = PREFIX) -> dict[str, Any]:
    return {**stream(number, prefix), "msg_type": "status"}


def stream(number: int, prefix: str = PREFIX) -> dict[str, Any]:
    session = prefix.rpartition("_")[0]
    return {"msg_id": f"{prefix}_{number}", "session": session, "msg_type": "stream"}


@pytest.fixture
def numbers() -> MessageNumbers:
    """Return those of a kernel whose newest message has the number 5."""
    numbers = MessageNumbers()
    numbers.note(status(5))
    return numbers


@pytest.mark.parametrize(
    ("came", "missing_count"),
    [
        ((6, 7, 8), 0),
        ((106,), 100),
        ((9, 13, 16), 8),
        ((7, 9, 11), 0),  # Replies, for example.
        ((9, 6, 8, 7), 0),
        ((7, 6, 12), 4),
        ((7, 6, 12, 8, 9, 10, 11), 0),
    ],
)
def test_gaps_are_counted_until_late_messages_close_them(
    numbers: MessageNumbers, came: tuple[int, ...], missing_count: int
) -> None:
    """A gap of one number is normal, also when it is closed later."""
    for number in came:
        numbers.note(stream(number))

    assert numbers.missing_count == missing_count


def test_what_came_on_another_channel_is_not_missing(numbers: MessageNumbers) -> None:
    """Code can send many questions without any output between them."""
    for _ in range(30):
        numbers.note_elsewhere()
    numbers.note(stream(36))
    assert numbers.missing_count == 0

    numbers.note(stream(40))
    assert numbers.missing_count == 3


def test_forks_and_restarts_have_numbers_of_their_own(numbers: MessageNumbers) -> None:
    """A fork prints with its own pid; a kernel that restarts begins with a status."""
    numbers.note(stream(1_000, "session_2"))
    numbers.note(stream(6))
    assert numbers.missing_count == 0

    numbers.note(status(0, "another_3"))
    numbers.note(stream(1, "another_3"))
    assert numbers.missing_count == 0
    numbers.note(stream(11, "another_3"))
    assert numbers.missing_count == 9


@pytest.mark.parametrize(
    "msg_ids",
    [
        (1, 100),
        (None, None),
        ("1", "100"),
        ("_1", "_100"),
        ("a3c1", "b700"),
        ("run_1", "run_100"),
        ("session_1_x", "session_1_-9"),
        (f"session_1_{'9' * 19}", f"session_1_{'9' * 5_000}"),
    ],
)
def test_ids_of_another_form_are_ignored(msg_ids: tuple[Any, Any]) -> None:
    """Other kernels have other ids, which need not be numbered."""
    numbers = MessageNumbers()
    for msg_id in msg_ids:
        numbers.note({"msg_id": msg_id, "session": "session", "msg_type": "status"})

    assert numbers.missing_count == 0
