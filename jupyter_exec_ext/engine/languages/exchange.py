"""The requests and replies that every language shares, and how a reply becomes variables.

A reading travels back as a JSON array with one object per name, in the order of the names:
``{"type", "problem"?: "missing" | "impossible" | "large" | "opaque", "error"?, "json"?: JSON text,
"data"?: {MIME type: text}, "json_data"?: {MIME type: JSON text}, "truncated"?}``.
All of it comes from a kernel that runs anybody's code, so nothing in it is trusted.
"""

import base64
import binascii
import json
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from jupyter_exec_ext.core.models import MimeBundle, Variable
from jupyter_exec_ext.engine.languages.guarding import Guarding

READING_MIME = "text/vnd.jupyter-exec-reading"
"""The private MIME type of a reading; ``text/``, or Julia would not display a string as it is."""

MAX_DEPTH = 100
"""How deep a value may be nested to count as JSON; also what ends a cycle."""

MAX_ERROR_LENGTH = 1_000
"""How many characters of a kernel's error message are kept."""

NO_ANSWER = "the kernel did not answer as expected"

_UNREADABLE = (ValueError, TypeError, LookupError, RuntimeError)

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, kw_only=True)
class Request:
    """An ``execute_request`` of our own: send it with ``store_history`` and ``allow_stdin`` off.

    What it publishes belongs to the reply and is shown to nobody.
    """

    code: str
    silent: bool = True
    user_expressions: dict[str, str] = field(default_factory=dict)

    def content(self, *, allow_stdin: bool = False) -> dict[str, Any]:
        """Return the content of the message."""
        return {
            "code": self.code,
            "silent": self.silent,
            "store_history": False,
            "user_expressions": self.user_expressions,
            "allow_stdin": allow_stdin,
            "stop_on_error": False,
        }


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What came back for one request; all empty when the kernel did not answer.

    Attributes:
        content: Of the ``execute_reply``.
        stdout: The text of all ``stream`` messages named ``stdout``, joined.
        display_data: ``data`` of each ``display_data`` message.
    """

    content: Mapping[str, Any] = field(default_factory=dict)
    stdout: str = ""
    display_data: Sequence[MimeBundle] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One reading of variables: what to send, and how to understand the answer."""

    request: Request
    names: tuple[str, ...]
    max_bytes: int
    decode: Callable[[Reply], Sequence[Any]]

    def is_answered(self, reply: Reply) -> bool:
        """Whether *reply* has one entry for each name; for a test request without names."""
        try:
            return len(self.decode(reply)) == len(self.names)
        except _UNREADABLE:
            return False

    def parse(self, reply: Reply) -> dict[str, Variable]:
        """Return one variable for each name, whatever the kernel answered; never fails."""
        entries = _decoded(lambda: self.decode(reply))
        if len(entries) != len(self.names):
            return unread_variables(self.names)
        return {
            name: _variable_of(entry, self.max_bytes)
            for name, entry in zip(self.names, entries, strict=True)
        }


