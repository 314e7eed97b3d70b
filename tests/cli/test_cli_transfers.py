"""What ``--upload`` and ``--download`` name, and what a server cannot make of it."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.cli.arguments import UsageError, build_parser, prepared_answers, runs_command
from jupyter_exec_ext.cli.commands import make_command_plan
from jupyter_exec_ext.cli.downloads import (
    Fetched,
    MissingError,
    OutsideError,
    fetch,
    matches,
    parse_download,
)
from jupyter_exec_ext.cli.render import counted, size
from jupyter_exec_ext.cli.run import make_plan
from jupyter_exec_ext.cli.uploads import LocalFile, Uploads, find_uploads, send, split_upload
from jupyter_exec_ext.client import ExecClient

from .scripted import Scripted, scripted_server


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with some files."""
    monkeypatch.delenv("JUPYTER_EXEC_URL", raising=False)
    monkeypatch.delenv("JUPYTER_EXEC_TOKEN", raising=False)
    folder = tmp_path / "here"
    for name in ("src/main.c", "src/lib/x.c", "src/.git/config", "src/.env", "a.py", "year=1/b.py"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (folder / "src" / "empty").mkdir()
    (folder / "src" / "to-file").symlink_to(folder / "a.py")
    (folder / "src" / "to-folder").symlink_to(folder / "year=1")
    (folder / "linked").symlink_to(folder / "src" / "lib")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def client(server: Scripted) -> Iterator[ExecClient]:
    with ExecClient(server.url, trust_env=False) as client:
        yield client


def paths(*texts: str) -> list[str]:
    return [file.remote for file in find_uploads(texts).files]


@pytest.mark.parametrize(
    ("text", "remotes"),
    [
        ("src", ["main.c", "lib/x.c"]),
        ("src/", ["main.c", "lib/x.c"]),
        ("src=", ["main.c", "lib/x.c"]),
        ("src=.", ["main.c", "lib/x.c"]),
        ("src=a/b", ["a/b/main.c", "a/b/lib/x.c"]),
        ("src/=./code/", ["code/main.c", "code/lib/x.c"]),
        ("linked", ["x.c"]),
        ("a.py", ["a.py"]),
        ("./src/../a.py", ["a.py"]),
        ("a.py=run me.py", ["run me.py"]),
        ("a.py=lib/", ["lib/a.py"]),
        ("a.py=.", ["a.py"]),
        ("src/to-file", ["to-file"]),
        ("src/.env", [".env"]),
        ("year=1", ["b.py"]),
        ("year=1=", ["b.py"]),
        ("year=1=year", ["year/b.py"]),
        ("year=1/b.py", ["b.py"]),
    ],
)
def test_an_upload_names_what_goes_where(text: str, remotes: list[str]) -> None:
    """A folder's content goes to the top, a file by its name; REMOTE says where else."""
    assert paths(text) == remotes


@pytest.mark.parametrize(
    "text",
    ["", "nothing", "nothing=x", "=x", "a.py=../x", "a.py=/etc/x", "src=a//b", "a.py=a\\b"],
)
def test_what_cannot_be_sent_is_refused(text: str) -> None:
    """Before anything starts, with the option's name."""
    with pytest.raises(UsageError, match=r"^--upload: "):
        find_uploads([text])


def test_two_files_cannot_have_one_path() -> None:
    """Which of them is meant, nobody can know."""
    with pytest.raises(UsageError, match=r"two files would be at a\.py"):
        find_uploads(["a.py", "src/main.c=a.py"])
    with pytest.raises(UsageError, match="lib would be a file and a folder"):
        find_uploads(["src", "a.py=lib"])


def test_what_is_left_out_is_counted(folder: Path) -> None:
    """Hidden files, links and empty folders of a folder; never what is named itself."""
    found = find_uploads(["src"])

    assert found.remark == "left out of the upload: 1 empty folder, 2 hidden ones, 2 links"
    assert find_uploads(["a.py"]).remark == ""
    kept = found.outside(folder / "src" / "lib")
    assert [file.remote for file in kept.files] == ["main.c"]
    assert "1 file of other sessions" in kept.remark


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_what_is_no_file_is_not_opened(folder: Path) -> None:
    """A pipe would keep the command waiting; a name that is no text cannot be sent."""
    os.mkfifo(folder / "src" / "pipe")
    (folder / "src" / os.fsdecode(b"caf\xe9")).touch()

    assert "1 device," in find_uploads(["src"]).remark
    assert "1 name that cannot be sent" in find_uploads(["src"]).remark
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        find_uploads(["src/pipe"])


def test_small_files_go_together(server: Scripted, client: ExecClient, folder: Path) -> None:
    """As many in a request as the server takes; a large one and an odd name go by themselves."""
    with (folder / "big").open("wb") as file:
        file.truncate(4_000_001)
    (folder / 'odd"name').touch()
    uploads = find_uploads(["src", "a.py", "year=1", "big", 'odd"name'])
    for _ in range(4):
        server.answer(201, {"files": []})
    told: list[int] = []

    send(client, "s", uploads, {"max_files_per_request": 3, "max_file_bytes": 10**9}, told.append)

    requests = [
        (verb, path.rpartition("/exec/sessions/s/files")[2]) for verb, path, *_ in server.requests
    ]
    assert sorted(requests) == [
        ("POST", ""),
        ("PUT", "/b.py"),
        ("PUT", "/big"),
        ("PUT", "/odd%22name"),
    ]
    assert sum(told) >= uploads.size_bytes


def test_a_file_that_is_too_large_is_not_sent(server: Scripted, client: ExecClient) -> None:
    """The server has said what it takes."""
    uploads = Uploads(files=[LocalFile(local=Path("a.py"), remote="a.py", size_bytes=11)])

    with pytest.raises(
        UsageError, match=r"^--upload: a\.py has 11 bytes, and the server takes 10$"
    ):
        send(client, "s", uploads, {"max_file_bytes": 10}, lambda _: None)
    assert server.requests == []


@pytest.mark.parametrize(
    ("text", "remote", "local"),
    [
        ("out.csv", ("out.csv",), None),
        ("./r/out.csv=", ("r", "out.csv"), None),
        ("r/=x/", ("r",), "x/"),
        ("year=1/x.csv=", ("year=1", "x.csv"), None),
        ("r/*.csv=got", ("r", "*.csv"), "got"),
        (".=all", (), "all"),
    ],
)
def test_a_download_names_what_goes_where(
    text: str, remote: tuple[str, ...], local: str | None
) -> None:
    """The last = separates; slashes around what is there mean nothing."""
    download = parse_download(text)

    assert (download.remote, download.local) == (remote, local)


@pytest.mark.parametrize(
    "text", ["", "=x", ".", "./", "../x", "/etc/passwd", "a/../x", "a//b", "x=a.py/b"]
)
def test_what_cannot_be_fetched_is_refused(text: str) -> None:
    """Before anything starts, with the option's name."""
    with pytest.raises(UsageError, match=r"^--download: "):
        parse_download(text)


@pytest.mark.parametrize(
    ("pattern", "path", "is_meant"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "r/a.csv", False),
        ("*.csv", ".a.csv", False),
        (".*", ".a.csv", True),
        ("r/*", "r/sub/deep.txt", True),
        ("r/*", "other/a", False),
        ("r/**/*.csv", "r/a.csv", True),
        ("r/**/*.csv", "r/s/t/a.csv", True),
        ("r/**/*.csv", "r/.s/a.csv", False),
        ("**", "r/s", True),
        ("run-[0-9]?/x", "run-12/x", True),
        ("run-[0-9]?/x", "run-1/x", False),
        ("a[*].txt", "a*.txt", True),
    ],
)
def test_a_pattern_is_that_of_a_shell(pattern: str, path: str, is_meant: bool) -> None:
    """With ** for any folders; what is in a folder that matches is meant too."""
    assert matches(tuple(pattern.split("/")), tuple(path.split("/"))) is is_meant


