"""Each pattern that reads what a client, a kernel or a server sends takes linear time."""

import ast
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import jupyter_exec_ext
from jupyter_exec_ext.api import executions
from jupyter_exec_ext.cli import terminal
from jupyter_exec_ext.client import sessions
from jupyter_exec_ext.core import inputs, models, paths
from jupyter_exec_ext.core.errors import ExecError
from jupyter_exec_ext.dialects.azure import base as azure
from jupyter_exec_ext.dialects.azure import executions as azure_executions
from jupyter_exec_ext.dialects.azure import wire as azure_wire
from jupyter_exec_ext.dialects.backendai import base as backendai
from jupyter_exec_ext.dialects.backendai import signing
from jupyter_exec_ext.dialects.backendai import wire as backendai_wire
from jupyter_exec_ext.dialects.datasphere import operations
from jupyter_exec_ext.dialects.qinling import forms as qinling_forms
from jupyter_exec_ext.dialects.qinling.filters import is_like
from jupyter_exec_ext.dialects.qinling.options import QinlingOptions
from jupyter_exec_ext.engine import code_errors, contents, messages, stderr, streams
from jupyter_exec_ext.engine.commands import frames
from jupyter_exec_ext.engine.languages import bash, exchange
from jupyter_exec_ext.routes import DIALECTS, ROUTES
from jupyter_exec_ext.services import notebook_format
from jupyter_exec_ext.web import conditions, forms, ranges, reading

HOSTILE_LENGTH = 64_000
MAX_SECONDS = 0.010
MAX_OTHER_SECONDS = 0.1
"""For what a kernel or a server sends: quadratic time would be seconds."""

OTHER_LAYERS = ("cli", "client", "engine")

ATTEMPTS = 5
"""A busy machine slows a single measurement down; the fastest one counts."""

Read = Callable[[str], object]


def _read_part(parameters: str) -> None:
    """Read a form whose parts have the longest header that a part may have."""
    head = f"Content-Disposition: form-data; {parameters}".encode()[:4200]
    reader = forms.FormReader("multipart/form-data; boundary=B", takes_fields=True)
    reader.feed(b"--B\r\n" + head + b"\r\n\r\nx\r\n--B--\r\n")


def _read_marked(text: str) -> None:
    """Read the lines of a kernel's reply that have values."""
    with suppress(ValueError):
        exchange.marked_bytes(exchange.Reply(stdout=text), "marker")