class Language(ABC):
    """How the kernels of one language are spoken to.

    Attributes:
        name: As ``kernel_info`` calls the language, in lower case.
        aliases: Other such names.
        end_of_input: The answer to an ``input_request`` that raises the end-of-file error in the
            code that asked. ``None`` where no answer does: IRkernel hands each one on as it is,
            and bash_kernel never asks, so that a ``read`` waits until it is interrupted.
        exit_exception: The name of the exception that ends a program, and whose message is the
            exit status. ``None`` where no exception does.
        guarding: How its kernels start the guard of a command; ``None`` where they cannot.
        implementations: The names, in ``kernel_info`` and in lower case, of the kernels that are
            tested. A kernel with another name gets a test request first.
        programs: What the command of a kernelspec contains that starts one of these kernels.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    end_of_input: ClassVar[str | None] = None
    exit_exception: ClassVar[str | None] = None
    guarding: ClassVar[Guarding | None] = None
    implementations: ClassVar[tuple[str, ...]] = ()
    programs: ClassVar[tuple[str, ...]] = ()

    def variants(self) -> "tuple[Language, ...]":
        """Return the ways to speak to kernels of this language, the preferred one first."""
        return (self,)

    def prepare_kernel(self) -> Request | None:
        """Return what a fresh kernel must do before its first cell; ``None`` if nothing.

        The caller does not wait for the reply.
        """
        return None

    def set_environment(self, variables: Mapping[str, str | None]) -> Request:
        """Make *variables* environment variables of the running kernel; ``None`` takes one out.

        The kernel itself keeps what they were before, so that `restore_environment` needs no
        answer from here. Setting again before that keeps the oldest values.

        Raises:
            ValueError: A name or value cannot be an environment variable; never shows the value.
        """
        return self._setting({name: _raw(name, value) for name, value in variables.items()})

    def restore_environment(self) -> Request:
        """Give each variable that was set or taken out its former value, or unset it; else nothing.

        That also holds after an execution that failed or was interrupted.
        """
        return self._restoring()

    def environment_error(self, reply: Reply) -> str | None:
        """Return why setting or restoring failed, without any value; ``None`` when it worked."""
        return error_of(reply.content)

    def read_variables(self, names: Sequence[str], *, max_bytes: int) -> Reading:
        """Read *names*, each of at most *max_bytes* bytes of JSON text or of displayed data."""
        unique = tuple(dict.fromkeys(names))
        # No other output can contain it.
        marker = f"jupyter-exec-{secrets.token_hex(16)}"
        return Reading(
            request=self._reading(unique, max_bytes, marker),
            names=unique,
            max_bytes=max_bytes,
            decode=lambda reply: self._entries(reply, marker, unique),
        )

    def value_expressions(self, *, max_bytes: int) -> dict[str, str]:
        """Return the ``user_expressions`` that the request of an execution takes its value with.

        Empty for a language that has none: there, what the kernel displayed is all there is.
        In a kernel with subshells the first such request brings no value; from then on none brings
        that of another execution. Its code may be empty.

        Args:
            max_bytes: How much JSON text the value may have.
        """
        del max_bytes
        return {}

    def value_of(self, reply: Reply, *, max_bytes: int) -> str | None:
        """Return the value that *reply* to such a request carries, as JSON text; never fails.

        ``None`` when the execution displayed nothing, or what is not JSON, or what is too large.
        """
        del reply, max_bytes
        return None

    def interrupt_subshell(self, subshell_id: str) -> Request | None:
        """Return what stops the code that runs in one subshell, and nothing else in the kernel.

        To be run in another shell of the kernel. It does nothing when that subshell is idle or
        not there. ``None`` where the kernels of a language have no subshells.
        """
        del subshell_id
        return None

    def interrupt_blocked(self) -> Request | None:
        """Return what stops code of the main shell that the kernel's own interrupt did not stop.

        The code is run in a subshell, and does nothing where the kernel's own interrupt is enough.
        ``None`` where no code can do that.
        """
        return None

    def run_command(self, blob: str, *, marker: str) -> Request:
        """Start the guard of a command, wait for its end, and publish its lines as they come.

        Each line is in a `READING_MIME` of a display, or is printed. An interrupt of the kernel
        goes to the guard, and the reply comes when that has ended.

        Args:
            blob: What the guard reads, in base64.
            marker: What begins each of its lines.

        Raises:
            NotImplementedError: ``guarding`` is ``None``.
        """
        raise NotImplementedError

    def command_text(self, reply: Reply) -> str:
        """Return the guard's last line, where *reply* to `run_command` has it; else nothing."""
        del reply
        return ""

    @abstractmethod
    def _setting(self, variables: Mapping[str, bytes | None]) -> Request: ...

    @abstractmethod
    def _restoring(self) -> Request: ...

    @abstractmethod
    def _reading(self, names: tuple[str, ...], max_bytes: int, marker: str) -> Request: ...

    def _entries(self, reply: Reply, marker: str, _names: tuple[str, ...]) -> Sequence[Any]:
        return entries_of(marked_bytes(reply, marker))


def unread_variables(names: Sequence[str], why: str = NO_ANSWER) -> dict[str, Variable]:
    """Return *names* as variables that could not be read."""
    return {name: Variable(error=why) for name in names}


def error_of(content: object) -> str | None:
    """Return why a reply, or a user expression in it, is not ``ok``; never what was refused."""
    if not isinstance(content, Mapping):
        return NO_ANSWER
    if content.get("status") == "ok":
        return None
    name = content.get("ename")
    return f"the kernel refused: {name}"[:MAX_ERROR_LENGTH] if name else "the kernel refused"


def base64_of(data: bytes | str) -> str:
    """Return *data* in base64, text as UTF-8."""
    raw = data.encode(errors="surrogatepass") if isinstance(data, str) else data
    return base64.b64encode(raw).decode()


def base64_json(value: object) -> str:
    """Return *value* as base64 of its JSON text."""
    return base64_of(json.dumps(value))


