"""Folders on the disk: no link is followed, whoever puts it there and whenever."""

import contextlib
import errno
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from jupyter_exec_ext.core.errors import (
    DiskFullError,
    ExecError,
    FileConflictError,
    InvalidArgumentError,
    LinkRefusedError,
    NoFolderError,
    NoSuchFileError,
)
from jupyter_exec_ext.core.files import NO_PRECONDITION, FileType
from jupyter_exec_ext.core.paths import Parts, parts_of
from jupyter_exec_ext.files import local
from jupyter_exec_ext.files.directories import OWN_PREFIX, Directory, refusals
from jupyter_exec_ext.files.local import LocalFolder
from jupyter_exec_ext.files.tar import _without_nested

SECRET = "kept from everybody"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of the contents, with a session's folder, and a secret beside the root."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text(SECRET)
    (tmp_path / "root" / "s").mkdir(parents=True)
    (tmp_path / "root-neighbour").mkdir()
    return tmp_path / "root"


@pytest.fixture
def folder(root: Path) -> LocalFolder:
    return LocalFolder(root, ("s",), shows_hidden=False)


async def read(folder: LocalFolder, path: str) -> bytes:
    """Return what is in a file."""
    file = await folder.open(parts_of(path))
    try:
        return await file.read(0, 1_000_000)
    finally:
        file.close()


async def write(folder: LocalFolder, path: str, data: bytes) -> None:
    """Put a file in its place."""
    upload = await folder.create(parts_of(path))
    try:
        await upload.write(data)
        await upload.complete()
        await upload.commit(NO_PRECONDITION)
    finally:
        await upload.discard()


def left_over(root: Path) -> list[str]:
    """Return what is unfinished anywhere below *root*."""
    return [path.name for path in root.rglob("*") if path.name.startswith(OWN_PREFIX)]


@pytest.mark.parametrize("where", ["file", "folder", "chain", "top"])
async def test_links_that_lead_out_are_refused(root: Path, where: str) -> None:
    """As the file, as a folder on the way, over another link, and as the session's folder."""
    folder = LocalFolder(root, ("s",), shows_hidden=False)
    outside = root.parent / "outside"
    path = "link"
    match where:
        case "file":
            (root / "s" / "link").symlink_to(outside / "secret")
        case "folder":
            (root / "s" / "link").symlink_to(outside)
            path = "link/secret"
        case "chain":
            (root / "s" / "link").symlink_to("other")
            (root / "s" / "other").symlink_to(outside / "secret")
        case "top":
            (root / "s").rmdir()
            (root / "s").symlink_to(outside)
            path = "secret"
    parts = parts_of(path)

    with pytest.raises(LinkRefusedError):
        await read(folder, path)
    with pytest.raises(LinkRefusedError):
        await folder.create(parts)
    if where in ("folder", "top"):
        for act in (
            folder.delete(parts, is_recursive=True, precondition=NO_PRECONDITION),
            folder.list(parts[:-1], is_recursive=True, after=None, limit=10),
            folder.stat(parts),
        ):
            with pytest.raises(LinkRefusedError):
                await act
    assert (outside / "secret").read_text() == SECRET
    assert os.listdir(outside) == ["secret"]


async def test_links_are_shown_and_removed_themselves(root: Path, folder: LocalFolder) -> None:
    """A list shows a link as one, and its removal leaves what it leads to."""
    (root / "s" / "link").symlink_to(root.parent / "outside")
    (root / "s" / "d").mkdir()
    (root / "s" / "d" / "deep").symlink_to(root.parent / "outside" / "secret")

    shown = await folder.list((), is_recursive=True, after=None, limit=10)
    for name in ("link", "d"):
        await folder.delete((name,), is_recursive=True, precondition=NO_PRECONDITION)

    assert [(entry.path, entry.type) for entry in shown] == [
        ("d", FileType.DIRECTORY),
        ("d/deep", FileType.LINK),
        ("link", FileType.LINK),
    ]
    assert os.listdir(root / "s") == []
    assert (root.parent / "outside" / "secret").read_text() == SECRET


