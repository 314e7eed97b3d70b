"""The filters of lists, by themselves."""

import pytest

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.dialects.qinling.filters import MAX_LENGTH, Filter, is_like, take


@pytest.mark.parametrize(
    ("text", "value", "fits"),
    [
        ("success", "success", True),
        ("eq:success", "success", True),
        ("eq:success", "Success", False),
        ("neq:success", "failed", True),
        ("neq:success", "success", False),
        ("in:failed,error", "error", True),
        ("in:failed,error", "success", False),
        ("nin:failed,error", "success", True),
        ("nin:failed,error", "error", False),
        ("gt:b", "c", True),
        ("gt:b", "b", False),
        ("gte:b", "b", True),
        ("lt:b", "a", True),
        ("lt:b", "b", False),
        ("lte:b", "b", True),
        ("has:NIGHT", "the nightly one", True),
        ("has:day", "the nightly one", False),
        ("like:success", "success", False),
        ("like:success", "like:success", True),
        ("eq:eq:a", "eq:a", True),
        ("a:b", "a:b", True),
        ("", "success", False),
        ("has:", "anything", True),
    ],
)
def test_an_operator_compares(text: str, value: str, fits: bool) -> None:
    """What begins with no known operator is compared whole."""
    assert Filter.of(text).takes(value) is fits


@pytest.mark.parametrize("operator", ["eq:", "neq:a", "nin:a", "has:", "gt:", "lte:z"])
def test_what_is_null_never_fits(operator: str) -> None:
    """As in SQL."""
    assert not Filter.of(operator).takes(None)


def test_all_filters_have_to_fit() -> None:
    values = {"status": "failed", "description": "x"}
    status, description = Filter.of("failed"), Filter.of("neq:x")

    assert take({"status": status}, values)
    assert not take({"status": status, "description": description}, values)


@pytest.mark.parametrize(
    ("part", "fits"),
    [
        ("B_d", True),
        ("B__d", False),
        ("a%d", True),
        ("d%a", False),
        ("%", True),
        (".", False),
        ("é", True),
        ("É", False),
    ],
)
def test_has_is_sqls_like(part: str, fits: bool) -> None:
    """With its wild cards; only ASCII letters are the same in both cases."""
    assert is_like("a bad é", part) is fits


@pytest.mark.timeout(60)
def test_no_pattern_takes_for_ever() -> None:
    """One that makes a backtracking search try everything, which would not end."""
    assert not is_like("a" * 1_000, "%a" * 400 + "b")


def test_a_filter_has_a_maximum_length() -> None:
    """Each record is compared with it."""
    assert Filter.of("a" * MAX_LENGTH).wanted == "a" * MAX_LENGTH

    with pytest.raises(MalformedRequestError, match=f"at most {MAX_LENGTH} characters"):
        Filter.of("a" * (MAX_LENGTH + 1))
