"""The client, against a server that answers what each test says."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from jupyter_exec_ext.client import (
    BusyError,
    ClientError,
    ExecClient,
    NoAnswerError,
    NoServiceError,
    NotAllowedError,
    RefusedError,
    ServiceFailedError,
)

from .scripted import Scripted, scripted_server


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as scripted:
        yield scripted


@pytest.fixture
def client(server: Scripted) -> Iterator[ExecClient]:
    with ExecClient(server.url, "secret", trust_env=False) as client:
        yield client


def test_a_request_has_only_what_was_given(server: Scripted, client: ExecClient) -> None:
    """What is not given is left to the server; the base URL stays as it is."""
    server.answer(202, {"id": "1"})
    server.answer(202, {"id": "2"})

    client.create("a.ipynb")
    client.create("a.ipynb", cells=[0], inputs={"A": "1"}, on_error="continue", wait_seconds=0.5)

    path = "/user/a%40b/exec/executions"
    assert server.requests == [
        ("POST", path, {}, {"notebook": {"path": "a.ipynb"}}, "token secret"),
        (
            "POST",
            path,
            {"wait": ["0.5"]},
            {
                "notebook": {"path": "a.ipynb", "cells": [0]},
                "inputs": {"A": "1"},
                "on_error": "continue",
            },
            "token secret",
        ),
    ]


def test_a_notebook_and_what_it_runs_after_are_sent(server: Scripted, client: ExecClient) -> None:
    """The content beside the path; code with its origin."""
    server.answer(202, {"id": "1"})
    server.answer(202, {"id": "2"})

    client.create("a.ipynb", content={"cells": []}, after="0")
    client.create(code="1", origin={"path": "a.ipynb", "cell_id": "c"})

    assert [request[3] for request in server.requests] == [
        {"notebook": {"path": "a.ipynb", "content": {"cells": []}}, "after": "0"},
        {"code": "1", "origin": {"path": "a.ipynb", "cell_id": "c"}},
    ]


def test_a_command_is_sent_as_it_is(server: Scripted, client: ExecClient) -> None:
    """Each step is a text or a list."""
    server.answer(202, {"id": "1"})

    client.create(command={"build": "make", "exec": ["./main", "x"]}, stdin=["a"])

    body = {"command": {"build": "make", "exec": ["./main", "x"]}, "stdin": ["a"]}
    path = "/user/a%40b/exec/executions"
    assert server.requests == [("POST", path, {}, body, "token secret")]


def test_each_verb_has_its_request(server: Scripted, client: ExecClient) -> None:
    """Ids and paths are quoted, whatever they hold."""
    server.answer(200, {"id": "1"})
    server.answer(200, "ünï\n".encode(), Content_Type="text/plain; charset=utf-8")
    server.answer(200, {"cells": []})
    server.answer(200, {"id": "1", "state": "cancelling"})
    server.answer(204)
    server.answer(204)
    server.answer(200, {"version": "1"})
    server.answer(200, {"path": "x"})
    server.answer(404, {"message": "No such file"})
    server.answer(201, {"path": "x"})

    client.get("1/2?", view="basic", wait_seconds=2)
    assert client.log("1") == "ünï\n"
    assert client.notebook("1") == {"cells": []}
    assert client.cancel("1")["state"] == "cancelling"
    client.delete("1")
    client.delete("1", force=True)
    assert client.capabilities() == {"version": "1"}
    assert client.has_file("/a b/ü.ipynb")
    assert not client.has_file("x")
    client.upload_notebook("x.ipynb", '{"cells": []}')

    base = len("/user/a%40b")
    requests = [(verb, path[base:], query) for verb, path, query, *_ in server.requests]
    assert requests == [
        ("GET", "/exec/executions/1%2F2%3F", {"view": ["basic"], "wait": ["2"]}),
        ("GET", "/exec/executions/1/log", {}),
        ("GET", "/exec/executions/1/notebook", {}),
        ("POST", "/exec/executions/1/cancel", {}),
        ("DELETE", "/exec/executions/1", {}),
        ("DELETE", "/exec/executions/1", {"force": ["true"]}),
        ("GET", "/exec/", {}),
        ("GET", "/api/contents/a%20b/%C3%BC.ipynb", {"content": ["0"]}),
        ("GET", "/api/contents/x", {"content": ["0"]}),
        ("PUT", "/api/contents/x.ipynb", {}),
    ]


def test_a_list_goes_through_its_pages(server: Scripted, client: ExecClient) -> None:
    """No more pages are fetched than are needed."""
    server.answer(200, {"executions": [{"id": "1"}, {"id": "2"}], "next_page_token": "t"})
    server.answer(200, {"executions": [{"id": "3"}], "next_page_token": "u"})
    server.answer(200, {"executions": []})

    assert [record["id"] for record in client.list(limit=3, state="failed")] == ["1", "2", "3"]
    assert [*client.list()] == []

    queries = [query for _, _, query, _, _ in server.requests]
    order = {"order_by": ["-created_time"]}
    assert queries == [
        {"state": ["failed"], "page_size": ["3"], **order},
        {"state": ["failed"], "page_size": ["1"], "page_token": ["t"], **order},
        {"page_size": ["200"], **order},
    ]


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (400, {"code": "MalformedRequest", "message": "m"}, RefusedError, "MalformedRequest"),
        (404, {"code": "ExecutionNotFound", "message": "m"}, RefusedError, "ExecutionNotFound"),
        (404, {"message": "m"}, NoServiceError, "NoService"),
        (404, b"<html>", NoServiceError, "NoService"),
        (401, {"message": "m"}, NotAllowedError, "NotAllowed"),
        (403, {"code": "Forbidden", "message": "m"}, NotAllowedError, "Forbidden"),
        (302, b"", NotAllowedError, "NotAllowed"),
        (301, b"", NoServiceError, "NoService"),
        (429, {"code": "TooMany", "message": "m"}, BusyError, "TooMany"),
        (503, {"code": "StoreUnavailable", "message": "m"}, ServiceFailedError, "StoreUnavailable"),
        (507, {"code": "StoreFull", "message": "m"}, ServiceFailedError, "StoreFull"),
        (502, b"<html>", ServiceFailedError, "ServiceFailed"),
        (200, b"<html>", NoServiceError, "NoService"),
        (200, [1], NoServiceError, "NoService"),
    ],
)
def test_a_refusal_is_typed(
    status: int, body: Any, kind: type[ClientError], code: str, server: Scripted, client: ExecClient
) -> None:
    """By its status; what is not our API's answer says that the API is not there."""
    server.answer(status, body, Location="/login?next=x" if status == 302 else "/exec")

    with pytest.raises(kind) as caught:
        client.get("1")

    assert (caught.value.code, caught.value.status) == (code, status)
    assert "secret" not in str(caught.value)