@pytest.fixture
def swapping(root: Path) -> Iterator[None]:
    """Meanwhile ``s/d`` is a folder, then a link out of the root, and again, as fast as can be."""
    inside, link = root / "s" / "real", root / "s" / "link"
    inside.mkdir()
    (inside / "secret").write_text("inside")
    link.symlink_to(root.parent / "outside")
    place = root / "s" / "d"
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            for what in (inside, link):
                try:
                    what.rename(place)
                except OSError:  # an upload made a folder there
                    shutil.rmtree(place, ignore_errors=True)
                else:
                    place.rename(what)

    thread = threading.Thread(target=swap)
    thread.start()
    yield
    is_over.set()
    thread.join()


@pytest.mark.usefixtures("swapping")
async def test_a_folder_that_becomes_a_link_in_between(root: Path, folder: LocalFolder) -> None:
    """In the midst of 500 downloads and uploads: no byte comes from, or goes, outside."""
    done = 0
    for number in range(500):
        try:
            assert await read(folder, "d/secret") == b"inside"
            done += 1
        except (NoSuchFileError, LinkRefusedError):
            pass
        with contextlib.suppress(NoSuchFileError, LinkRefusedError, FileConflictError):
            await write(folder, f"d/new-{number}", b"new")

    assert done > 0
    assert os.listdir(root.parent / "outside") == ["secret"]


async def test_a_pipe_keeps_nobody_waiting(root: Path, folder: LocalFolder) -> None:
    """What is neither file nor folder is shown as such and not opened."""
    os.mkfifo(root / "s" / "pipe")

    with anyio.fail_after(5):
        with pytest.raises(FileConflictError):
            await read(folder, "pipe")
        with pytest.raises(FileConflictError):
            await folder.create(("pipe",))

    assert (await folder.stat(("pipe",))).type is FileType.OTHER


async def test_a_file_is_replaced_whole_or_not_at_all(root: Path, folder: LocalFolder) -> None:
    """Who reads meanwhile has the old one to its end, and permissions stay."""
    (root / "s" / "a").write_bytes(b"old" * 100)
    (root / "s" / "a").chmod(0o740)
    reader = await folder.open(("a",))
    upload = await folder.create(("a",))
    await upload.write(b"new" * 1_000_000)
    await upload.complete()

    half_way = await read(folder, "a")
    before = left_over(root)
    await upload.commit(NO_PRECONDITION)
    await upload.discard()

    assert half_way == b"old" * 100
    assert len(before) == 1
    assert await reader.read(0, 1000) == b"old" * 100
    reader.close()
    assert (root / "s" / "a").read_bytes() == b"new" * 1_000_000
    assert stat.S_IMODE((root / "s" / "a").stat().st_mode) == 0o740
    assert left_over(root) == []


async def test_what_is_discarded_leaves_nothing(root: Path, folder: LocalFolder) -> None:
    """Neither a file nor the folders that it would have needed."""
    upload = await folder.create(("x", "y", "z"))
    await upload.write(b"1" * 3_000_000)

    await upload.discard()
    await upload.discard()

    assert os.listdir(root / "s") == []
    with pytest.raises(NoSuchFileError):
        await upload.commit(NO_PRECONDITION)
    reader = await folder.stat(())
    assert reader.type is FileType.DIRECTORY


async def test_what_has_another_kind_is_refused_before_anything_is_written(
    root: Path, folder: LocalFolder
) -> None:
    """A folder in place of a file, a file in place of a folder."""
    (root / "s" / "d").mkdir()
    (root / "s" / "f").write_text("f")

    for parts in (("d",), ("f", "g"), ()):
        with pytest.raises(FileConflictError):
            await folder.create(parts)
    upload = await folder.create(("late",))
    (root / "s" / "late").mkdir()
    await upload.complete()
    with pytest.raises(FileConflictError):
        await upload.commit(NO_PRECONDITION)
    await upload.discard()

    assert sorted(os.listdir(root / "s")) == ["d", "f", "late"]
    assert left_over(root) == []


