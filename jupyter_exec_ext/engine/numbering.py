"""Detects by the numbers of a kernel's messages that some of them were lost.

A kernel's ZeroMQ drops IOPub messages, without any error, while its queue of 1,000 is full.
"""

from collections import deque
from typing import Any

MAX_MISSING = 16
"""How many numbers may be missing after a request, so that nothing is reported that was not lost.

A thread takes a number before it signs and queues the message. At the end of a request, each of
the threads that it left behind can have one such message, and so can ipykernel's threads for
IOPub, for control requests and for subshells. What overflows a queue of 1,000 is usually more.
"""

_MAX_DIGITS = 18


class MessageNumbers:
    """Follows the numbers of a kernel's messages on IOPub.

    `jupyter_client.session.Session`, which ipykernel and most kernels in Python use, makes ids of
    the form ``{session}_{pid}_{number}``. The messages of all channels share one sequence. Ids of
    another form are ignored.

    A gap of one number is normal: a reply goes to its client only, between the ``busy`` and the
    ``idle`` of its request on IOPub; and IPython numbers an ``execute_result`` that it does not
    send where the object displays itself. So single losses are not detected, and neither are
    messages of forked processes, whose ids have another pid. Display hooks that suppress many
    messages in a row (`ipykernel.zmqshell.ZMQDisplayPublisher.register_hook`) look like a loss.

    Attributes:
        missing_count: How many messages have not come so far, without single ones. The count
            falls when a message comes after one with a higher number, as those of threads do.
    """

    def __init__(self) -> None:
        self.missing_count = 0
        self._prefix: str | None = None
        self._newest = 0
        self._elsewhere_count = 0
        self._singles: deque[int] = deque(maxlen=MAX_MISSING)

    def note_elsewhere(self) -> None:
        """Note a message that came on a channel on which the kernel waits for an answer."""
        self._elsewhere_count += 1

    def note(self, header: dict[str, Any]) -> None:
        """Note a message that came on IOPub."""
        msg_id = header.get("msg_id")
        if not isinstance(msg_id, str):
            return
        prefix, _, digits = msg_id.rpartition("_")
        if not digits.isdecimal() or len(digits) > _MAX_DIGITS:
            return
        number = int(digits)
        if prefix != self._prefix:
            # Forks print, but only the kernel itself publishes the status; it has a new prefix
            # after a restart.
            is_numbered = prefix.rpartition("_")[0] == header.get("session")
            if is_numbered and header["msg_type"] == "status":
                self._prefix, self._newest, self._elsewhere_count = prefix, number, 0
                self._singles.clear()
            return
        gap = number - self._newest - 1
        if gap >= 0:
            self._newest = number
            if gap:
                self._take_gap(gap)
        elif number in self._singles:
            self._singles.remove(number)
        else:
            self.missing_count -= 1

    def _take_gap(self, gap: int) -> None:
        elsewhere = min(gap, self._elsewhere_count)
        self._elsewhere_count -= elsewhere
        gap -= elsewhere
        if gap > 1:
            self.missing_count += gap
        elif gap:
            self._singles.append(self._newest - 1)
