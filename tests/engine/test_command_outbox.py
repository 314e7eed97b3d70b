"""What a guard writes, whatever the pace of the one who reads."""

import base64
import os
import random
from collections.abc import Iterator

import pytest

from jupyter_exec_ext.engine.commands.guard.outbox import Outbox

MARKER = "MARKER"
LIMIT = 100_000
CHUNK = 1_000


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    for fd in (reader, writer):
        os.set_blocking(fd, False)
    yield reader, writer
    os.close(reader)
    os.close(writer)


def read_all(reader: int) -> bytes:
    data = b""
    while True:
        try:
            data += os.read(reader, 65536)
        except BlockingIOError:
            return data


@pytest.mark.parametrize("seed", range(20))
def test_what_comes_is_what_was_taken_but_for_the_middle(pipe: tuple[int, int], seed: int) -> None:
    """Each line has the bytes of its offset, both ends are whole, and no line comes twice."""
    reader, writer = pipe
    chance = random.Random(seed)
    outbox = Outbox(writer, MARKER, LIMIT, CHUNK)
    sent = {"o": b"", "e": b""}
    lines = b""

    for _ in range(1_500):
        kind = chance.choice("ooooe")
        data = chance.randbytes(chance.choice((1, 10, 300, 999, 2_500)))
        sent[kind] += data
        outbox.add(kind, data)
        outbox.write(is_last=chance.random() < 0.05)
        if chance.random() < 0.2:
            lines += read_all(reader)
    while outbox.queue or outbox.line:
        outbox.write(is_last=True)
        lines += read_all(reader)
    lines += read_all(reader)

    ends = {"o": 0, "e": 0}
    kept = 0
    for line in lines.splitlines():
        marker, kind, offset, text = line.decode().split()
        data, start = base64.b64decode(text), int(offset)
        assert marker == MARKER
        assert start >= ends[kind], "a line came twice or too late"
        assert data == sent[kind][start : start + len(data)]
        assert kept >= LIMIT or start == ends[kind], "the beginning has a hole"
        ends[kind] = start + len(data)
        kept += len(data)
    total = sum(map(len, sent.values()))
    assert ends == {kind: len(data) for kind, data in sent.items()}
    assert min(total, 2 * LIMIT - 2 * CHUNK) <= kept <= total
    assert outbox.queued == 0