async def test_a_full_disk_leaves_the_old_file_and_no_new_one(
    root: Path, folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as such."""
    (root / "s" / "a").write_text("old")
    upload = await folder.create(("a",))

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(DiskFullError):
            await upload.write(b"1" * 2_000_000)
    await upload.discard()

    assert (root / "s" / "a").read_text() == "old"
    assert left_over(root) == []


async def test_hidden_files_are_not_there(root: Path) -> None:
    """Unless the contents manager shows them."""
    (root / "s" / ".secret").write_text("1")
    (root / "s" / "a").write_text("2")

    hiding = LocalFolder(root, ("s",), shows_hidden=False)
    showing = LocalFolder(root, ("s",), shows_hidden=True)

    for act in (hiding.open((".secret",)), hiding.create((".x", "y")), hiding.stat((".secret",))):
        with pytest.raises(InvalidArgumentError, match="hidden"):
            await act
    listed = [entry.path for entry in await hiding.list((), is_recursive=True, after=None, limit=9)]
    assert listed == ["a"]
    assert await read(showing, ".secret") == b"1"
    listed = [
        entry.path for entry in await showing.list((), is_recursive=True, after=None, limit=9)
    ]
    assert listed == [".secret", "a"]


async def test_what_is_unfinished_is_shown_to_nobody(root: Path) -> None:
    """Not even where hidden files are shown."""
    folder = LocalFolder(root, ("s",), shows_hidden=True)
    upload = await folder.create(("a",))
    (name,) = left_over(root)

    assert await folder.list((), is_recursive=True, after=None, limit=9) == []
    for act in (folder.open((name,)), folder.create((name,)), folder.stat((name, "x"))):
        with pytest.raises(NoSuchFileError):
            await act
    await upload.discard()


@pytest.mark.parametrize("is_recursive", [True, False])
async def test_pages_hold_everything_once_and_in_order(
    root: Path, folder: LocalFolder, is_recursive: bool
) -> None:
    """However small they are, and whatever the names."""
    names = ["a", "a.b", "a b", "B", "ä", "a-", "zz", "0"]
    for name in names:
        (root / "s" / name).mkdir()
        for inner in ("x", "x.y", "é"):
            (root / "s" / name / inner).write_text("")
    (root / "s" / "a" / "x.z").mkdir()
    (root / "s" / "a" / "x.z" / "deep").write_text("")
    expected = sorted(
        path.relative_to(root / "s").parts
        for path in (root / "s").rglob("*")
        if is_recursive or path.parent == root / "s"
    )

    for limit in (1, 2, 3, 7, 100):
        found: list[Parts] = []
        while True:
            page = await folder.list(
                (), is_recursive=is_recursive, after=found[-1] if found else None, limit=limit
            )
            if not page:
                break
            assert len(page) <= limit
            found += [tuple(entry.path.split("/")) for entry in page]
        assert found == expected


async def test_folders_of_any_depth_are_removed(root: Path, folder: LocalFolder) -> None:
    """Deeper than a path may be long, without rights, with a file of any name."""
    deepest = os.open(root / "s", os.O_RDONLY)
    for _ in range(3_000):
        os.mkdir("deeper", dir_fd=deepest)
        below = os.open("deeper", os.O_RDONLY, dir_fd=deepest)
        os.close(deepest)
        deepest = below
    os.close(os.open(b"\xff\n", os.O_CREAT | os.O_WRONLY, dir_fd=deepest))
    os.close(deepest)
    (root / "s" / "closed").mkdir()
    (root / "s" / "closed" / "a").write_text("")
    (root / "s" / "closed").chmod(0)

    listed = await folder.list((), is_recursive=True, after=None, limit=10_000)
    await folder.remove()

    assert len(listed) > 500
    assert os.listdir(root) == []
    with pytest.raises(NoFolderError):
        await folder.list((), is_recursive=False, after=None, limit=1)


AS_NOBODY = """
import os, sys, time
from jupyter_exec_ext.files.directories import Directory
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
os.chdir(sys.argv[1])
os.makedirs("a/b/c/d")
for path in ("a/keep", "a/b/f", "a/b/c/f"): open(path, "w").close()
for path in ("a/b/c/d", "a/b/c", "a/b", "a"): os.chmod(path, int(sys.argv[2], 8))
with Directory.open(".") as here:
    here.remove_tree("a", deadline=time.monotonic() + 10)
print(os.listdir("."))
"""


@pytest.mark.parametrize("mode", ["0555", "0444", "0111", "0000"])
def test_its_owner_can_remove_what_he_may_not_write(mode: str) -> None:
    """Directories without rights, one in the other: an ordinary user makes them so by mistake."""
    folder = tempfile.mkdtemp()
    Path(folder).chmod(0o777)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, folder, mode],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(folder)

    assert (ran.stdout, ran.stderr) == ("[]\n", "")


async def test_what_cannot_be_removed_is_back_in_its_place(
    root: Path, folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left where nobody finds it."""
    (root / "s" / "d").mkdir()
    (root / "s" / "d" / "a").write_text("1")

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EBUSY, "in use")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        with pytest.raises(FileConflictError):
            await folder.delete(("d",), is_recursive=True, precondition=NO_PRECONDITION)

    assert (root / "s" / "d" / "a").read_text() == "1"
    assert left_over(root) == []


