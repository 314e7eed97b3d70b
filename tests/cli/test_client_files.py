"""The client's verbs on sessions, files and events, against a server that each test scripts."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_exec_ext.client import ExecClient, NoAnswerError, RefusedError
from jupyter_exec_ext.client.replacing import replaced
from jupyter_exec_ext.client.sessions import fits_form

from .scripted import Scripted, scripted_server

FILES = "/user/a%40b/exec/sessions/s%2F1/files"


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as scripted:
        yield scripted


@pytest.fixture
def client(server: Scripted) -> Iterator[ExecClient]:
    with ExecClient(server.url, "secret", trust_env=False) as client:
        yield client


def test_a_session_has_only_what_was_given(server: Scripted, client: ExecClient) -> None:
    """What is not given is left to the server."""
    server.answer(201, {"id": "s"})
    server.answer(200, {"id": "s"})
    server.answer(204)
    server.answer(200, {"sessions": [{"id": "s"}], "next_page_token": "t"})
    server.answer(200, {"sessions": []})

    client.create_session("mine", keep_files=False, environment={"A": 1})
    client.session("s?")
    client.delete_session("s")
    assert [*client.sessions(name="mine")] == [{"id": "s"}]

    requests = [
        (verb, path.partition("/exec")[2], body) for verb, path, _, body, _ in server.requests
    ]
    assert requests[:3] == [
        ("POST", "/sessions", {"name": "mine", "keep_files": False, "environment": {"A": 1}}),
        ("GET", "/sessions/s%3F", None),
        ("DELETE", "/sessions/s", None),
    ]
    assert server.requests[-1][2] == {"name": ["mine"], "page_size": ["1000"], "page_token": ["t"]}


@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("a.csv", "a.csv"),
        ("data/in 1.csv", "data/in%201.csv"),
        ("100%/#1?x=y&z", "100%25/%231%3Fx%3Dy%26z"),
        ("%2e%2e/ü/日本.txt", "%252e%252e/%C3%BC/%E6%97%A5%E6%9C%AC.txt"),
        ("a;b/c+d", "a%3Bb/c%2Bd"),
    ],
)
def test_a_path_arrives_as_it_is(
    path: str, quoted: str, server: Scripted, client: ExecClient, tmp_path: Path
) -> None:
    """Whatever a name has in it, the server gets that name; slashes stay."""
    server.answer(201, {"path": path})
    server.answer(200, b"content")
    server.answer(204)

    client.upload_file("s/1", path, b"content")
    client.download_file("s/1", path, tmp_path / "x")
    client.delete_file("s/1", path, recursive=True)

    assert [request[:2] for request in server.requests] == [
        (verb, f"{FILES}/{quoted}") for verb in ("PUT", "GET", "DELETE")
    ]
    assert server.requests[0][3] == b"content"
    assert server.requests[2][2] == {"recursive": ["true"]}


@pytest.mark.parametrize(
    "path", ["", "/", "..", "../x", "a/../../x", "/x", "a//b", "a\\b", "\ud800"]
)
def test_a_path_that_leads_elsewhere_is_not_sent(
    path: str, server: Scripted, client: ExecClient, tmp_path: Path
) -> None:
    """On its way it would be resolved, and mean something else: the session itself, say."""
    for act in (
        lambda: client.delete_file("s", path),
        lambda: client.upload_file("s", path, b""),
        lambda: client.download_file("s", path, tmp_path / "x"),
    ):
        with pytest.raises(RefusedError) as caught:
            act()
        assert (caught.value.code, caught.value.target) == ("InvalidArgument", "path")
    assert server.requests == []


def test_a_file_is_sent_in_pieces(server: Scripted, client: ExecClient, tmp_path: Path) -> None:
    """A file with its length, an iterator without; each piece is told."""
    content = os.urandom(600_000)
    (tmp_path / "big").write_bytes(content)
    server.answer(201, {"path": "big"})
    server.answer(201, {"path": "made"})
    told: list[int] = []

    client.upload_file("s", "big", tmp_path / "big", on_progress=told.append)
    client.upload_file("s", "made", iter([b"a", b"bc"]))

    assert [request[3] for request in server.requests] == [content, b"abc"]
    assert sum(told) == len(content)
    assert max(told) < 300_000


def test_many_files_are_one_form(server: Scripted, client: ExecClient, tmp_path: Path) -> None:
    """Each part has its path; small and large contents are what they are."""
    (tmp_path / "a").write_bytes(b"\r\n--x\r\n")
    (tmp_path / "b").write_bytes(b"y" * 600_000)
    server.answer(201, {"files": [{"path": "a"}, {"path": "d/ü"}]})

    entries = client.upload_files("s", [("a", tmp_path / "a"), ("d/ü", tmp_path / "b")])

    assert [entry["path"] for entry in entries] == ["a", "d/ü"]
    body = server.requests[0][3]
    boundary = body.partition(b"\r\n")[0]
    parts = body.split(boundary)
    assert (parts[0], parts[-1]) == (b"", b"--\r\n")
    assert parts[1].endswith(b"\r\n\r\n\r\n--x\r\n\r\n")
    assert 'filename="d/ü"'.encode() in parts[2]
    assert parts[2].endswith(b"\r\n\r\n" + b"y" * 600_000 + b"\r\n")


@pytest.mark.parametrize(
    ("path", "fits"),
    [("a b/ü;=x'.txt", True), ('a"', False), ("a%22", False), ("a\nb", False), (" a", False)],
)
def test_forms_have_plain_names_only(path: str, fits: bool) -> None:
    """Others are read differently by different readers, and go by themselves."""
    assert fits_form(path) is fits


def test_a_file_that_shrinks_is_not_sent_short(
    server: Scripted, client: ExecClient, tmp_path: Path
) -> None:
    """It would look whole."""
    file = tmp_path / "shrinks"
    file.write_bytes(b"x" * 600_000)

    with pytest.raises(OSError, match="became shorter"):
        client.upload_file("s", "x", file, on_progress=lambda _: os.truncate(file, 10))


def test_a_download_takes_its_place_whole(
    server: Scripted, client: ExecClient, tmp_path: Path
) -> None:
    """With the rights of what was there; a refusal or a cut leaves that as it was."""
    target = tmp_path / "out.csv"
    target.write_text("old")
    target.chmod(0o640)
    server.answer(404, {"code": "FileNotFound", "message": "m"})
    server.answer(200, b"short", X_Cut="1")
    server.answer(200, b"new")

    with pytest.raises(RefusedError):
        client.download_file("s", "out.csv", target)
    assert target.read_text() == "old"
    with pytest.raises(NoAnswerError):
        client.download_file("s", "out.csv", target)
    assert target.read_text() == "old"
    assert client.download_file("s", "out.csv", target) == 3

    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]


def test_an_archive_is_a_file(server: Scripted, client: ExecClient, tmp_path: Path) -> None:
    """Of what is named, each by itself."""
    server.answer(200, b"tar")

    assert client.archive("s", tmp_path / "x.tar", paths=["a b", "c"]) == 3

    assert server.requests[0][2] == {"path": ["a b", "c"]}
    assert (tmp_path / "x.tar").read_bytes() == b"tar"


def test_events_are_told_as_they_come(server: Scripted, client: ExecClient) -> None:
    """A line is a JSON object, whatever line ends its text has; 204 is nothing."""
    lines = b'{"id":0,"type":"state"}\n\n{"id":1,"type":"stream","text":"a\xe2\x80\xa8b\x0b"}\n'
    server.answer(200, lines.replace(b"\x0b", b"\\u000b"))
    server.answer(204)

    assert [*client.events("1")] == [
        {"id": 0, "type": "state"},
        {"id": 1, "type": "stream", "text": "a\u2028b\x0b"},
    ]
    assert [*client.events("1", after=1)] == []

    assert [request[2] for request in server.requests] == [{}, {"after": ["1"]}]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    """A pipe, or /dev/null, is not replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    with replaced(pipe) as file:
        file.write(b"x")

    assert os.read(reader, 10) == b"x"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
