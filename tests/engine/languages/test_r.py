"""R variables."""

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from jupyter_exec_ext.core.models import Variable
from tests.engine.languages.conftest import KernelUnderTest
from tests.engine.languages.samples import one_kernel_for_all, unicode_text


@one_kernel_for_all
@given(
    value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.lists(unicode_text, min_size=2, max_size=5)
)
def test_any_r_value_comes_back(r_kernel: KernelUnderTest, value: Any) -> None:
    def literal(item: str | float) -> str:
        if isinstance(item, float):
            return f"as.numeric('{item!r}')"
        encoded = base64.b64encode(item.encode()).decode()
        return (
            f"(function(x) {{ Encoding(x) <- 'UTF-8'; x }})"
            f"(rawToChar(jsonlite::base64_dec('{encoded}')))"
        )

    items = value if isinstance(value, list) else [value]
    r_kernel.run(f"v <- c({', '.join(map(literal, items))})")

    assert r_kernel.read_json("v") == [value]


def test_r_values_that_are_json(r_kernel: KernelUnderTest) -> None:
    r_kernel.run(
        "i <- 3L; d <- 0.1 + 0.2; k <- 1e5; t <- TRUE; na <- NA; nai <- NA_integer_;"
        "nas <- NA_character_; null <- NULL; v <- c(1, NA, 3); e <- character(0); l0 <- list();"
        "l <- list(1, 'a', NULL, list(2)); n <- list(a = 1, b = list(c = NA, d = 1:2));"
        "nv <- c(x = 1, y = 2); big <- 123456789012345678; s <- 'a\\n\"\\\\b\\u0001'"
    )

    expected = {
        "i": ("integer", "3"),
        "d": ("numeric", "0.30000000000000004"),
        "k": ("numeric", "100000"),
        "t": ("logical", "true"),
        "na": ("logical", "null"),
        "nai": ("integer", "null"),
        "nas": ("character", "null"),
        "null": ("NULL", "null"),
        "v": ("numeric", "[1,null,3]"),
        "e": ("character", "[]"),
        "l0": ("list", "[]"),
        "l": ("list", '[1,"a",null,[2]]'),
        "n": ("list", '{"a":1,"b":{"c":null,"d":[1,2]}}'),
        "nv": ("numeric", '{"x":1,"y":2}'),
        "big": ("numeric", "1.2345678901234568e+17"),
        "s": ("character", '"a\\n\\"\\\\b\\u0001"'),
    }

    variables = r_kernel.read(*expected)

    assert variables == {
        name: Variable(type=kind, json_text=text) for name, (kind, text) in expected.items()
    }


def test_r_values_that_are_not_json_come_as_they_are_shown(r_kernel: KernelUnderTest) -> None:
    r_kernel.run(
        "nan <- NaN; inf <- list(1, Inf); df <- data.frame(a = 1:2); f <- factor('a');"
        "day <- Sys.Date(); m <- matrix(1:4, 2); fun <- function(x) x; env <- new.env();"
        "dup <- list(a = 1, a = 2); part <- list(a = 1, 2); z <- 1i; raw <- as.raw(1:3);"
        "bad <- '\\xff'; deep <- list(); for (i in 1:300) deep <- list(deep)"
    )
    names = ["nan", "inf", "df", "f", "day", "m", "fun", "env", "dup", "part", "z", "raw", "bad"]

    variables = r_kernel.read(*names, "deep")

    for name in names:
        variable = variables[name]
        assert variable.error is None, (name, variable)
        assert variable.json_text is None, name
        assert variable.data, name
    assert "text/html" in (variables["df"].data or {})
    assert variables["df"].type == "data.frame"
    assert variables["deep"].json_text is None


def test_hostile_r_objects_harm_only_themselves(r_kernel: KernelUnderTest) -> None:
    r_kernel.run(
        "print.evil <- function(x, ...) stop('boom'); format.evil <- print.evil;"
        "names.evil <- function(x) stop('names'); length.evil <- function(x) stop('length');"
        "toString.evil <- print.evil; evil <- structure(list(1), class = 'evil');"
        "makeActiveBinding('active', function() stop('active'), globalenv());"
        "c <- function(...) stop('c'); list <- 5; paste0 <- function(...) stop('p');"
        "bomb <- base::list(1); for (i in 1:64) bomb <- base::list(bomb, bomb); good <- 1"
    )

    variables = r_kernel.read("evil", "active", "bomb", "good")
    r_kernel.run("rm(c, list, paste0, evil, active)")

    assert {kind for kind, _ in r_kernel.published} <= {"execute_input"}
    assert variables["good"].json_text == "1"
    assert variables["active"].error == "active"
    assert variables["evil"].json_text is None
    assert variables["bomb"].error == "larger than 1000000 bytes"


def test_r_is_read_while_its_output_is_diverted(r_kernel: KernelUnderTest) -> None:
    r_kernel.run("sink(tempfile()); x <- 1")

    value = r_kernel.read_json("x")

    r_kernel.run("sink()")
    assert value == [1]


def test_any_string_can_name_an_r_variable(r_kernel: KernelUnderTest) -> None:
    r_kernel.run("assign('x); import os; (', 7); assign('\\u00e9 b', 8)")

    assert r_kernel.read_json("x); import os; (", "é b") == [7, 8]
    r_kernel.run("rm(list = c('x); import os; (', '\\u00e9 b'))")
