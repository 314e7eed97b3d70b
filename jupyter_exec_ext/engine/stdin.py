"""Answers what running code asks for: from what was prepared, else by whoever answers, else not."""

import time
from collections import deque
from collections.abc import Callable, Sequence

from jupyter_exec_ext.core.models import InputRequest

SHOW_SECONDS = 0.15
"""How long a question is held back: it can overtake what the code printed before it."""

MAX_PROMPT_LENGTH = 10_000
"""In characters; what is longer is cut."""


class Stdin:
    """The questions of one run, of which there is one at a time.

    Args:
        prepared: Answers in order, after which the input ends; ``None`` asks instead.
        timeout_seconds: How long a question waits for `answer` before the input ends.
        on_question: Called with a question that is asked, and with ``None`` when it is over.

    Attributes:
        has_ended: Whether a question met the end of the input.
    """

    def __init__(
        self,
        *,
        prepared: Sequence[str] | None,
        timeout_seconds: float,
        on_question: Callable[[InputRequest | None], None],
    ) -> None:
        self._prepared = None if prepared is None else deque(prepared)
        self._timeout_seconds = timeout_seconds
        self._on_question = on_question
        self._reply: Callable[[str | None], None] | None = None
        self._question: InputRequest | None = None
        self._is_shown = False
        self._due = 0.0
        self.has_ended = False

    def ask(self, prompt: str, *, password: bool, reply: Callable[[str | None], None]) -> None:
        """Take a question of the code.

        Args:
            reply: Called once with the answer, or with ``None`` for the end of the input.
        """
        self.close()
        self._reply = reply
        if self._prepared is not None:
            self._end(self._prepared.popleft() if self._prepared else None)
            return
        self._question = InputRequest(prompt=prompt[:MAX_PROMPT_LENGTH], password=password)
        self._due = time.monotonic() + SHOW_SECONDS

    def answer(self, text: str | None) -> bool:
        """Answer the question that is shown; ``None`` ends the input.

        Returns:
            Whether there was one.
        """
        if self._reply is None or not self._is_shown:
            return False
        self._end(text)
        return True

    def _end(self, text: str | None) -> None:
        reply = self._reply
        self.close()
        self.has_ended |= text is None
        if reply is not None:
            reply(text)

    def tick(self) -> float | None:
        """Do what is due; return after how many seconds something is due again, if anything is."""
        if self._reply is None:
            return None
        left = self._due - time.monotonic()
        if left > 0:
            return left
        if not self._is_shown:
            self._is_shown = True
            self._due = time.monotonic() + self._timeout_seconds
            self._on_question(self._question)
            return self._timeout_seconds
        self._end(None)
        return None

    def close(self) -> None:
        """Forget the question that is asked, if there is one: the code waits no longer."""
        if self._is_shown:
            self._on_question(None)
        self._reply = self._question = None
        self._is_shown = False