def test_a_pattern_takes_no_more_time_for_long_paths_and_many_stars() -> None:
    """A path has as many levels as its server likes, and each ``**`` may be any of them."""
    deep = ("a",) * 2_000

    assert matches(("**",), deep)
    assert matches(("**", "b"), (*deep, "b"))
    assert not matches(("**", "b"), deep)
    assert not matches(("**", "a") * 30 + ("b",), deep[:100])


@pytest.fixture
def deep(folder: Path) -> Iterator[str]:
    """The path of a file in more folders than calls that Python nests; removed afterwards."""
    if sys.platform != "linux":
        pytest.skip("the paths of this system are shorter")
    yield f"{'d/' * 1_100}x"
    # `shutil.rmtree` nests a call for each level.
    subprocess.run(["rm", "-rf", *map(str, folder.glob("d"))], check=True)


@pytest.mark.parametrize("text", ["**", "d", "d/**/x"])
def test_what_is_deep_comes_too(
    text: str, server: Scripted, client: ExecClient, deep: str, folder: Path
) -> None:
    """Its folders are made one by one."""
    if text == "d":
        server.answer(409, {"code": "FileConflict", "message": "m"})
    listed(server, (deep, "file"))
    server.answer(200, b"deep")

    assert fetched(client, text).file_count == 1

    found = deep if text != "d/**/x" else deep.removeprefix("d/")
    assert (folder / found).read_text() == "deep"


