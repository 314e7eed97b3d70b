"""Replies that are not what was asked for."""

import json
import re
from typing import Any

import pytest

from jupyter_exec_ext.core.models import Variable
from jupyter_exec_ext.engine.languages import Reply, known_languages, language_of, unread_variables


def garbage() -> list[Reply]:
    contents: list[dict[str, Any]] = [
        {},
        {"status": "ok"},
        {"status": "error", "ename": "E"},
        {"status": "ok", "user_expressions": None},
        {"status": "ok", "user_expressions": {"jupyter_exec_ext": {"status": "error"}}},
    ]
    contents += [
        {
            "status": "ok",
            "user_expressions": {
                "jupyter_exec_ext": {
                    "status": "ok",
                    "data": {"text/vnd.jupyter-exec-reading": text},
                }
            },
        }
        for text in ("", "no json", "{}", "[]", "[1, 2]", "[[]]", "[" * 100_000, 5, None)
    ]
    return [Reply(content=content) for content in contents] + [
        Reply(stdout="MARKER"),
        Reply(stdout="MARKER !!!"),
        Reply(stdout="MARKER QQ"),
        Reply(stdout="MARKER W10="),
        Reply(stdout="MARKER c3RyaW5n"),
        Reply(stdout="MARKER YXJyYXkAOTkAYQA="),
        Reply(display_data=[{"text/vnd.jupyter-exec-reading": "MARKER W10="}]),
        Reply(display_data=[{"text/vnd.jupyter-exec-reading": {"no": "text"}}]),
    ]


@pytest.mark.parametrize("name", known_languages())
@pytest.mark.parametrize("reply", garbage())
def test_garbage_gives_an_error_for_each_name(name: str, reply: Reply) -> None:
    language = language_of(name)
    assert language is not None
    reading = language.read_variables(["a", "b", "a"], max_bytes=100)
    marker = re.search(r"jupyter-exec-[0-9a-f]{32}", reading.request.code)
    word = marker.group() if marker else "jupyter-exec-none"
    reply = Reply(
        content=reply.content,
        stdout=reply.stdout.replace("MARKER", word),
        display_data=[
            {k: v.replace("MARKER", word) if isinstance(v, str) else v for k, v in bundle.items()}
            for bundle in reply.display_data
        ],
    )

    variables = reading.parse(reply)

    assert variables == unread_variables(["a", "b"], "the kernel did not answer as expected")


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (5, Variable(error="the kernel did not answer as expected")),
        ({}, Variable(error="the kernel shows nothing for it")),
        ({"json": "NaN"}, Variable(error="the kernel did not answer as expected")),
        ({"json": "[1,"}, Variable(error="the kernel did not answer as expected")),
        ({"json": "[" * 5_000}, Variable(truncated=True, error="larger than 100 bytes")),
        ({"json": "1" * 101}, Variable(truncated=True, error="larger than 100 bytes")),
        ({"json": "1" * 100}, Variable(json_text="1" * 100)),
        ({"data": {"text/plain": "a\ud800"}}, Variable(data={"text/plain": "a?"})),
        ({"data": {"text/plain": 5}}, Variable(error="the kernel shows nothing for it")),
        ({"data": [], "error": "E: x"}, Variable(error="E: x")),
        (
            {"data": {"text/plain": "a", "text/html": "b" * 100}},
            Variable(data={"text/plain": "a"}, truncated=True),
        ),
        (
            {"json_data": {"application/json": '{"a": 1}', "application/x+json": "NaN"}},
            Variable(data={"application/json": {"a": 1}}),
        ),
        ({"type": 5, "problem": "large"}, Variable(truncated=True, error="larger than 100 bytes")),
    ],
)
def test_nothing_in_an_entry_is_trusted(entry: object, expected: Variable) -> None:
    language = language_of("python")
    assert language is not None
    data = {"text/vnd.jupyter-exec-reading": json.dumps([entry])}
    reply = Reply(
        content={"status": "ok", "user_expressions": {"jupyter_exec_ext": {"data": data}}}
    )

    variables = language.read_variables(["x"], max_bytes=100).parse(reply)

    assert variables == {"x": expected}
