"""The table of languages, and what no language lets through."""

import pytest

from jupyter_exec_ext.engine.languages import (
    Reply,
    command_languages,
    known_languages,
    language_of,
    runs_commands,
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("python", "python"),
        ("IPython", "python"),
        ("R", "r"),
        ("r", "r"),
        ("julia", "julia"),
        ("JavaScript", "javascript"),
        ("typescript", "javascript"),
        ("bash", "bash"),
    ],
)
def test_a_language_is_found_by_its_kernel_info_name(name: str, expected: str) -> None:
    language = language_of(name)

    assert language is not None
    assert language.name == expected


def test_other_languages_are_not_known() -> None:
    assert language_of("cobol") is None
    assert known_languages() == ("python", "r", "julia", "javascript", "bash")


@pytest.mark.parametrize("name", known_languages())
@pytest.mark.parametrize(
    "variables",
    [{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "secret\0"}, {"A": "secret\ud800"}],
)
def test_what_cannot_be_an_environment_variable_is_refused_without_its_value(
    name: str, variables: dict[str, str]
) -> None:
    language = language_of(name)
    assert language is not None

    with pytest.raises(ValueError, match="environment variable") as caught:
        language.set_environment(variables)

    assert "secret" not in str(caught.value)


def test_some_languages_run_commands() -> None:
    """The others refuse; neither has a way to do the half of it."""
    assert command_languages() == ("python", "r", "bash")
    assert [runs_commands(name) for name in ("IPython", "julia", "cobol")] == [True, False, False]
    julia = language_of("julia")
    assert julia is not None
    with pytest.raises(NotImplementedError):
        julia.run_command("", marker="M")
    assert julia.command_text(Reply()) == ""


@pytest.mark.parametrize("name", known_languages())
def test_data_never_becomes_code(name: str) -> None:
    """Names and values are in no request as they are, not even quoted."""
    language = language_of(name)
    assert language is not None

    requests = (
        language.set_environment({"HARMLESS": "'; rm -rf pwned; $(touch pwned)"}),
        language.read_variables(["'; rm -rf pwned", "a[$(touch pwned)]"], max_bytes=10).request,
    )

    for request in requests:
        assert "pwned" not in request.code + "".join(request.user_expressions.values())