READERS: dict[str, tuple[Read, str]] = {
    "api.executions._PREFER": (executions._PREFER.search, 'a; wait = "30", x'),
    "cli.terminal._COLOUR": (terminal._COLOUR.split, "\x1b[1;31mred\x1b[0m"),
    "cli.terminal._COLOUR_RESET": (terminal._COLOUR_RESET.search, "\x1b[0;0m"),
    "cli.terminal._LINE_STEERING": (terminal._LINE_STEERING.split, "a\r\x1b[2K"),
    "cli.terminal._STEERING": (lambda text: terminal._STEERING.sub("", text), "a\x1bb"),
    "cli.terminal._UNFINISHED": (terminal._UNFINISHED.search, "a\r\x1b[0;1"),
    "client.sessions._PLAIN_IN_FORMS": (sessions._PLAIN_IN_FORMS.fullmatch, 'a"b%'),
    "core.inputs._NAME": (inputs._NAME.fullmatch, "A_1"),
    "core.models.is_exit_status": (lambda text: models.is_exit_status("", text), "123"),
    "core.paths._WINDOWS_NAME": (lambda text: paths.parts_of(text, is_windows=True), "con .a"),
    "core.paths._WINDOWS_CHARACTER": (lambda text: paths.parts_of(text, is_windows=True), "a:b"),
    "core.paths.slug_of": (paths.slug_of, "a B-é"),
    "dialects.azure.base.IDENTIFIER_PATTERN": (azure.IDENTIFIER_PATTERN.fullmatch, "a b"),
    "dialects.azure.base._VERSION": (azure._VERSION.fullmatch, "2024-02-02-preview"),
    "dialects.azure.executions._OPERATION_ID": (
        azure_executions._OPERATION_ID.fullmatch,
        "..a:b",
    ),
    "dialects.azure.wire._DATA_FOLDER": (
        lambda text: azure_wire.translated(text, "/root/a"),
        "'/mnt/data/a -C/mnt/data :-/mnt/data \\n/mnt/data :///mnt/data",
    ),
    "dialects.backendai.base._PREFIX": (backendai._PREFIX.match, "/user/a/exec/backendai/session"),
    "dialects.backendai.signing._PARTS": (
        signing.read_credential,
        "BackendAI signMethod=HMAC-SHA256, credential=a:0f ",
    ),
    "dialects.backendai.signing._VERSION": (signing.is_version, "v8.20240915"),
    "dialects.backendai.signing.read_date": (signing.read_date, "Mon, 30 Nov 2026 1:2:3 +0000 (a)"),
    "dialects.backendai.wire._SESSION_NAME": (backendai_wire._SESSION_NAME.fullmatch, "a.b-c_d"),
    "dialects.backendai.wire._VARIABLE": (backendai_wire._VARIABLE.fullmatch, "a_1"),
    "dialects.backendai.wire._SESSION_ID": (
        backendai_wire._SESSION_ID.fullmatch,
        "01234567-89ab-cdef-0123-456789abcdef",
    ),
    "dialects.datasphere.operations._MANY_DIGITS": (
        lambda text: operations._MANY_DIGITS.search(text.encode()),
        f'["a\\"b", -{"1" * 310}, 1.5e3]',
    ),
    "dialects.datasphere.operations._STRING_OR_LONG_INTEGER": (
        lambda text: operations._STRING_OR_LONG_INTEGER.sub(b"", text.encode()),
        f'["a\\"b", -{"1" * 310}, 1.5e3]',
    ),
    "dialects.qinling.filters.is_like": (lambda text: is_like("ab" * 512, text), "a_b%c"),
    "dialects.qinling.forms._settings_of": (
        lambda text: qinling_forms._settings_of({"cpu": text}, QinlingOptions()),
        "-100",
    ),
    "engine.code_errors._CLASS": (code_errors._CLASS.search, "<class 'a.b.C'>"),
    "engine.commands.frames.Frames": (
        lambda text: frames.Frames("marker", lambda _: None).take_text(text),
        "marker o 12 YQ==\n",
    ),
    "engine.commands.frames._SIGNAL": (frames._SIGNAL.fullmatch, "SIGRTMIN+1 signal 64"),
    "engine.contents._ANSI": (contents.without_colors, "\x1b[0;31m a\x1b[ -/m"),
    "engine.contents._JSON_TYPE": (contents._JSON_TYPE.fullmatch, "application/vnd.a+json"),
    "engine.languages.bash._NAME": (bash._NAME.fullmatch, "a_1"),
    "engine.languages.exchange._SURROGATE": (exchange._SURROGATE.search, "\\ud83d \\u"),
    "engine.languages.exchange.marked_bytes": (_read_marked, "marker YQ==\n"),
    "engine.messages._AFTER_TEXT": (
        lambda text: messages._cut(f'{{"text": "{text}"}}'.encode(), 100),
        'a", "name" : "stdout" } ',
    ),
    "engine.messages._BEFORE_TEXT": (
        lambda text: messages._cut(text.encode(), 100),
        ' { "name" : "stdout" , "text" : "a"}',
    ),
    "engine.messages._WHOLE_CHARACTERS": (
        lambda text: messages._WHOLE_CHARACTERS.match(text.encode()),
        "a\\ud83d\\ude00\\u0041\\n",
    ),
    "engine.stderr._ASSIGNMENT": (
        lambda text: stderr._ASSIGNMENT.sub("", text),
        "+ export A_B=c\n declare -x D=e\n",
    ),
    "engine.stderr._ATTRIBUTE": (stderr._ATTRIBUTE.findall, "a.b /c.d 'e'.f"),
    "engine.stderr._IMPORT_LINE": (stderr._IMPORT_LINE.findall, "no module or import\n"),
    "engine.stderr._QUOTED_NAME": (stderr._QUOTED_NAME.findall, "'a.b' 'c'"),
    "engine.stderr._SECRET_NAME": (stderr._SECRET_NAME.search, "MY_PASSWORD"),
    "engine.stderr._TRACEBACK_FILE": (
        stderr._TRACEBACK_FILE.findall,
        '  File "a.py", line 1\n',
    ),
    "engine.streams._CONTROL": (
        lambda text: sum(1 for _ in streams._CONTROL.finditer(text)),
        "a\b\b\r\r\n",
    ),
    "services.notebook_format._NOT_IN_IDS": (
        lambda text: notebook_format._NOT_IN_IDS.sub("-", text),
        "a-b_c d",
    ),
    "services.notebook_format._SURROGATE_ESCAPE": (
        notebook_format._SURROGATE_ESCAPE.search,
        "\\ud83d \\u",
    ),
    "web.conditions._TAG": (
        lambda text: conditions.read_precondition({"If-Match": text}),
        'W/"a", "b"',
    ),
    "web.forms._ENCODED_WORDS": (
        _read_part,
        'filename="=?utf-8?q?a?= =?utf-8?b?YQ==?="',
    ),
    "web.forms._PARAMETER": (_read_part, 'name="a\\"b"; filename*=utf-8\'\'%41; x = y'),
    "web.forms.FormReader": (
        lambda text: forms.FormReader(f"multipart/form-data; {text}"),
        'a="b\\"; c"; boundary=B',
    ),
    "web.forms.boundary_of": (lambda text: forms.boundary_of(text.encode()), '--a"\r\nb'),
    "web.ranges._ONE_RANGE": (lambda text: ranges.read_range(text, 10), " bytes = 1 - 2 "),
    "web.ranges.read_start": (ranges.read_start, " bytes = 1 - "),
    "web.reading._PATH": (
        lambda text: reading.convert_value({text: 1}, dict[str, str]),
        "a - at `key in $.b`",
    ),
    "web.reading._UNKNOWN": (
        lambda text: reading._malformed(text, object),
        "a unknown field `b` - at `$.c`",
    ),
    "web.reading._MISSING": (
        lambda text: reading._malformed(text, object),
        "a missing required field `b` - at `$.c`",
    ),
    "web.reading.read_number": (
        lambda text: reading.read_number("a", text, default=0, minimum=0, maximum=1),
        "-1.5e+10",
    ),
    "web.reading.read_count": (
        lambda text: reading.read_count("a", text, default=0, maximum=1),
        "10",
    ),
    "web.reading.read_time": (lambda text: reading.read_time("a", text), "2026-11-30T01:02:03+01"),
}
"""What reads a client's text, by its pattern or its name, and a text as it may look."""