def marked_bytes(reply: Reply, marker: str) -> bytes:
    """Return the bytes that *reply* carries in base64 behind each *marker*.

    Other output may stand between the pieces, and before one on the same line.
    """
    shown = (bundle.get(READING_MIME) for bundle in reply.display_data)
    text = "\n".join((*(part for part in shown if isinstance(part, str)), reply.stdout))
    pieces = re.findall(re.escape(marker) + r" ([A-Za-z0-9+/=]+)", text)
    if not pieces:
        raise ValueError("no reading in the reply")
    try:
        return base64.b64decode("".join(pieces), validate=True)
    except binascii.Error as error:
        raise ValueError("the reading is damaged") from error


def entries_of(text: str | bytes) -> Sequence[Any]:
    """Return the array that the JSON *text* of a reading is."""
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise TypeError("a reading is an array")
    return entries


def value_of_entries(decode: Callable[[], Sequence[Any]], max_bytes: int) -> str | None:
    """Return the JSON text of the only entry of a reading that *decode* gives, if there is any."""
    return _variable_of(next(iter(_decoded(decode)), None), max_bytes).json_text


def _decoded(decode: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    try:
        return decode()
    except _UNREADABLE:
        return ()


def _variable_of(entry: object, max_bytes: int) -> Variable:
    if not isinstance(entry, dict):
        return Variable(error=NO_ANSWER)
    kind = entry.get("type")
    type_name = _clean(kind)[:MAX_ERROR_LENGTH] if isinstance(kind, str) else None
    match entry.get("problem"):
        case "missing":
            return Variable(error="no variable of this name")
        case "impossible":
            return Variable(error="no variable of this language can have this name")
        case "large":
            return _too_large(type_name, max_bytes)
    text = entry.get("json")
    if isinstance(text, str):
        return _json_variable(type_name, _clean(text), max_bytes)
    return _shown_variable(type_name, entry, max_bytes)


def _json_variable(type_name: str | None, text: str, max_bytes: int) -> Variable:
    if len(text.encode()) > max_bytes:
        return _too_large(type_name, max_bytes)
    if not _is_json(text):
        return Variable(type=type_name, error=NO_ANSWER)
    return Variable(type=type_name, json_text=text)


def _shown_variable(type_name: str | None, entry: dict[str, Any], max_bytes: int) -> Variable:
    parts: dict[str, Any] = {}
    sizes: dict[str, int] = {}
    for key, read in (("data", str), ("json_data", _json_of)):
        bundle = entry.get(key)
        for mime, text in bundle.items() if isinstance(bundle, dict) else ():
            part = read(_clean(text)) if isinstance(text, str) else None
            if part is not None:
                parts[mime] = part
                sizes[mime] = len(_clean(text).encode())
    data: MimeBundle = {}
    left = max_bytes
    for mime in sorted(parts, key=lambda mime: sizes[mime]):
        if sizes[mime] <= left:
            data[_clean(mime)] = parts[mime]
            left -= sizes[mime]
    truncated = entry.get("truncated") is True or len(data) < len(parts)
    if not data and truncated:
        return _too_large(type_name, max_bytes)
    error = entry.get("error")
    reason = _clean(error)[:MAX_ERROR_LENGTH] if isinstance(error, str) and error else None
    if not data:
        return Variable(type=type_name, error=reason or "the kernel shows nothing for it")
    return Variable(type=type_name, data=data, truncated=truncated, error=reason)


def _too_large(type_name: str | None, max_bytes: int) -> Variable:
    return Variable(type=type_name, truncated=True, error=f"larger than {max_bytes} bytes")


def _clean(text: str) -> str:
    """Return *text* without lone surrogates, which UTF-8 cannot carry."""
    return text.encode(errors="replace").decode()


def _raw(name: str, value: str | None) -> bytes | None:
    """Return *value* as the operating system holds it in an environment variable."""
    if not name or "=" in name or "\0" in name or "\0" in (value or ""):
        raise ValueError("not an environment variable")
    try:
        name.encode()
        return None if value is None else value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("an environment variable cannot hold a lone surrogate") from None


def _is_json(text: str) -> bool:
    # Numbers are not converted: Python refuses to read very long ones.
    try:
        value = json.loads(text, parse_int=str, parse_float=str, parse_constant=_refuse)
        if _SURROGATE.search(text):
            # Half of a pair is no text, and many a client would refuse the whole record for it.
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _json_of(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
