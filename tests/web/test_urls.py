"""The spellings of a base URL."""

import re

import pytest

from jupyter_exec_ext.web.urls import pattern_of_base


@pytest.mark.parametrize(
    ("base_url", "spellings"),
    [
        ("/", ["/"]),
        ("/user/ada/", ["/user/ada/", "/%75ser/ada/", "/%75%73%65%72/%61%64%61/"]),
        (
            "/user/ada%40example.org/",
            [
                "/user/ada%40example.org/",
                "/user/ada@example.org/",
                "/user/ada%40example%2Eorg/",
                "/user/ada@example%2eorg/",
            ],
        ),
        ("/user/ada@example.org/", ["/user/ada%40example.org/", "/user/ada@example.org/"]),
        ("/user/j%C3%B6/", ["/user/j%C3%B6/", "/user/j%c3%b6/", "/user/j%c3%B6/"]),
        ("/user/jö/", ["/user/j%C3%B6/"]),
        ("/a:b;c=d,e+f!$&'()*~-_/", ["/a%3Ab%3bc%3Dd%2Ce%2Bf!$&'()*~-_/"]),
        ("/a%2Fb%25/", ["/a%2fb%25/", "/a%2Fb%25/"]),
    ],
)
def test_every_spelling_matches(base_url: str, spellings: list[str]) -> None:
    """Whichever of them the server has."""
    pattern = re.compile(pattern_of_base(base_url))

    assert pattern.groups == 0
    for spelling in spellings:
        assert pattern.fullmatch(spelling), spelling


@pytest.mark.parametrize(
    ("base_url", "path"),
    [
        ("/user/ada/", "/user/Ada/"),
        ("/user/a.b/", "/user/axb/"),
        ("/user/a%2Fb/", "/user/a/b/"),
        ("/user/ada/", "/user%2Fada/"),
        ("/user/a%2540b/", "/user/a%40b/"),
        ("/user/a%2540b/", "/user/a@b/"),
        ("/a+b/", "/a b/"),
        ("/a/", "//a/"),
    ],
)
def test_another_url_does_not_match(base_url: str, path: str) -> None:
    """Nothing is read twice, and an escaped slash separates nothing."""
    assert not re.fullmatch(pattern_of_base(base_url), path)
