"""Reads the files out of a form (``multipart/form-data``, RFC 7578) while it comes."""

from dataclasses import dataclass
from email.message import Message

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from jupyter_exec_ext.core.errors import MalformedRequestError

MULTIPART = "multipart/form-data"


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
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != MULTIPART.encode() or not boundary:
            raise MalformedRequestError(
                f"this takes {MULTIPART} with a boundary; PUT …/files/{{path}} takes one file",
                target="Content-Type",
            )
        self._takes_fields = takes_fields
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
        header = Message()
        header["Content-Disposition"] = self._disposition.decode("latin-1")
        name = header.get_filename()
        if not name:
            if self._takes_fields:
                field = str(header.get_param("name", "", header="Content-Disposition"))
                text = field.encode("latin-1", "replace").decode("utf-8", "replace")
                self._found.append(FormField(text))
                return
            raise MalformedRequestError(
                "each part of the form is a file with a name", target="filename"
            )
        try:
            self._found.append(FormFile(name.encode("latin-1").decode()))
        except UnicodeError as error:
            raise MalformedRequestError(
                "the name of a file is not UTF-8", target="filename"
            ) from error

    def _on_end(self) -> None:
        self.is_complete = True


def _malformed() -> MalformedRequestError:
    return MalformedRequestError("the form is broken")