NOT_OF_CLIENTS = {
    "api.docstrings._ATTRIBUTE",
    "api.docstrings._ATTRIBUTES",
    "api.docstrings._SECTION",
    "api.docstrings._markdown",
    "api.openapi._PARAMETER",
    "api.openapi._operation",
    "api.page._anchored",
    "api.reference._cell",
    "cli.arguments._cell",
    "cli.downloads._WILD",
    "dialects.azure.wire._SAFE_PLACE",
    "engine.commands.sending._OWN_IMPORT",
}
"""Patterns that read only our own source, arguments of the command, or paths of this server."""

ROUTE_PATTERNS = [
    *((route.pattern, route.pattern) for route in ROUTES),
    *((pattern, f"exec/{pattern}") for dialect in DIALECTS for pattern, _ in dialect.routes),
]


def _patterns_of_package() -> set[str]:
    """Return where the package uses patterns: constants, else the function or class around them."""
    package = Path(jupyter_exec_ext.__file__).parent
    found = set()
    for path in package.rglob("*.py"):
        source = path.read_text()
        if not re.search(r"^\s*(?:import re\b|from re\b|import .*, re\b)", source, re.MULTILINE):
            continue
        module = ".".join(path.relative_to(package).with_suffix("").parts)
        for statement in ast.parse(source).body:
            if any(map(_is_pattern_use, ast.walk(statement))):
                found.add(f"{module.removesuffix('.__init__')}.{_name_of(statement)}")
    return found


def _is_pattern_use(node: ast.AST) -> bool:
    """Whether *node* uses the module `re` other than for its flags and its escapes."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "re"
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "re"
        and node.attr in vars(re)
        and node.attr.islower()
        and node.attr != "escape"
    )


def _name_of(statement: ast.stmt) -> str:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return statement.name
    target = statement.targets[0] if isinstance(statement, ast.Assign) else statement
    return ast.unparse(target)


def _hostile_texts(example: str) -> Iterator[str]:
    """Yield long texts that begin as *example* and then repeat a piece of it."""
    pieces = {*example[:40], " ", "0", "a", '"', ";", "\\", example, example[:2], example[-2:]}
    for end in range(0, len(example) + 1, 1 + len(example) // 10):
        for piece in pieces:
            yield example[:end] + piece * (HOSTILE_LENGTH // len(piece)) + "\0"


def _seconds(read: Read, text: str, limit: float = MAX_SECONDS) -> float:
    """Return how much processor time *read* takes for *text*, at best."""
    best = float("inf")
    for _ in range(ATTEMPTS):
        start = time.thread_time()
        with suppress(ExecError):
            read(text)
        best = min(best, time.thread_time() - start)
        if not limit < best < 10 * limit:
            break
    return best


@pytest.mark.serial
@pytest.mark.parametrize("name", READERS)
def test_hostile_text_is_read_in_no_time(name: str) -> None:
    """64 kB, which is the most that the headers of a request may have, take less than 10 ms."""
    read, example = READERS[name]
    limit = MAX_OTHER_SECONDS if name.startswith(OTHER_LAYERS) else MAX_SECONDS

    for text in _hostile_texts(example):
        seconds = _seconds(read, text, limit)

        assert seconds < limit, (seconds, text[:100])


@pytest.mark.serial
@pytest.mark.parametrize(("name", "pattern"), ROUTE_PATTERNS)
def test_a_hostile_path_is_routed_in_no_time(name: str, pattern: str) -> None:
    """Whatever the path repeats."""
    del name
    match = re.compile(f"/{pattern}$").match

    for text in _hostile_texts("/" + re.sub(r"[\\^?()\[\]+*|]", "", pattern) + "/.ipynb/a:b"):
        seconds = _seconds(match, text)

        assert seconds < MAX_SECONDS, (seconds, text[:100])


def test_every_pattern_is_tested() -> None:
    """A new one belongs into the table above."""
    found = _patterns_of_package()

    assert found - READERS.keys() - NOT_OF_CLIENTS == set()
    assert NOT_OF_CLIENTS - found == set()
