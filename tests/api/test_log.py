"""The log of an execution: all of it, parts of it, and as it grows."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.models import Event, EventType, Execution, Result
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.services.events import encode_event
from tests.api.conftest import START
from tests.api.following import FollowingClient
from tests.api.session_files import BareRequest
from tests.conftest import ExecApi

GATE = "import pathlib, time\nwhile not pathlib.Path('{0}').exists(): time.sleep(0.005)\n"

KeepLog = Callable[..., Awaitable[Execution]]


@pytest.fixture
def keep_log(exec_app: ExecApp, keep_final: Any) -> KeepLog:
    """Keep a final execution that printed these texts, with something else in between."""

    async def keep(*texts: str) -> Execution:
        pending: Execution = await keep_final(state=State.PENDING)
        final = advance(advance(pending, State.RUNNING, at=START), State.SUCCEEDED, at=START)
        events = []
        for number, text in enumerate(texts):
            content = {"name": ("stdout", "stderr")[number % 2], "text": text}
            stream = Event(number=2 * number, type=EventType.STREAM, cell_index=0, content=content)
            told = {"done": number}
            other = Event(
                number=2 * number + 1, type=EventType.PROGRESS, cell_index=0, content=told
            )
            events += [stream, other]
        rows = [encode_event(event) for event in events]
        await exec_app.store.finish(final, result=msgspec.json.encode(Result()), events=rows[1:])
        return final

    return keep


async def test_every_range_is_that_part_of_the_whole(
    following: FollowingClient, keep_log: KeepLog
) -> None:
    """From, to, and the last; beyond the end it is as much as there is. In bytes, not letters."""
    record = {"id": (await keep_log("", *(f"{n} ünï ☃\n" for n in range(300)))).id}
    whole = (await following.log(record)).content
    size = len(whole)
    chance = random.Random(0)
    cases: list[tuple[int | None, int | None]] = [
        *((0, 0), (0, None), (0, size * 2), (size - 1, None), (None, 1), (None, size * 2))
    ]
    for _ in range(20):
        place = chance.randrange(size)
        cases += [(place, chance.randrange(place, size)), (place, None), (None, 1 + place)]

    for first, last in cases:
        text = f"bytes={'' if first is None else first}-{'' if last is None else last}"
        answer = await following.log(record, headers={"Range": text})
        start = max(0, size - (last or 0)) if first is None else first
        stop = size if first is None or last is None else min(last + 1, size)
        assert answer.status_code == 206
        assert answer.content == whole[start:stop]
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert answer.headers["Content-Length"] == str(stop - start)
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_ranges_that_are_none(following: FollowingClient, keep_log: KeepLog) -> None:
    """Beyond the end is 416 and says how much there is; what is no range is as if not given."""
    record = {"id": (await keep_log("", "abc", "def")).id}

    for text in ("bytes=6-", "bytes=99-100", "bytes=-0"):
        answer = await following.log(record, headers={"Range": text})
        assert answer.status_code == 416
        assert answer.headers["Content-Range"] == "bytes */6"
        assert answer.json()["code"] == "RangeNotSatisfiable"
    for text in ("bytes=", "bytes=-", "bytes=2-1", "lines=1-2", "bytes=0-1,3-4", "bytes=x-", "0-1"):
        answer = await following.log(record, headers={"Range": text})
        assert (answer.status_code, answer.content) == (200, b"abcdef")
        assert answer.headers["Accept-Ranges"] == "bytes"
    answer = await following.log(record, headers={"Range": "bytes=1-2", "If-Range": '"x"'})
    assert (answer.status_code, answer.content) == (200, b"abcdef")


@pytest.mark.serial
async def test_a_hostile_range_holds_nothing_up(
    following: FollowingClient, keep_log: KeepLog
) -> None:
    """A header of 62 kB was read in quadratic time, and the server answered nobody for 12 s."""
    record = {"id": (await keep_log("", "abc")).id}
    start = time.monotonic()

    answer = await following.log(record, headers={"Range": f"bytes=1-{' ' * 62_000}x"})

    assert (answer.status_code, answer.content) == (200, b"abc")
    assert time.monotonic() - start < 2


async def test_an_empty_log(following: FollowingClient, keep_log: KeepLog) -> None:
    """It has no bytes, so no range either."""
    record = {"id": (await keep_log("")).id}

    assert (await following.log(record)).content == b""
    assert (await following.log(record, headers={"Range": "bytes=0-"})).status_code == 416


async def test_head_tells_the_size(
    bare_request: BareRequest,
    keep_log: KeepLog,
    exec_api: ExecApi,
    jp_auth_header: dict[str, str],
) -> None:
    """Without the text."""
    record = await keep_log("", "☃" * 1000)

    answer = await exec_api.request("HEAD", "executions", record.id, "log")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == "3000"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "Etag" not in answer.headers
    assert (await exec_api.request("HEAD", "executions", "x", "log")).status == 404


async def test_a_range_of_a_log_that_grows_is_over_what_is_there(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """So a client gets it part by part."""
    exec_api.write_notebook(
        "nb.ipynb", f"print('one', flush=True)\n{GATE.format('go')}print('two')"
    )
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "one")

    answer = await following.log(record, headers={"Range": "bytes=0-"})
    assert (answer.status_code, answer.content) == (206, b"one\n")
    assert answer.headers["Content-Range"] == "bytes 0-3/4"
    assert (await following.log(record, headers={"Range": "bytes=4-"})).status_code == 416
    (exec_api.root / "go").touch()
    await exec_api.final(record)
    answer = await following.log(record, headers={"Range": "bytes=4-"})
    assert (answer.status_code, answer.content) == (206, b"two\n")


async def test_following_writes_it_as_it_comes(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """From the start, or from a byte on, to the end of the execution."""
    exec_api.write_notebook(
        "nb.ipynb",
        *(f"print('line {n}', flush=True)\n{GATE.format(f'go{n}')}" for n in range(3)),
    )
    record = await exec_api.start("nb.ipynb")

    async def follow(start: int | None) -> bytes:
        headers = {} if start is None else {"Range": f"bytes={start}-"}
        params = {"follow": "true"}
        async with following.stream(record, what="log", headers=headers, params=params) as stream:
            answer = stream.response
            if start is None:
                assert answer.status_code == 200
            else:
                assert answer.status_code == 206
                assert answer.headers["Content-Range"] == f"bytes {start}-{2**53 - 1}/*"
            got = b""
            async for piece in answer.aiter_bytes():
                got += piece
                for number in range(3):
                    if f"{number}\n".encode() in got:
                        (exec_api.root / f"go{number}").touch()
            return got

    whole, part, late = await asyncio.gather(follow(None), follow(3), follow(16))

    assert whole == b"line 0\nline 1\nline 2\n"
    assert (part, late) == (whole[3:], whole[16:])
    answer = await following.log(record, params={"follow": "true"}, headers={"Range": "bytes=3-"})
    assert (answer.status_code, answer.content) == (206, whole[3:])
    assert answer.headers["Content-Range"] == "bytes 3-20/21"
    answer = await following.log(record, params={"follow": "true"}, headers={"Range": "bytes=21-"})
    assert answer.status_code == 416


async def test_a_log_of_what_goes_on_printing_ends(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """Without `follow` it ends at what there was, however fast more comes."""
    exec_api.write_notebook(
        "nb.ipynb",
        "import pathlib\nwhile not pathlib.Path('go').exists():\n  print('x' * 1000, flush=True)",
    )
    record = await exec_api.start("nb.ipynb")
    await exec_api.until_printed(record, "x")

    for headers in ({}, {"Range": "bytes=-5000"}, {"Range": "bytes=0-99"}):
        answer = await following.log(record, headers=headers)
        assert answer.is_success
    (exec_api.root / "go").touch()
    await exec_api.final(record)


@pytest.mark.parametrize(
    "exec_config", [{"max_stream_bytes": 2_000, "max_output_bytes": 20_000}], ids=["small"]
)
async def test_a_log_says_where_text_is_missing_and_only_there(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """The mark is a part of it like any other, also for ranges."""
    record = await exec_api.run_cells(
        "import sys\nfor n in range(100):\n"
        "  print(f'{n:099}', file=(sys.stdout, sys.stderr)[n % 2], flush=True)"
    )

    whole = (await following.log(record)).content

    before, after = whole.split(b"\n[... output left out ...]\n")
    assert before.startswith(b"0" * 99)
    assert after.endswith(b"99\n")
    place = len(before) + 5
    answer = await following.log(record, headers={"Range": f"bytes={place}-"})
    assert answer.content == whole[place:]


async def test_a_stopping_server_does_not_make_a_followed_log_look_whole(
    exec_app: ExecApp, following: FollowingClient, keep_final: Any
) -> None:
    """Of an execution that goes on elsewhere the answer breaks off."""
    record = {"id": (await keep_final(state=State.PENDING)).id}
    params = {"follow": "true"}

    async with following.stream(record, what="log", params=params) as stream:
        await exec_app.stop_extension()
        with pytest.raises(Exception, match="peer closed connection"):
            await stream.response.aread()
