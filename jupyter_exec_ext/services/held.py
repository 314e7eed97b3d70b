"""Stream text that may become the kept tail of a run: held as it came, and only counted.

Once the head is full, text that is followed by enough other text is never shown. Folding it would
take longer than a kernel takes to print it, and ZeroMQ would queue without a limit in bytes.
"""

from collections import deque
from typing import Any, NamedTuple

MAX_CHUNKS = 1_000
"""How many chunks are held. More of them are so small that folding them is not what takes long."""

MUCH_BYTES = 256 * 1024
"""Text of fewer bytes is folded as soon as a reader requests it."""


class Chunk(NamedTuple):
    """A chunk of stream text: the content of its event, and the bytes of its text in UTF-8."""

    content: dict[str, Any]
    cell_index: int
    size_bytes: int


class HeldText:
    """The newest stream text of a run, in order.

    Args:
        max_bytes: How much text is kept of what is held. Older text is dropped and counted. What
            is held can be larger by one chunk.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._chunks: deque[Chunk] = deque()
        self._size_bytes = 0
        self._dropped: dict[int, int] = {}

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self._chunks)

    @property
    def is_much(self) -> bool:
        """Whether so much is held that folding it for each reader would take too long."""
        return self._size_bytes > MUCH_BYTES

    @property
    def has_many(self) -> bool:
        """Whether the number of chunks has reached its limit."""
        return len(self._chunks) >= MAX_CHUNKS

    def add(
        self, content: dict[str, Any], cell_index: int, size_bytes: int, *, left_out_bytes: int
    ) -> None:
        """Hold a chunk.

        Args:
            size_bytes: The length of its text in UTF-8.
            left_out_bytes: How many bytes before it are missing.
        """
        if left_out_bytes:
            self._drop(cell_index, left_out_bytes)
        self._chunks.append(Chunk(content, cell_index, size_bytes))
        self._size_bytes += size_bytes
        while self._size_bytes - self._chunks[0].size_bytes >= self._max_bytes:
            oldest = self._chunks.popleft()
            self._size_bytes -= oldest.size_bytes
            self._drop(oldest.cell_index, oldest.size_bytes)

    def _drop(self, cell_index: int, size_bytes: int) -> None:
        self._dropped[cell_index] = self._dropped.get(cell_index, 0) + size_bytes

    def take(self) -> tuple[dict[int, int], deque[Chunk]]:
        """Return how many bytes of each cell were dropped, and the chunks after them; hold none."""
        taken = self._dropped, self._chunks
        self._dropped, self._chunks, self._size_bytes = {}, deque(), 0
        return taken
