"""Lets tasks wait for a change."""

import anyio


class Signal:
    """Wakes everybody who waits for a change; who looks first and then waits misses nothing."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def fire(self) -> None:
        """Wake all that wait now."""
        self._event.set()
        self._event = anyio.Event()

    async def wait(self, seconds: float) -> None:
        """Return at the next change, or after *seconds* without one."""
        with anyio.move_on_after(seconds):
            await self._event.wait()