def test_what_is_deep_is_sent_too(deep: str, folder: Path) -> None:
    """Each folder is read by itself."""
    place = folder / "d"
    subprocess.run(["mkdir", "-p", (folder / deep).parent], check=True)
    (folder / deep).touch()

    [file] = find_uploads([str(place)]).files

    assert file.remote == deep.removeprefix("d/")


def listed(server: Scripted, *entries: tuple[str, str]) -> None:
    files = [{"path": path, "name": path, "type": kind} for path, kind in entries]
    server.answer(200, {"files": files})


def fetched(client: ExecClient, text: str) -> Fetched:
    return fetch(client, "s", parse_download(text), lambda _: None)


def test_a_file_goes_to_its_place(server: Scripted, client: ExecClient, folder: Path) -> None:
    """By its name, or to the name or into the folder that was chosen, which is made."""
    for text, place in [
        ("r/out.csv", "out.csv"),
        ("r/out.csv=new.csv", "new.csv"),
        ("r/out.csv=src", "src/out.csv"),
        ("r/out.csv=made/", "made/out.csv"),
        ("r/out.csv=more/x.csv", "more/x.csv"),
    ]:
        server.answer(200, text.encode())
        if place.startswith(("made", "more")):  # asked once more, when there is a folder
            server.answer(200, text.encode())

        assert fetched(client, text).place == Path(place)

        assert (folder / place).read_text() == text


def test_a_folder_comes_with_its_content(
    server: Scripted, client: ExecClient, folder: Path
) -> None:
    """Empty folders too; links and what is hidden stay there, and are counted."""
    server.answer(409, {"code": "FileConflict", "message": "m"})
    listed(
        server,
        ("r/.h", "file"),
        ("r/a", "file"),
        ("r/e", "directory"),
        ("r/l", "link"),
        ("r/s", "directory"),
        ("r/s/b", "file"),
    )
    server.answer(200, b"A")
    server.answer(200, b"BB")

    result = fetched(client, "r")

    assert (result.file_count, result.size_bytes) == (2, 3)
    assert dict(result.left_out) == {"hidden one": 1, "link": 1}
    there = sorted(path.relative_to(folder / "r").as_posix() for path in (folder / "r").rglob("*"))
    assert there == ["a", "e", "s", "s/b"]


@pytest.mark.parametrize("text", ["gone", "gone=x/y/", "gone/*", "r/*.none", ".=all"])
def test_what_is_not_there_makes_nothing(
    text: str, server: Scripted, client: ExecClient, folder: Path
) -> None:
    """No file and no folder is left here for it."""
    if text == "r/*.none":
        listed(server, ("r/a.csv", "file"))
    else:
        server.answer(404, {"code": "FileNotFound", "message": "m"})
    before = sorted(folder.rglob("*"))

    with pytest.raises(MissingError):
        fetched(client, text)

    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "/etc/x",
        "r/../../x",
        "r/../x",
        "r",
        "other/x",
        "r//x",
        "r/./x",
        "r\\..\\x",
        "",
        3,
        None,
    ],
)
@pytest.mark.parametrize("text", ["r=got", "r/*=got", "r/**/*=got"])
def test_a_hostile_name_is_never_written(
    text: str, path: Any, server: Scripted, client: ExecClient, folder: Path
) -> None:
    """Wherever it leads: the download ends there and says so."""
    if text == "r=got":
        server.answer(409, {"code": "FileConflict", "message": "m"})
    server.answer(200, {"files": [{"path": path, "type": "file"}]})
    before = {file: file.lstat().st_mtime_ns for file in folder.parent.rglob("*")}

    with pytest.raises(OutsideError):
        fetched(client, text)

    assert {file: file.lstat().st_mtime_ns for file in folder.parent.rglob("*")} == before
    assert all(verb == "GET" for verb, *_ in server.requests)


