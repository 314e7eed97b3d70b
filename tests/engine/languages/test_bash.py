"""bash: its variables, and its environment."""

import base64
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_exec_ext.core.models import Variable
from jupyter_exec_ext.engine.languages import Reply, language_of
from tests.engine.languages.conftest import KernelUnderTest, environment_of
from tests.engine.languages.samples import one_kernel_for_all, unicode_text


def test_bash_values(bash_kernel: KernelUnderTest) -> None:
    bash_kernel.run(
        "s=$'a\\'\"\\n$(x)\\n\\n'; n=5; declare -i num=7; e=; arr=(1 'two 2' $'three\\n'); none=();"
        " declare -A map=([k]=v ['k 2']=$'v\\n'); declare -n ref=map; declare declared;"
        " sparse=([3]=c [7]=d); readonly ro=1; export ex=y"
    )

    variables = bash_kernel.read(
        *["s", "n", "num", "e", "arr", "none", "map", "ref", "declared", "sparse", "ro", "ex"]
    )

    expected = {
        "s": ("string", "a'\"\n$(x)\n\n"),
        "n": ("string", "5"),
        "num": ("string", "7"),
        "e": ("string", ""),
        "arr": ("array", ["1", "two 2", "three\n"]),
        "none": ("array", []),
        "map": ("associative array", {"k": "v", "k 2": "v\n"}),
        "ref": ("associative array", {"k": "v", "k 2": "v\n"}),
        "sparse": ("array", ["c", "d"]),
        "ro": ("string", "1"),
        "ex": ("string", "y"),
    }
    for name, (kind, value) in expected.items():
        assert variables[name].type == kind
        assert json.loads(variables[name].json_text or "null") == value
    assert variables["declared"] == Variable(error="no variable of this name")


@settings(one_kernel_for_all, max_examples=8)
@given(values=st.lists(unicode_text.map(lambda text: text[:20]), min_size=1, max_size=6))
def test_any_bash_array_comes_back(bash_kernel: KernelUnderTest, values: list[str]) -> None:
    words = ("$'" + "".join(f"\\x{byte:02x}" for byte in value.encode()) + "'" for value in values)
    bash_kernel.run(f"values=({' '.join(words)})")

    assert bash_kernel.read_json("values") == [values]


def test_bash_is_read_whatever_its_options_and_functions(bash_kernel: KernelUnderTest) -> None:
    bash_kernel.run(
        "x=1; set -u; printf() { :; }; declare() { :; }; base64() { :; }; sed() { :; };"
        " alias read=false command=false builtin=false; IFS=1; shopt -s nullglob"
    )

    variables = bash_kernel.read("x", "unset")
    bash_kernel.set_environment(OPTIONS="-e\n")
    assert bash_kernel.read_json("OPTIONS") == ["-e\n"]
    bash_kernel.restore_environment()

    bash_kernel.run(
        "set +u; unset -f printf declare base64 sed; \\unalias -a; IFS=$' \\t\\n';"
        " shopt -u nullglob"
    )
    assert variables["x"].json_text == '"1"'
    assert variables["unset"].error == "no variable of this name"


def test_restoring_keeps_what_kind_of_variable_it_was(bash_kernel: KernelUnderTest) -> None:
    bash_kernel.run("plain=$'p\\n'; list=(a 'b c'); declare -i whole=4; export out=o")

    bash_kernel.set_environment(plain="1", list="2", whole="a[$(touch pwned)]", out="4")
    assert bash_kernel.read_json("plain", "list", "whole", "out") == [
        "1",
        "2",
        "a[$(touch pwned)]",
        "4",
    ]
    bash_kernel.restore_environment()

    assert bash_kernel.read_json("plain", "list", "whole", "out") == ["p\n", ["a", "b c"], "4", "o"]
    assert environment_of(bash_kernel, "plain", "list", "whole", "out") == {
        "plain": None,
        "list": None,
        "whole": None,
        "out": "o",
    }
    assert "pwned" not in bash_kernel.run("ls")


def test_a_read_only_variable_cannot_be_set(bash_kernel: KernelUnderTest) -> None:
    bash_kernel.run("readonly fixed=1")

    request = bash_kernel.language.set_environment({"fixed": "2", "free": "3"})
    reply = bash_kernel.send(request)

    assert bash_kernel.language.environment_error(reply) is not None
    assert bash_kernel.read_json("fixed", "free") == ["1", "3"]
    bash_kernel.restore_environment()
    assert bash_kernel.read("free")["free"].error == "no variable of this name"


@pytest.mark.parametrize("name", ["PS1", "PROMPT_COMMAND", "TMOUT", "a-b"])
def test_bash_takes_no_variable_that_cuts_the_line_to_it(name: str) -> None:
    language = language_of("bash")
    assert language is not None

    with pytest.raises(ValueError, match="bash"):
        language.set_environment({name: "x"})


def test_output_between_the_pieces_is_passed_over() -> None:
    """Other text may stand on lines between, and before a piece on its line."""
    language = language_of("bash")
    assert language is not None
    reading = language.read_variables(["x"], max_bytes=100)
    found = re.search(r"jupyter-exec-[0-9a-f]{32}", reading.request.code)
    assert found is not None
    encoded = base64.b64encode(b"string\0value\0").decode()
    stdout = (
        f"before{found.group()} {encoded[:5]}\r\nQUJD\n"
        f"jupyter-exec-other QUJD\n{found.group()} {encoded[5:]}\nafter"
    )

    assert reading.parse(Reply(stdout=stdout)) == {
        "x": Variable(type="string", json_text='"value"')
    }


def test_lines_for_bash_fit_into_a_terminal() -> None:
    language = language_of("bash")
    assert language is not None

    requests = (
        language.set_environment({"A": "x" * 100_000, "B" * 256: ""}),
        language.restore_environment(),
        language.read_variables(["x" * 256] * 256, max_bytes=10).request,
    )

    for request in requests:
        assert max(map(len, request.code.splitlines())) < 4_000
        assert "\t" not in request.code
