"""What is kept of the messages that a kernel sends, here made by hand."""

import json
from typing import Any

import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jupyter_client.session import Session

from jupyter_exec_ext.engine.messages import LARGE_BYTES, Envelope, Message

SESSION = Session(key=b"secret")
KEPT_BYTES = 600_000


def envelope(content: bytes) -> Envelope:
    """Return a message with *content* as it comes from ZeroMQ."""
    message = SESSION.msg("stream", {}, parent=SESSION.msg("execute_request"))
    parts = SESSION.serialize({**message, "content": content})
    return Envelope([zmq.Frame(part) for part in (b"a topic", *parts)])


def opened(content: bytes, max_text_bytes: int | None = KEPT_BYTES) -> list[Message]:
    return envelope(content).open(SESSION, max_text_bytes=max_text_bytes)


def check_cut(raw: bytes, text: str) -> None:
    """Check that of the message *raw*, which says *text*, both ends are kept and all is counted."""
    head, tail = opened(raw)
    for message in (head, tail):
        assert message["content"]["name"] == "stdout"
    begin, end = (message["content"]["text"] for message in (head, tail))
    assert text.startswith(begin)
    assert text.endswith(end)
    sizes = [len(part.encode("utf-8", "replace")) for part in (text, begin, end)]
    assert tail["left_out_bytes"] == sizes[0] - sizes[1] - sizes[2]
    assert "left_out_bytes" not in head
    for size in sizes[1:]:
        assert KEPT_BYTES / 2 <= size < KEPT_BYTES / 2 + 300_000


@pytest.mark.parametrize(
    "pattern",
    ["x" * 999 + "\n", "\\", '"', "é", "€", "😀", "a😀", "\0", "\\u12", "\\\\ud83d", "\ud800x"],
)
@pytest.mark.parametrize("is_ascii", [True, False])
@pytest.mark.parametrize("shift", [0, 1, 5])
def test_both_ends_of_a_huge_text_are_kept(pattern: str, is_ascii: bool, shift: int) -> None:
    """No character and no escape is cut, and what is left out is counted to the byte."""
    text = "=" * shift + pattern * (3 * LARGE_BYTES // 2 // len(pattern))
    raw = json.dumps({"name": "stdout", "text": text}, ensure_ascii=is_ascii).encode(
        "utf-8", "replace"
    )

    check_cut(raw, json.loads(raw)["text"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(pattern=st.text(min_size=1, max_size=50), is_ascii=st.booleans())
def test_any_huge_text_is_counted_to_the_byte(pattern: str, is_ascii: bool) -> None:
    """Whatever characters it has."""
    text = pattern * (3 * LARGE_BYTES // 2 // len(pattern))
    content = json.dumps({"text": text, "name": "stdout"}, ensure_ascii=is_ascii)

    check_cut(content.encode(), text)


@pytest.mark.parametrize(
    "content",
    [
        b'{"name": "stdout", "text": "%b", "more": 1}',
        b'{"name": "stdout", "text": "%b", "text": "last"}',
        b'{"text": "%b"}',
        b'{"name": "other", "text": "%b"}',
        b' { "text" : "%b" , "text" : "" , "name" : "stdout" } ',
    ],
)
def test_a_message_that_says_something_else_is_not_cut(content: bytes) -> None:
    """It is what a JSON parser says."""
    raw = content % (b"x" * 2 * LARGE_BYTES)

    (message,) = opened(raw)

    assert message["content"] == json.loads(raw)


@pytest.mark.parametrize("max_text_bytes", [None, 2 * LARGE_BYTES])
def test_a_text_that_can_be_kept_is_not_cut(max_text_bytes: int | None) -> None:
    text = "\n" * 2 * LARGE_BYTES

    (message,) = opened(
        json.dumps({"name": "stdout", "text": text}).encode(), max_text_bytes=max_text_bytes
    )

    assert message["content"] == {"name": "stdout", "text": text}


@pytest.mark.parametrize("length", [1, 2 * LARGE_BYTES])
def test_what_another_key_signed_is_refused(length: int) -> None:
    """A small message and a large one."""
    made = envelope(b'{"name": "stdout", "text": "%b"}' % (b"x" * length))

    with pytest.raises(ValueError, match="signature"):
        made.open(Session(key=b"another"), max_text_bytes=KEPT_BYTES)


@pytest.mark.parametrize(
    "content",
    [b"[1]", b'"%b"' % (b"x" * LARGE_BYTES), b'{"name": "stdout", "text": "\\"}', b"\xff" * 10],
)
def test_what_is_no_content_is_refused(content: bytes) -> None:
    with pytest.raises((TypeError, ValueError)):
        opened(content)


def test_bytes_that_are_no_text_are_replaced() -> None:
    """A kernel sends such, when a program prints a file's name; the rest of it is kept."""
    (message,) = opened(b'{"name": "stdout", "text": "a\xffb"}')

    assert message["content"]["text"] == "a\ufffdb"


def test_null_is_an_empty_parent_and_empty_metadata() -> None:
    """As in the ``iopub_welcome`` of xeus, which answers no request."""
    parts = [json.dumps({"msg_type": "iopub_welcome"}).encode(), b"null", b"null", b"{}"]
    frames = [b"<IDS|MSG>", SESSION.sign(parts), *parts]

    (message,) = Envelope([zmq.Frame(frame) for frame in frames]).open(SESSION)

    assert (message["parent_header"], message["metadata"]) == ({}, {})


@pytest.mark.parametrize(
    "header", [b"5", b"[]", b'{"msg_type": 5}', b" " * 2 * LARGE_BYTES + b"{}"]
)
def test_a_header_that_is_none_is_refused(header: bytes) -> None:
    parts: list[Any] = [b"<IDS|MSG>", b"", header, b"{}", b"{}", b"{}"]

    with pytest.raises((TypeError, ValueError)):
        Envelope([zmq.Frame(part) for part in parts])
