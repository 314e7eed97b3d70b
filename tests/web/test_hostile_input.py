"""Each pattern that reads what a client sends takes time linear in its length."""

import importlib
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

import jupyter_exec_ext
from jupyter_exec_ext.api import executions
from jupyter_exec_ext.core import inputs, paths
from jupyter_exec_ext.core.errors import ExecError
from jupyter_exec_ext.dialects.azure import base as azure
from jupyter_exec_ext.dialects.azure import executions as azure_executions
from jupyter_exec_ext.dialects.azure import wire as azure_wire
from jupyter_exec_ext.dialects.backendai import base as backendai
from jupyter_exec_ext.dialects.backendai import signing
from jupyter_exec_ext.dialects.backendai import wire as backendai_wire
from jupyter_exec_ext.dialects.datasphere import operations
from jupyter_exec_ext.dialects.qinling.filters import is_like
from jupyter_exec_ext.routes import DIALECTS, ROUTES
from jupyter_exec_ext.services import notebook_format
from jupyter_exec_ext.web import conditions, forms, ranges, reading

HOSTILE_LENGTH = 64_000
MAX_SECONDS = 0.010
ATTEMPTS = 5
"""A busy machine slows a single measurement down; the fastest one counts."""

Read = Callable[[str], object]


def _read_part(parameters: str) -> None:
    """Read a form whose parts have the longest header that a part may have."""
    head = f"Content-Disposition: form-data; {parameters}".encode()[:4200]
    reader = forms.FormReader("multipart/form-data; boundary=B", takes_fields=True)
    reader.feed(b"--B\r\n" + head + b"\r\n\r\nx\r\n--B--\r\n")


READERS: dict[str, tuple[Read, str]] = {
    "api.executions._PREFER": (executions._PREFER.search, 'a; wait = "30", x'),
    "core.inputs._NAME": (inputs._NAME.fullmatch, "A_1"),
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
    "api.openapi._PARAMETER",
    "dialects.azure.wire._SAFE_PLACE",
}
"""Patterns that read only our own source, or paths of this server."""

ROUTE_PATTERNS = [
    *((route.pattern, route.pattern) for route in ROUTES),
    *((pattern, f"exec/{pattern}") for dialect in DIALECTS for pattern, _ in dialect.routes),
]


def _patterns_of_package() -> set[str]:
    """Return the names of the compiled patterns of all modules that see requests."""
    found = set()
    for layer in ("api", "core", "dialects", "files", "services", "store", "web"):
        package = importlib.import_module(f"{jupyter_exec_ext.__name__}.{layer}")
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(info.name)
            imported = [name for other in (azure,) if other is not module for name in vars(other)]
            found |= {
                f"{info.name.removeprefix('jupyter_exec_ext.')}.{name}"
                for name, value in vars(module).items()
                if isinstance(value, re.Pattern) and name not in imported
            }
    return found


def _hostile_texts(example: str) -> Iterator[str]:
    """Yield long texts that begin as *example* and then repeat a piece of it."""
    pieces = {*example[:40], " ", "0", "a", '"', ";", "\\", example, example[:2], example[-2:]}
    for end in range(0, len(example) + 1, 1 + len(example) // 10):
        for piece in pieces:
            yield example[:end] + piece * (HOSTILE_LENGTH // len(piece)) + "\0"


def _seconds(read: Read, text: str) -> float:
    """Return how much processor time *read* takes for *text*, at best."""
    best = float("inf")
    for _ in range(ATTEMPTS):
        start = time.thread_time()
        with suppress(ExecError):
            read(text)
        best = min(best, time.thread_time() - start)
        if not MAX_SECONDS < best < 10 * MAX_SECONDS:
            break
    return best


@pytest.mark.serial
@pytest.mark.parametrize("name", READERS)
def test_hostile_text_is_read_in_no_time(name: str) -> None:
    """64 kB, which is the most that the headers of a request may have, take less than 10 ms."""
    read, example = READERS[name]

    for text in _hostile_texts(example):
        seconds = _seconds(read, text)

        assert seconds < MAX_SECONDS, (seconds, text[:100])


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
    assert _patterns_of_package() <= READERS.keys() | NOT_OF_CLIENTS
