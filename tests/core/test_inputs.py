"""Inputs become environment variables, or are refused by name and never by value."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_exec_ext.core.errors import InvalidArgumentError
from jupyter_exec_ext.core.inputs import (
    DENIED_NAMES,
    DENIED_PREFIXES,
    MAX_ENTRY_BYTES,
    environment_of,
)

SECRET = "s3cr3t"

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def refused(inputs: dict[str, Any], *, max_inputs: int = 10) -> InvalidArgumentError:
    """Return the error that *inputs* are refused with; it does not tell any value."""
    with pytest.raises(InvalidArgumentError) as raised:
        environment_of(inputs, max_inputs=max_inputs)
    assert SECRET not in f"{raised.value} {raised.value.target}"
    return raised.value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        (" a 'b' \"c\" $d\n\\", " a 'b' \"c\" $d\n\\"),
        ("null", "null"),
        ("1", "1"),
        (1, "1"),
        (-0.5, "-0.5"),
        (1e300, "1e+300"),
        (2**80, str(2**80)),
        (True, "true"),
        (False, "false"),
        ([], "[]"),
        ([1, "ü", None], '[1,"ü",null]'),
        ({"a": {"b": [True]}}, '{"a":{"b":[true]}}'),
    ],
)
def test_strings_stay_and_the_rest_is_compact_json(value: Any, text: str) -> None:
    """What a program reads is what the client wrote, with no space or escape more."""
    assert environment_of({"A": value}, max_inputs=1) == {"A": text}


def test_null_means_that_a_name_must_not_be_set() -> None:
    """It is no empty string, but the name has to be right all the same."""
    assert environment_of({"A": None, "B": ""}, max_inputs=2) == {"A": None, "B": ""}
    assert refused({"PATH": None}).target == "inputs.PATH"


@given(JSON.filter(lambda value: value is not None and not isinstance(value, str)))
def test_what_is_no_string_comes_back_as_it_was(value: Any) -> None:
    """A program that parses the variable as JSON has the value, NUL characters included."""
    text = environment_of({"A": value}, max_inputs=1)["A"]

    assert text is not None
    assert json.loads(text) == value
    assert "\0" not in text


@given(st.text(max_size=20))
def test_a_name_is_taken_only_if_every_shell_takes_it(name: str) -> None:
    """Letters, digits and underscores of ASCII, no digit first, and not reserved."""
    is_name = name.isascii() and name.isidentifier()
    is_reserved = name.upper() in DENIED_NAMES or name.upper().startswith(DENIED_PREFIXES)

    if is_name and not is_reserved:
        assert environment_of({name: "x"}, max_inputs=1) == {name: "x"}
    else:
        refused({name: SECRET})


@pytest.mark.parametrize(
    "name",
    ["", "A-B", "A=B", "A B", "1A", "Ä", "A\n", "A\0", "\u0661A", "a.b", "\u017f", "A" * 300],
)
def test_bad_names_are_refused_by_name(name: str) -> None:
    """The field of the request is told, cut to a length that a log bears."""
    if name == "A" * 300:
        assert environment_of({name: "x"}, max_inputs=1) == {name: "x"}
    else:
        assert refused({name: SECRET}).target == f"inputs.{name[:64]}"


@pytest.mark.parametrize(
    "name",
    [
        *sorted(DENIED_NAMES),
        *(f"{prefix}X" for prefix in DENIED_PREFIXES),
        "path",
        "Ld_preload",
        "pythonpath",
        "jupyter_token",
        "KERNEL_",
    ],
)
def test_reserved_names_are_refused_in_any_case(name: str) -> None:
    """Names under which the server keeps secrets, or that decide which program runs."""
    assert "reserved" in str(refused({name: SECRET}))


def test_an_entry_is_as_long_as_linux_takes() -> None:
    """Name and value together, in bytes of UTF-8; one more is refused."""
    room = MAX_ENTRY_BYTES - len("NAME")

    assert environment_of({"NAME": "x" * room}, max_inputs=1)
    assert environment_of({"NAME": "ü" * (room // 2)}, max_inputs=1)
    assert refused({"NAME": "x" * (room + 1)}).target == "inputs.NAME"
    assert refused({"NAME": "ü" * (room // 2 + 1)}).target == "inputs.NAME"
    assert refused({"NAME": ["x" * (room - 3)]}).target == "inputs.NAME"
    assert refused({"N" * (MAX_ENTRY_BYTES + 1): ""}).target == f"inputs.{'N' * 64}"


def deep(levels: int) -> Any:
    value: Any = SECRET
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        f"{SECRET}\0",
        [f"{SECRET}", math.nan],
        [f"{SECRET}", math.inf],
        {SECRET: object()},
        10**5000,
        deep(100_000),
        f"{SECRET}\ud800",
        [f"{SECRET}\ud800"],
    ],
    ids=["NUL", "NaN", "infinity", "object", "huge", "deep", "surrogate", "surrogates"],
)
def test_what_no_environment_can_hold_is_refused(value: Any) -> None:
    """NUL, what is not JSON, and what is not Unicode."""
    assert refused({"A": value}).target == "inputs.A"


def test_there_is_a_largest_number_of_inputs() -> None:
    """The limit itself is taken; unset ones count."""
    inputs = {f"A{number}": None for number in range(3)}

    assert environment_of(inputs, max_inputs=3) == inputs
    assert refused(inputs, max_inputs=2).target == "inputs"
    assert environment_of({}, max_inputs=0) == {}
