"""How places are divided among users."""

from contextlib import ExitStack

import pytest

from jupyter_exec_ext.core.errors import TooManyError
from jupyter_exec_ext.services.shares import Shares


@pytest.mark.parametrize(("maximum", "taken"), [(1, 1), (2, 1), (4, 2), (5, 3), (500, 250)])
def test_one_user_has_at_most_half(maximum: int, taken: int) -> None:
    """Rounded up; and another user still gets a place, unless there is only one."""
    shares = Shares(maximum, "streams", retry_after_seconds=7)

    with ExitStack() as held:
        for _ in range(taken):
            held.enter_context(shares.hold("a"))
        with pytest.raises(TooManyError, match=f"more than {taken} streams") as refusal:
            held.enter_context(shares.hold("a"))
        assert refusal.value.retry_after_seconds == 7
        assert shares.has_room("b") == (maximum > 1)
    assert shares.has_room("a")


def test_a_user_without_a_place_gets_one_until_all_are_taken() -> None:
    """However many the others have."""
    shares = Shares(100, "streams", retry_after_seconds=1)

    with ExitStack() as held:
        for user in ("a", "b", "c"):
            while shares.has_room(user):
                held.enter_context(shares.hold(user))
        free = 100 - 50 - 25 - 13
        for number in range(free):
            held.enter_context(shares.hold(f"new-{number}"))
        assert not shares.has_room("newest")
