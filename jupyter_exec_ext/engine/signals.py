"""Lets tasks wait for a change."""

import asyncio
from collections.abc import Iterable


class Signal:
    """Wakes everybody who waits for a change; who looks first and then waits misses nothing.

    It is made of futures rather than anyio's events and scopes: each run waits a dozen times.
    """

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def fire(self) -> None:
        """Wake all that wait now."""
        for future in self._waiting:
            _wake(future)

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after *seconds* without one."""
        await wait_for_any((self,), seconds)

    def add(self, future: asyncio.Future[None]) -> None:
        """Let the next change end *future*, until `discard`."""
        self._waiting.add(future)

    def discard(self, future: asyncio.Future[None]) -> None:
        """Leave *future* as it is from now on."""
        self._waiting.discard(future)


async def wait_for_any(signals: Iterable[Signal], seconds: float) -> None:
    """Return at the next change that one of *signals* reports, or after *seconds* without one."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    timer = loop.call_later(seconds, _wake, future)
    watched = tuple(signals)
    for signal in watched:
        signal.add(future)
    try:
        await future
    finally:
        for signal in watched:
            signal.discard(future)
        timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