@pytest.mark.parametrize("path", ["r/out/x", "r/file", "r/loop/x"])
def test_a_link_that_is_here_leads_nobody_out(
    path: str, server: Scripted, client: ExecClient, folder: Path, tmp_path: Path
) -> None:
    """A name may be harmless, and the folder here not."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "secret").write_text("kept")
    got = folder / "got"
    got.mkdir()
    (got / "out").symlink_to(tmp_path / "outside")
    (got / "file").symlink_to(tmp_path / "secret")
    (got / "loop").symlink_to(got / "loop")
    server.answer(409, {"code": "FileConflict", "message": "m"})
    listed(server, (path, "file"))

    with pytest.raises((OutsideError, OSError)):
        fetched(client, "r=got")

    assert [*(tmp_path / "outside").iterdir()] == []
    assert (tmp_path / "secret").read_text() == "kept"
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["a.ipynb", "--exec", "x"], "NOTEBOOK: is for notebooks, and --exec runs a program"),
        (["--exec", "x", "--save-to", "a.ipynb"], "--save-to: is for notebooks"),
        (["--build", "x", "--cells", "1"], "--cells: is for notebooks, and --build runs"),
        (["--exec", "x", "--cell-timeout", "1"], "--cell-timeout: is for notebooks"),
        (["--exec", "x", "--on-error", "stop"], "--on-error: is for notebooks"),
        (["a.ipynb", "--download", "x"], "--download needs --exec"),
        (["a.ipynb", "--session", "x"], "--session needs --exec"),
        (["--exec", " "], "argument --exec: give a command"),
    ],
)
def test_options_of_the_two_kinds_do_not_mix(typed: list[str], message: str) -> None:
    """The message names the option that has no meaning."""
    with pytest.raises(UsageError, match=f"^{message}"):
        runs_command(build_parser().parse_args(["run", *typed]))


def parsed(*typed: str) -> argparse.Namespace:
    return build_parser().parse_args(["run", *typed])


def test_the_plan_of_a_command(folder: Path) -> None:
    """Each option ends in its field of the request; what was not given is left to the server."""
    (folder / "lines").write_bytes(b"one\ntwo\r\n\nlast")
    arguments = parsed(
        *("--exec", "./main 1", "--build", "*", "--upload", "a.py", "--upload", "src=src"),
        *("--download", "x", "--kernel", "k", "-i", "A=1", "--timeout", "5"),
        *("--label", "a=b", "--stdin", "lines", "--server", "http://h/", "--session", "s"),
    )

    assert runs_command(arguments)
    plan = make_command_plan(arguments)

    assert plan.steps == {"build": "*", "exec": "./main 1"}
    assert [file.remote for file in plan.uploads.files] == ["a.py", "src/main.c", "src/lib/x.c"]
    assert (plan.session_name, plan.kernel_name) == ("s", "k")
    assert plan.request == {
        "inputs": {"A": "1"},
        "timeout_seconds": 5.0,
        "labels": {"a": "b"},
        "stdin": ["one", "two\r", "", "last"],
    }


def test_what_cannot_work_is_refused_before_anything_starts(folder: Path) -> None:
    """The message begins with the option that is at fault."""
    (folder / "binary").write_bytes(b"\xff")
    for typed, message in (
        (["--stdin", "-", "--inputs-json", "-"], "--stdin: --inputs-json reads"),
        (["--stdin", "none"], "--stdin: cannot read none"),
        (["--stdin", "binary"], "--stdin: binary is not text"),
        (["--session", ""], "--session: give a name"),
        (["--upload", "none"], "--upload: no file or folder none"),
        (["--download", "../x"], r"--download: \.\./x: a path is relative"),
    ):
        with pytest.raises(UsageError, match=f"^{message}"):
            make_command_plan(parsed("--exec", "x", "--server", "http://h/", *typed))
    with pytest.raises(UsageError, match=r"^--upload: only one notebook runs"):
        make_plan(parsed("--upload", "a.py", "--upload", "src", "--server", "http://h/"))
    (folder / "nothing").touch()
    assert prepared_answers(parsed("--stdin", "nothing")) == []
    assert split_upload("a.py") == (Path("a.py"), None)


def test_numbers_are_for_people() -> None:
    """Sizes in powers of 1,000; one of a thing has no s."""
    assert [size(count) for count in (0, 999, 1_000, 999_960, 5 * 10**9)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.0 MB",
        "5.0 GB",
    ]
    assert counted(1, "file") == "1 file"
    assert counted(2, "name that cannot be sent") == "2 names that cannot be sent"
    assert counted(0, "file of other sessions") == "0 files of other sessions"
