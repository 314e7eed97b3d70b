"""Lets tasks wait for a change."""

import asyncio


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
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        timer = loop.call_later(seconds, _wake, future)
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.remove(future)
            timer.cancel()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
