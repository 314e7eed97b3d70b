"""Files far larger than what a server may take of memory go in and out."""

import hashlib
import random
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import pytest

from tests.process.conftest import ServerProcess
from tests.process.test_memory import (
    MAX_ANSWER_SECONDS,
    MAX_SETTLED_BYTES,
    settled_bytes,
    watching,
)

pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif(sys.platform != "linux", reason="resident memory, as Linux counts it"),
]

PIECE = random.Random(0).randbytes(1024 * 1024)
PIECES = 1024
SIZE = PIECES * len(PIECE)
MAX_PEAK_BYTES = 150_000_000


def pieces() -> Iterator[bytes]:
    """Yield 1 GiB in which no two places are the same."""
    for number in range(PIECES):
        yield number.to_bytes(8, "big") + PIECE[8:]


def digest_of(data: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in data:
        digest.update(piece)
    return digest.hexdigest()


class Stream:
    """What `tarfile` reads from, of what a client receives."""

    def __init__(self, data: Iterator[bytes]) -> None:
        self._data = data
        self._left = b""

    def read(self, size: int) -> bytes:
        """Return *size* bytes, fewer at the end."""
        while len(self._left) < size and (piece := next(self._data, b"")):
            self._left += piece
        found, self._left = self._left[:size], self._left[size:]
        return found


@pytest.mark.timeout(280)
def test_a_gibibyte_up_and_down(start_server: Callable[..., ServerProcess]) -> None:
    """Byte for byte, above the server's own limit of 512 MiB, and memory does not grow with it."""
    server = start_server()
    session = server.http.post("sessions", json={"path": ""}).json()
    base = f"sessions/{session['id']}"
    server.http.put(f"{base}/files/warm", content=b"1").raise_for_status()
    expected = digest_of(pieces())
    took: dict[str, float] = {}

    def measured(name: str, work: Callable[[], Any]) -> Any:
        start = time.monotonic()
        result = work()
        took[name] = time.monotonic() - start
        return result

    with watching(server, f"{server.url}exec/{base}") as use:
        put = measured(
            "up", lambda: server.http.put(f"{base}/files/big", content=pieces(), timeout=200)
        )
        assert put.status_code == 201, put.text
        assert put.json()["size_bytes"] == SIZE
        with server.http.stream("GET", f"{base}/files/big", timeout=200) as got:
            assert measured("down", lambda: digest_of(got.iter_raw())) == expected
        with server.http.stream("GET", f"{base}/archive?path=big", timeout=200) as got:
            file = cast("IO[bytes]", Stream(got.iter_raw()))
            with tarfile.open(fileobj=file, mode="r|") as tar:
                (member,) = [name for name in iter(tar.next, None) if name.name == "big"]
                assert member.size == SIZE
    settled = settled_bytes(server, use)
    assert use.peak_bytes < MAX_PEAK_BYTES, took
    assert settled < MAX_SETTLED_BYTES
    assert use.answer_seconds < MAX_ANSWER_SECONDS
