"""Divides a limited number of places, such as streams or transfers, among users."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from jupyter_exec_ext.core.errors import TooManyError


class Shares:
    """Places that users hold for a time, so that no user can take all of them.

    A user gets another place only while the user holds fewer places than are free. One user
    therefore holds at most half of them, and there is a place for each user who holds none until
    all are taken.

    Args:
        maximum: How many places there are.
        name: What holds a place, in the plural, for the error.
        retry_after_seconds: When a client that was refused may try again.
    """

    def __init__(self, maximum: int, name: str, *, retry_after_seconds: int) -> None:
        self._maximum = maximum
        self._name = name
        self._retry_after_seconds = retry_after_seconds
        self._held: Counter[str] = Counter()

    def has_room(self, user: str) -> bool:
        """Whether *user* may have another place."""
        return self._held[user] < self._maximum - self._held.total()

    @contextmanager
    def hold(self, user: str) -> Iterator[None]:
        """Hold a place for *user*.

        Raises:
            TooManyError: All places are taken, or the user has as many as are free.
        """
        if not self.has_room(user):
            raise TooManyError(
                f"the user must not have more than {self._held[user]} {self._name} while"
                f" {self._held.total()} of {self._maximum} are in use; try again later",
                retry_after_seconds=self._retry_after_seconds,
            )
        self._held[user] += 1
        try:
            yield
        finally:
            self._held[user] -= 1
            if not self._held[user]:
                del self._held[user]
