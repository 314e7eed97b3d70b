"""Paths that clients write never lead out of where they start."""

import os
import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jupyter_exec_ext.core.errors import InvalidArgumentError
from jupyter_exec_ext.core.paths import (
    MAX_NAME_BYTES,
    MAX_PATH_BYTES,
    is_hidden,
    is_plain,
    parts_of,
    slug_of,
)

# Pieces from which paths that lead elsewhere are made, among names that do not.
PIECES = st.sampled_from(
    ["..", ".", "", "/", "\\", "\0", "a", "b.txt", "ä", "%2e%2e", "~", "C:", "CON", "nul.txt", " "]
)
PATHS = st.one_of(
    st.text(max_size=40),
    st.lists(PIECES, max_size=8).map("/".join),
    st.lists(PIECES, max_size=8).map("".join),
)


@given(PATHS)
@example("../x")
@example("a/../../x")
@example("/etc/passwd")
@example("a//b")
@example("a/.")
@example("a\\..\\b")
@example("a\0")
def test_what_is_taken_stays_inside(path: str) -> None:
    """Whatever is taken is below the folder, one name after the other; the rest is refused."""
    try:
        parts = parts_of(path)
    except InvalidArgumentError as error:
        assert error.target == "path"
        return
    assert "/".join(parts) == path
    joined = posixpath.normpath(posixpath.join("/top", *parts))
    assert joined == posixpath.join("/top", *parts)
    for name in parts:
        assert name not in ("", ".", "..")
        assert not set(name) & {"/", "\\", "\0"}
        assert len(os.fsencode(name)) <= MAX_NAME_BYTES


@given(st.text(max_size=30))
def test_nothing_with_a_way_up_is_taken(text: str) -> None:
    """Wherever it stands, and whatever is around it."""
    for path in (f"../{text}", f"{text}/..", f"{text}/../x", f"/{text}", f"{text}\\x", f"{text}\0"):
        with pytest.raises(InvalidArgumentError):
            parts_of(path)


@given(st.lists(st.text("abc.-_ ä%", min_size=1, max_size=10), min_size=1, max_size=5))
def test_plain_names_are_taken_as_they_are(names: list[str]) -> None:
    """Percent signs too: a path is decoded once, by the server, and never again."""
    if set(names) & {".", ".."}:
        return
    assert parts_of("/".join(names), is_windows=False) == tuple(names)


def test_the_longest_names_are_counted_in_bytes() -> None:
    """A name has at most 255 bytes and a path 4,096, as file systems count them."""
    assert parts_of("ä" * 127) == ("ä" * 127,)
    for path in ("ä" * 128, "a" * (MAX_NAME_BYTES + 1), "a/" * (MAX_PATH_BYTES // 2) + "a"):
        with pytest.raises(InvalidArgumentError, match="at most"):
            parts_of(path)


def test_text_that_is_none_is_refused() -> None:
    """Half of a surrogate pair has no bytes."""
    with pytest.raises(InvalidArgumentError, match="Unicode"):
        parts_of("a/\ud800")


@pytest.mark.parametrize(
    "name",
    [
        *("CON", "con.txt", "Nul", "aux.tar.gz", "COM1", "lpt9.log", "com¹", "C:", "C:x", "a:b"),
        *("a.", "a ", "a?", "a*", "a|b", '"', "<", "a\x01", "CONIN$", "nul .txt"),
    ],
)
def test_names_that_mean_something_else_on_windows(name: str) -> None:
    """Devices, drives, streams, and what Windows cuts off: refused there, and only there."""
    with pytest.raises(InvalidArgumentError, match="Windows"):
        parts_of(f"folder/{name}", is_windows=True)
    assert parts_of(f"folder/{name}", is_windows=False) == ("folder", name)


@pytest.mark.parametrize("name", ["console", "nullable.txt", "com10", "auxiliary", "a.con", "lpt"])
def test_names_that_are_only_like_those(name: str) -> None:
    """They are taken on Windows too."""
    assert parts_of(name, is_windows=True) == (name,)


def test_plain_paths_of_contents() -> None:
    """The root itself is none, nor is a drive."""
    assert is_plain("a/b.ipynb")
    for path in ("", "..", "a/../b", "C:/x", "a\\b", "/a", "a/"):
        assert not is_plain(path)


def test_hidden_is_what_begins_with_a_dot() -> None:
    """Anywhere along the path."""
    assert is_hidden((".ssh", "id"))
    assert is_hidden(("a", ".b"))
    assert not is_hidden(("a.b", "c"))


@given(st.text(max_size=300))
def test_a_slug_is_a_name_on_every_system(name: str) -> None:
    """Short, plain, and never the beginning of something else."""
    slug = slug_of(name)

    assert len(slug) <= 40
    assert all(letter in "abcdefghijklmnopqrstuvwxyz0123456789-" for letter in slug)
    assert not slug.startswith("-")
    assert slug == slug_of(slug)


def test_a_slug_shows_the_name() -> None:
    """What people read in it stays."""
    assert slug_of("My Study: Café (3)") == "my-study-cafe-3"
    assert slug_of("日本") == ""