def test_a_refusal_names_its_field(server: Scripted, client: ExecClient) -> None:
    """Target and details come as the server sent them; so does the time to try again."""
    fields = {"target": "inputs.PATH", "details": ["one", "two"]}
    server.answer(422, {"code": "InvalidArgument", "message": "reserved", **fields})
    server.answer(429, {"code": "TooMany", "message": "m"}, Retry_After="7")
    server.answer(429, {"code": "TooMany", "message": "m"}, Retry_After="Wed, 01 Jan 2026")

    with pytest.raises(RefusedError) as refused:
        client.create("a.ipynb")
    with pytest.raises(BusyError) as busy:
        client.create("a.ipynb")
    with pytest.raises(BusyError) as busy_until:
        client.create("a.ipynb")

    assert (refused.value.message, refused.value.target) == ("reserved", "inputs.PATH")
    assert refused.value.details == ("one", "two")
    assert busy.value.retry_after_seconds == 7
    assert busy_until.value.retry_after_seconds is None


def test_no_server_is_an_error_of_its_own() -> None:
    """Nobody listens on port 1; the token is not in the message."""
    with (
        ExecClient("http://127.0.0.1:1/", "secret", trust_env=False) as client,
        pytest.raises(NoAnswerError) as caught,
    ):
        client.capabilities()

    assert caught.value.status is None
    assert "secret" not in str(caught.value)


def test_a_silent_server_is_given_up() -> None:
    """A question has an end, also when nobody answers it."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        ExecClient(f"http://127.0.0.1:{silent.getsockname()[1]}/", trust_env=False) as client,
        pytest.raises(NoAnswerError, match="in time"),
    ):
        client.capabilities(timeout_seconds=0.2)
