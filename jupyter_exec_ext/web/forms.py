"""Reads the files out of a form (``multipart/form-data``, RFC 7578) while it comes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from jupyter_exec_ext.core.errors import MalformedRequestError

MULTIPART = "multipart/form-data"

MAX_TYPE_LENGTH = 1_024
"""Maximum number of characters of the ``Content-Type`` of a form."""

MAX_FIELDS = 100
"""Maximum number of parts of a form that are not files; the receiver of the files counts those."""

MAX_HEADERS = 8
"""Maximum number of headers of one part."""

MAX_HEADER_BYTES = 4_224
"""Maximum length of one header of a part: room for the longest path, with its quotes."""

_MAX_BOUNDARY_LINE = 260
_ENCODED_WORDS = re.compile(r"(?:=\?[^?\s]+\?[bq]\?[^?\s]+\?=(?:\s+(?=\S)|$))+", re.IGNORECASE)
# The possessive quantifiers keep it linear; `email.message` takes quadratic time for semicolons.
_PARAMETER = re.compile(r";\s*+([^\s=;]++)\s*+=\s*+(\"(?:[^\"\\]|\\.)*+\"|[^;]*+)", re.DOTALL)


@dataclass(frozen=True)
class FormFile:
    """A file begins; the pieces that follow are its content."""

    path: str


@dataclass(frozen=True)
class FormField:
    """A part that is no file begins; the pieces that follow are its value."""

    name: str


class FormReader:
    """Turns the pieces of a body into files and their pieces.

    Args:
        content_type: The header of the request.
        takes_fields: Whether a part may be no file.

    Raises:
        MalformedRequestError: The body is no form.
    """

    def __init__(self, content_type: str, *, takes_fields: bool = False) -> None:
        if len(content_type) > MAX_TYPE_LENGTH:
            raise MalformedRequestError(
                f"the header must not be longer than {MAX_TYPE_LENGTH} characters",
                target="Content-Type",
            )
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != MULTIPART.encode() or not boundary:
            raise MalformedRequestError(
                f"this takes {MULTIPART} with a boundary; PUT …/files/{{path}} takes one file",
                target="Content-Type",
            )
        self._takes_fields = takes_fields
        self._field_count = 0
        self._found: list[FormFile | FormField | bytes] = []
        self._header: tuple[bytearray, bytearray] = (bytearray(), bytearray())
        self._disposition = b""
        self.is_complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._on_part_begin,
                    "on_header_field": lambda data, start, end: self._header[0].extend(
                        data[start:end]
                    ),
                    "on_header_value": lambda data, start, end: self._header[1].extend(
                        data[start:end]
                    ),
                    "on_header_end": self._on_header_end,
                    "on_headers_finished": self._on_headers_finished,
                    "on_part_data": lambda data, start, end: self._found.append(data[start:end]),
                    "on_end": self._on_end,
                },
                max_header_count=MAX_HEADERS,
                max_header_size=MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise _malformed() from error

    def feed(self, data: bytes) -> list[FormFile | FormField | bytes]:
        """Return what *data* completes: parts that begin, and pieces of the last one.

        Raises:
            MalformedRequestError: The form is broken, or a part of it is no file.
        """
        self._found = []
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed() from error
        return self._found

    def _on_part_begin(self) -> None:
        self._disposition = b""

    def _on_header_end(self) -> None:
        name, value = (bytes(part) for part in self._header)
        if name.lower() == b"content-disposition":
            self._disposition = value
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        # The parser's own way takes only the end of what looks like a path of Windows.
        parameters = {
            name.lower(): value
            for name, value in _PARAMETER.findall(self._disposition.decode("latin-1"))
        }
        path = _text_of(parameters, "filename")
        if path:
            self._found.append(FormFile(path))
        elif self._takes_fields:
            self._field_count += 1
            if self._field_count > MAX_FIELDS:
                raise MalformedRequestError(
                    f"a form must have at most {MAX_FIELDS} parts that are not files"
                )
            self._found.append(FormField(_text_of(parameters, "name")))
        else:
            raise MalformedRequestError(
                "each part of the form is a file with a name", target="filename"
            )

    def _on_end(self) -> None:
        self.is_complete = True


def _malformed() -> MalformedRequestError:
    return MalformedRequestError("the form is broken")


def boundary_of(head: bytes) -> str | None:
    """Return the boundary of a form that begins with *head*; ``None`` until that is a line.

    Raises:
        MalformedRequestError: It is no form.
    """
    line, newline, _ = head.partition(b"\r\n")
    if not newline and len(line) < _MAX_BOUNDARY_LINE and b"--".startswith(line[:2]):
        return None
    boundary = line[2:].decode("latin-1")
    if not (newline and boundary and line.startswith(b"--")) or re.search(r'["\\]', boundary):
        raise MalformedRequestError(f"the body is no {MULTIPART}", target="Content-Type")
    return boundary


def _text_of(parameters: Mapping[str, str], name: str) -> str:
    """Return the text of a parameter, which can be extended (RFC 8187) or in words (RFC 2047).

    Of two spellings of one parameter the extended one counts.

    Raises:
        MalformedRequestError: The text is not encoded as the parameter declares.
    """
    try:
        extended = parameters.get(f"{name}*")
        if extended is not None:
            charset, _, value = _unquoted(extended).split("'", 2)
            return unquote_to_bytes(value).decode(charset or "utf-8")
        text = _unquoted(parameters.get(name, "")).encode("latin-1").decode()
        if _ENCODED_WORDS.fullmatch(text):
            return str(make_header(decode_header(text)))
    except (ValueError, LookupError, HeaderParseError) as error:
        raise MalformedRequestError("the name of a part is not UTF-8", target=name) from error
    return text


def _unquoted(value: str) -> str:
    """Return the text of a quoted string; only a quote and a backslash are escaped in one."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1].replace("\\\\", "\\").replace('\\"', '"')
    return value.strip()
