"""Which names the parts of a form have, however a client writes them."""

import time

import pytest

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.web.forms import (
    MAX_FIELDS,
    MAX_HEADERS,
    MAX_TYPE_LENGTH,
    FormField,
    FormFile,
    FormReader,
    boundary_of,
)

E_ACUTE = "=?utf-8?B?w6nigqwudHh0?="


def _found(parameters: bytes) -> list[FormFile | FormField | bytes]:
    reader = FormReader("multipart/form-data; boundary=B", takes_fields=True)
    head = b"--B\r\nContent-Disposition: form-data; " + parameters
    found = reader.feed(head + b"\r\n\r\nx\r\n--B--\r\n")
    assert reader.is_complete
    return found


@pytest.mark.parametrize(
    ("parameters", "path"),
    [
        ('name="file"; filename="a.txt"', "a.txt"),
        ('filename="é€.txt"', "é€.txt"),
        ("filename*=utf-8''%C3%A9%E2%82%AC.txt", "é€.txt"),
        (f"filename=\"{E_ACUTE}\"; filename*=utf-8''%C3%A9%E2%82%AC.txt", "é€.txt"),
        ("filename*=utf-8''%C3%A9; filename=\"e\"", "é"),
        ("filename*=iso-8859-1'en'%E9", "é"),
        (f'filename="{E_ACUTE}"', "é€.txt"),
        (f'filename="a {E_ACUTE}"', f"a {E_ACUTE}"),
        ('filename=" a "', " a "),
        (r'filename="a\"b\\c"', 'a"b\\c'),
        ('filename="a;b=c%20"', "a;b=c%20"),
        ("x; =; y=; FileName = a b ; name=n", "a b"),
        ('filename="a;name=b', '"a'),
        ('filename="a"; filename="b"', "b"),
    ],
)
def test_the_name_of_a_file(parameters: str, path: str) -> None:
    """That of ``filename*`` first, as RFC 8187 has it; then words as of RFC 2047; then UTF-8."""
    assert _found(parameters.encode()) == [FormFile(path), b"x"]


@pytest.mark.parametrize(
    "parameters",
    [
        b'filename="\xff"',
        b"filename*=utf-8''%FF",
        b"filename*=nothing''a",
        b"filename*=hex''6161",
        b'filename="=?utf-8?B?/w==?="',
        b'filename="=?utf-8?B?a?="',
        b'filename="=?nothing?Q?a?="',
        b'name="\xff"',
    ],
)
def test_a_name_that_is_no_text_is_refused(parameters: bytes) -> None:
    """Rather than stored under another."""
    with pytest.raises(MalformedRequestError, match="not UTF-8"):
        _found(parameters)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [('name="é"', "é"), ("name*=utf-8''%C3%A9", "é"), ('name="a"; filename=""', "a"), ("", "")],
)
def test_a_part_without_a_file_name_is_a_field(parameters: str, name: str) -> None:
    """Which may have no name either."""
    assert _found(parameters.encode()) == [FormField(name), b"x"]


@pytest.mark.parametrize("head", [b"", b"-", b"--", b"--B", b"--B\r"])
def test_a_boundary_needs_a_whole_line(head: bytes) -> None:
    """Before that nothing is known."""
    assert boundary_of(head) is None


@pytest.mark.parametrize("head", [b"{}\r\n", b"x", b"--\r\n", b'--"\r\n', b"--\\\r\n", b"--" * 200])
def test_what_begins_otherwise_is_no_form(head: bytes) -> None:
    """As soon as that is certain."""
    with pytest.raises(MalformedRequestError):
        boundary_of(head)


def test_a_form_tells_its_boundary() -> None:
    """With its first line."""
    assert boundary_of(b"--B b\r\nContent-Disposition") == "B b"


def _form_of(count: int, *headers: str) -> bytes:
    part = "\r\n".join(("--B", *headers, "", "x", ""))
    return part.encode() * count + b"--B--\r\n"


@pytest.mark.parametrize("count", [MAX_FIELDS, MAX_FIELDS + 1])
def test_a_form_has_a_maximum_of_fields(count: int) -> None:
    """Each costs processor time, and a form of 4 MB could have 57,000."""
    reader = FormReader("multipart/form-data; boundary=B", takes_fields=True)
    form = _form_of(count, 'Content-Disposition: form-data; name="a"')

    if count > MAX_FIELDS:
        with pytest.raises(MalformedRequestError, match=f"at most {MAX_FIELDS} parts"):
            reader.feed(form)
    else:
        assert len(reader.feed(form)) == 2 * count


@pytest.mark.parametrize(
    "headers",
    [
        ["X: a"] * MAX_HEADERS,
        ["X: " + "a" * 5_000],
    ],
)
def test_the_headers_of_a_part_have_a_maximum(headers: list[str]) -> None:
    """Of their number, and of the length of each."""
    reader = FormReader("multipart/form-data; boundary=B", takes_fields=True)

    with pytest.raises(MalformedRequestError):
        reader.feed(_form_of(1, 'Content-Disposition: form-data; name="a"', *headers))


def test_a_content_type_that_is_too_long_is_refused() -> None:
    """Before the header is read."""
    with pytest.raises(MalformedRequestError) as refusal:
        FormReader("multipart/form-data; boundary=B; a=" + "b" * MAX_TYPE_LENGTH)

    assert refusal.value.target == "Content-Type"


@pytest.mark.serial
@pytest.mark.parametrize(
    "parameters",
    ['name="%s"' % (";" * 4_000), "a=b;" * 1_000, "a*1=b;" * 600, 'filename="%s"' % (";" * 4_000)],
)
def test_hostile_headers_of_parts_take_no_time(parameters: str) -> None:
    """A form of 4 MB took up to 31 s on the event loop."""
    reader = FormReader("multipart/form-data; boundary=B", takes_fields=True)
    form = _form_of(1_000, f"Content-Disposition: form-data; {parameters}")
    start = time.thread_time()

    try:
        for place in range(0, len(form), 65_536):
            reader.feed(form[place : place + 65_536])
    except MalformedRequestError:
        pass

    assert time.thread_time() - start < 2
