"""What of the translation needs no server."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_exec_ext.core.errors import InvalidArgumentError, MalformedRequestError
from jupyter_exec_ext.core.models import CellResult, CodeSource, Execution, ExecutionError, Result
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.dialects.azure import AzureDialect, wire

DOCS = Path(__file__).parents[3] / "docs" / "dialects" / "azure.md"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("open('/mnt/data/a.csv')", "open('/srv/s-1/a.csv')"),
        ("os.chdir('/mnt/data')", "os.chdir('/srv/s-1')"),
        ("ls /mnt/data; ls /mnt/data/", "ls /srv/s-1; ls /srv/s-1/"),
        ("file:///mnt/data/a", "file:///srv/s-1/a"),
        ("see /mnt/data.", "see /srv/s-1."),
        ("tar -C/mnt/data -xf a", "tar -C/srv/s-1 -xf a"),
        ("['tar', '-C/mnt/data']", "['tar', '-C/srv/s-1']"),
        ("cd ${X:-/mnt/data}", "cd ${X:-/srv/s-1}"),
        (r'"a\n/mnt/data"', r'"a\n/srv/s-1"'),
        ("/mnt/database /mnt/data-2 /mnt/data.csv", None),
        ("/home/mnt/data ${X}/mnt/data ~/mnt/data ../mnt/data", None),
        ("'/mnt' + '/data'", None),
        ("http://h/mnt/data http://h:80/mnt/data http://[::1]/mnt/data", None),
        ("http://mnt/data s3://mnt/data x-a/mnt/data --o/mnt/data", None),
        (r"c:\\n/mnt/data \d/mnt/data", None),
    ],
)
def test_the_folder_takes_the_place_of_mnt_data(text: str, expected: str | None) -> None:
    """Where the whole name stands there, and nowhere else."""
    assert wire.translated(text, "/srv/s-1") == (expected or text)


@pytest.mark.parametrize("place", [None, "/a'b", '/a"b', "/a b", "/a\\b", "/a\nb", "/a{b}", "/a$b"])
def test_no_place_can_change_what_code_means(place: str | None) -> None:
    """A path that would end a string, or mean more in one, is not put into code."""
    assert wire.translated("x = '/mnt/data'", place) == "x = '/mnt/data'"


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("a%20b.csv", "a b.csv"),
        ("%C3%A4%25.csv", "ä%.csv"),
        ("in/a%20b", "in/a b"),
        ("100%", "100%"),
        ("a b%20c", "a b%20c"),
        ("%zz", "%zz"),
        ("%ff", "%ff"),
        ("a%2fb", "a%2fb"),
        ("plain.csv", "plain.csv"),
    ],
)
def test_names_that_are_written_as_in_a_url_are_read_so(name: str, plain: str) -> None:
    """Only what no other client would have written."""
    assert wire.decoded_name(name) == plain


@pytest.mark.parametrize(
    ("name", "folder", "path"),
    [
        ("/srv/s-1/in/a", "", "in/a"),
        ("a", "/srv/s-1/in", "in/a"),
        ("/srv/s-1", "", ""),
        ("a", "/in", "in/a"),
        ("a", "", "a"),
        ("/mnt/data/a", "", "a"),
        ("/mnt/data/in/a", "", "in/a"),
        ("a", "/mnt/data", "a"),
        ("a", "/mnt/data/in/", "in/a"),
        ("./a", "in", "in/a"),
        ("", "/", ""),
        ("/mnt/data", "", ""),
    ],
)
def test_paths_are_relative_or_below_the_folder(name: str, folder: str, path: str) -> None:
    """A name may be absolute, and a folder too; a folder is one of the session in any case."""
    assert wire.path_of(name, folder, "/srv/s-1") == path


@pytest.mark.parametrize("name", ["/etc/a", "/mnt/database", "/srv/s-10/a", "/srv/s-1//a", "//a"])
def test_other_absolute_names_are_refused(name: str) -> None:
    """They are no names in the session."""
    with pytest.raises(MalformedRequestError):
        wire.path_of(name, "", "/srv/s-1")


@pytest.mark.parametrize("name", ["..", "a/../b", "/srv/s-1/../s-2/a", "a//b", "a\\b"])
def test_no_path_leads_out(name: str) -> None:
    """However it begins."""
    with pytest.raises(InvalidArgumentError):
        wire.path_of(name, "", "/srv/s-1")
    with pytest.raises(InvalidArgumentError):
        wire.path_of("a", name, "/srv/s-1")


def test_a_folder_in_mnt_data_itself() -> None:
    """Of two places below each other the session's is meant."""
    assert wire.path_of("/mnt/data/s-1/a", "", "/mnt/data/s-1") == "a"


def _result(*outputs: dict[str, Any]) -> Result:
    return Result(cells=[CellResult(cell_index=0, outputs=list(outputs))])


def _value(**data: Any) -> dict[str, Any]:
    names = {name.replace("_", "/"): value for name, value in data.items()}
    return {"output_type": "execute_result", "data": names, "metadata": {}, "execution_count": 1}


@pytest.mark.parametrize(
    ("text", "json"),
    [
        ("9" * 4000, b"9" * 4000),
        ("9" * 5000, b'"' + b"9" * 5000 + b'"'),
        ("1e400", b'"1e400"'),
        ("NaN", b'"NaN"'),
        ("Infinity", b'"Infinity"'),
        ("[" * 20_000, b'"' + b"[" * 20_000 + b'"'),
        ("[" * 20_000 + "]" * 20_000, b'"' + b"[" * 20_000 + b"]" * 20_000 + b'"'),
        (" 1\n", b" 1\n"),
        ('["a"]', b'["a"]'),
        (["1", "2"], b"12"),
    ],
)
def test_a_value_is_json_or_text(text: Any, json: bytes) -> None:
    """Strict JSON that clients can read, digit for digit; anything else is text."""
    assert msgspec.json.encode(wire.value_view(_result(_value(text_plain=text)))) == json


def test_the_last_picture_wins() -> None:
    """Over a value and over earlier pictures; PNG over other forms of the same."""
    first = {"output_type": "display_data", "data": {"image/png": "Zmlyc3Q="}, "metadata": {}}
    last = _value(text_plain="<Figure>", image_jpeg="anBn", image_png=["Zm\n", "9v\n"])

    shown = wire.value_view(_result(first, last, _value(text_plain="5")))

    assert shown == {"type": "image", "format": "png", "base64_data": "Zm9v"}


def test_the_docs_name_each_option_with_its_default() -> None:
    """As the service starts without any configuration."""
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", DOCS.read_text(), re.MULTILINE))
    options = AzureDialect()

    named = {name: str(getattr(options, name)) for name in options.traits(config=True)}
    assert {name: rows.get(name) for name in named} == {
        **{name: value.removesuffix(".0") for name, value in named.items()},
        "kernel_name": "the server's default",
    }


def test_standard_error_has_what_the_kernel_wrote_before_it_ended() -> None:
    error = ExecutionError(code="KernelStartFailed", message="m", details=["one", "two"])
    execution = Execution(
        id="e",
        type="code",
        state=State.FAILED,
        source=CodeSource(code="1"),
        session_id="s",
        kernel_name="python3",
        created_time=datetime(2026, 1, 2, tzinfo=UTC),
        error=error,
    )

    shown = (
        wire.execution_view(execution, Result(), "e")["result"]["stderr"],
        wire.properties_view(execution, Result())["stderr"],
    )

    assert shown == ("m\none\ntwo", "m\none\ntwo")
