"""A client that follows executions as browsers and programs do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from tests.conftest import WAIT_SECONDS

EventData = dict[str, Any]


class Stream:
    """An open answer that goes on."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()
        self.heartbeat_count = 0

    async def next(self) -> EventData | None:
        """Return the next event; ``None`` at the end."""
        async with asyncio.timeout(WAIT_SECONDS):
            if self.response.headers["Content-Type"] == "application/x-ndjson":
                return await self._next_line()
            return await self._next_sse()

    async def _next_line(self) -> EventData | None:
        async for line in self._lines:
            event: EventData = json.loads(line)
            if event != {"type": "heartbeat"}:
                return event
            self.heartbeat_count += 1
        return None

    async def _next_sse(self) -> EventData | None:
        fields: dict[str, str] = {}
        async for line in self._lines:
            name, colon, value = line.partition(": ")
            if line == "" and fields:
                event: EventData = json.loads(fields["data"])
                assert list(fields) == ["id", "event", "data"]
                assert fields["id"] == event.get("cursor", str(event["id"]))
                assert event["type"] == fields["event"]
                return event
            if line == ": heartbeat":
                self.heartbeat_count += 1
            elif line:
                assert colon
                fields[name] = value
        return None

    async def until(self, event_type: str, **fields: Any) -> list[EventData]:
        """Return the events up to the first of a type with these fields, that one included."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
            if event["type"] == event_type and event.items() >= fields.items():
                return events
        raise AssertionError(f"no {event_type} {fields} in {events}")

    async def rest(self) -> list[EventData]:
        """Return all events to the end."""
        events = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


class FollowingClient:
    """Opens streams on the server under test."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    @asynccontextmanager
    async def stream(
        self, record: EventData, *, what: str = "events", **kwargs: Any
    ) -> AsyncIterator[Stream]:
        """Open a stream of an execution."""
        async with self._open(f"executions/{record['id']}/{what}", **kwargs) as stream:
            yield stream

    @asynccontextmanager
    async def merged(
        self, *, after: str | None = None, is_sse: bool = True, **params: Any
    ) -> AsyncIterator[Stream]:
        """Open a stream of several executions, after the event with a cursor."""
        headers = {} if is_sse else {"Accept": "application/x-ndjson"}
        if after is not None:
            # As a browser does, and as programs do.
            headers, params = (
                ({"Last-Event-ID": after}, params)
                if is_sse
                else (headers, params | {"after": after})
            )
        async with self._open("events", params=params, headers=headers) as stream:
            yield stream

    @asynccontextmanager
    async def _open(self, path: str, **kwargs: Any) -> AsyncIterator[Stream]:
        async with self.http.stream("GET", path, **kwargs) as response:
            if response.status_code not in (200, 206):
                await response.aread()
            yield Stream(response)

    async def events(self, record: EventData, **kwargs: Any) -> list[EventData]:
        """Return all events to the end."""
        async with self.stream(record, **kwargs) as stream:
            assert stream.response.status_code == 200
            return await stream.rest()

    async def log(self, record: EventData, **kwargs: Any) -> httpx.Response:
        """Return the answer with the log."""
        return await self.http.get(f"executions/{record['id']}/log", **kwargs)


def text_of(events: list[EventData], name: str = "stdout") -> str:
    """Return what the events of a stream print."""
    return "".join(
        event["text"] for event in events if event["type"] == "stream" and event["name"] == name
    )


def ids_of(events: list[EventData]) -> list[int]:
    return [event["id"] for event in events]