async def test_a_folder_that_somebody_goes_on_to_fill(
    root: Path, folder: LocalFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its removal ends, in a time that has a bound."""
    monkeypatch.setattr(local, "REMOVE_SECONDS", 0.5)
    is_over = threading.Event()
    place = os.open(root / "s", os.O_RDONLY)

    def fill() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            with contextlib.suppress(OSError):
                os.mkdir(f"d{number}", dir_fd=place)
                os.mkdir(f"d{number}/e", dir_fd=place)

    threads = [threading.Thread(target=fill) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        with anyio.fail_after(30):
            with contextlib.suppress(ExecError):
                await folder.remove()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
        os.close(place)

    await LocalFolder(root, (), shows_hidden=True).list((), is_recursive=True, after=None, limit=9)
    assert [path.name for path in root.iterdir() if path.name != "s"] == []


def test_many_long_paths_for_an_archive_take_no_time() -> None:
    """Each is held against the one before it alone."""
    chosen = [(*("a",) * 2_000, str(number)) for number in range(100)]

    assert _without_nested([*chosen, *chosen, chosen[0][:1000]]) == [chosen[0][:1000]]
    assert len(_without_nested(chosen)) == 100
    assert _without_nested([("b",), ("a", "x"), ("a",), ("a-b",)]) == [("a",), ("a-b",), ("b",)]


async def test_the_folder_is_made_once(root: Path) -> None:
    """What is there already is not adopted."""
    folder = LocalFolder(root, ("new", "s"), shows_hidden=False)
    await folder.make()

    with pytest.raises(FileConflictError):
        await folder.make()
    assert (root / "new" / "s").is_dir()


@pytest.mark.parametrize("is_linked", [False, True])
async def test_the_root_itself_may_be_anywhere(tmp_path: Path, is_linked: bool) -> None:
    """Behind a link, or the root of the file system: that is the operator's choice."""
    (tmp_path / "real" / "s").mkdir(parents=True)
    (tmp_path / "real" / "s" / "a").write_text("1")
    if is_linked:
        (tmp_path / "link").symlink_to(tmp_path / "real")
        folder = LocalFolder(tmp_path / "link", ("s",), shows_hidden=False)
    else:
        parts = (tmp_path / "real" / "s").relative_to("/").parts
        folder = LocalFolder(Path("/"), parts, shows_hidden=False)

    assert await read(folder, "a") == b"1"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOENT, "FileNotFound"),
        (errno.ELOOP, "LinkRefused"),
        (errno.ENOTDIR, "FileConflict"),
        (errno.EISDIR, "FileConflict"),
        (errno.ENAMETOOLONG, "InvalidArgument"),
        (errno.EACCES, "FileForbidden"),
        (errno.EROFS, "FileForbidden"),
        (errno.ENOSPC, "DiskFull"),
        (errno.EDQUOT, "DiskFull"),
        (errno.EFBIG, "TooLarge"),
        (errno.EIO, "Unavailable"),
    ],
)
def test_each_failure_of_the_system_has_a_name(code: int, kind: str) -> None:
    """And none of them shows a path of the disk."""
    with pytest.raises(ExecError) as raised, refusals():
        raise OSError(code, "told", "/a/secret/path")

    assert raised.value.code == kind
    assert "secret" not in raised.value.message


def test_a_directory_is_closed_once(tmp_path: Path) -> None:
    """Nothing is left open, whatever happens on the way."""
    before = len(os.listdir("/proc/self/fd"))

    for _ in range(10):
        with Directory.open(str(tmp_path)) as directory:
            with pytest.raises(FileNotFoundError):
                directory.descend(("no", "such"))
            at, depth = directory.deepest(("no", "such"))
            at.close()
            assert depth == 0
        directory.close()

    assert len(os.listdir("/proc/self/fd")) == before
