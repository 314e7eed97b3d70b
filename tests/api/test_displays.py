"""Displays of code in a session, as JupyterLab would show them."""

from typing import Any

import pytest

from tests.api.following import FollowingClient
from tests.conftest import ExecApi

UPDATES = """
from IPython.display import clear_output, display
handle = display('start', display_id='one')
for n in range(1000):
    handle.update(n)
"""
CLEARS = """
from IPython.display import clear_output
for n in range(200):
    clear_output(wait=True)
    print('frame', n)
clear_output(wait=True)
"""
PICTURE = """
import base64, os
from IPython.display import Image, display
data = os.urandom({0})
display(Image(data, format='png'))
len(base64.b64encode(data))
"""


async def test_updates_and_clears_leave_the_last(
    exec_api: ExecApi, following: FollowingClient
) -> None:
    """A thousand updates, also of a display of earlier code; frames that replace each other."""
    session = await exec_api.new_session()

    updated = await exec_api.run_code(UPDATES, session_id=session["id"])
    later = await exec_api.run_code(
        "handle.update('later'); h = display('own'); print('text')", session_id=session["id"]
    )
    cleared = await exec_api.run_code(CLEARS, session_id=session["id"])
    events = await following.events(updated)

    (shown,) = updated["result"]["outputs"]
    assert (shown["output_type"], shown["data"]) == ("display_data", {"text/plain": "999"})
    updates = [event["data"]["text/plain"] for event in events if event["type"] == "update"]
    assert updates == [f"{n}" for n in range(1000)]
    assert [o.get("data") or o["text"] for o in later["result"]["outputs"]] == [
        {"text/plain": "'own'"},
        "text\n",
    ]
    # A clear that waits for what never comes leaves the last frame.
    (frame,) = cleared["result"]["outputs"]
    assert frame["text"] == "frame 199\n"
    assert cleared["result"]["stdout"] == "frame 199\n"


@pytest.mark.parametrize(
    ("exec_config", "size_bytes"),
    [({}, 20_000_000), ({"max_display_bytes": 1_000_000}, 1_000_000)],
    ids=["whole", "too large"],
)
async def test_a_picture_is_whole_or_left_out(
    exec_api: ExecApi, following: FollowingClient, size_bytes: int
) -> None:
    """Never cut: one above the limit is named with its size, and the code goes on."""
    record = await exec_api.run_code(PICTURE.format(size_bytes))

    result: dict[str, Any] = record["result"]
    picture, value = result["outputs"]
    events = await following.events(record)
    (told, _) = [event["output"] for event in events if event["type"] == "output"]
    assert told == picture
    assert value["data"]["text/plain"] == str(result["value"])
    if size_bytes > 1_000_000:
        assert len(picture["data"]["image/png"].replace("\n", "")) == result["value"]
        assert "truncated" not in result
    else:
        assert "image/png" not in picture["data"]
        assert picture["metadata"]["jupyter_exec_ext"]["left_out"] == ["image/png"]
        truncated = result["truncated"]
        assert truncated["total_bytes"] - truncated["kept_bytes"] >= size_bytes
