"""Writes the API reference in Markdown: ``python -m jupyter_exec_ext.api.reference docs/api.md``.

It holds nothing of its own but headings: operations and types come from the OpenAPI document,
the rest from the docstrings and the metadata of the code. With ``--check`` nothing is written,
and the exit code is 1 when the file is not up to date.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from traitlets import TraitType

from jupyter_exec_ext.api.docstrings import description_of
from jupyter_exec_ext.api.openapi import build_document
from jupyter_exec_ext.core.errors import ExecError, RunError
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.states import NEXT, State
from jupyter_exec_ext.web.errors import CODE_OF_STATUS, status_of

COMMAND = "python -m jupyter_exec_ext.api.reference"

INTRODUCTION = f"""\
# REST API

<!-- Written by `{COMMAND} docs/api.md`; do not edit. -->

All paths are below the base URL of the server, on a hub for instance `/user/NAME/`. Every request
needs the server's authentication, as `Authorization: token TOKEN`, and the user the right that the
operation names. Bodies and answers are JSON in UTF-8. Times are RFC 3339 in UTC, durations are
seconds. A field that has no value yet is left out of an answer.

What the executed code does is data: an execution that fails is shown with status 200 and the state
`failed`. An error status means that the request itself was refused; its body is an
[ErrorBody](#errorbody).

The same as a machine reads it is at `GET exec/openapi.json`, in OpenAPI 3.1.
"""

CODE_ERROR = ("CodeError", "The code raised an exception: `ename`, `evalue` and `traceback` tell.")

_EMPTY = "nothing"


def write_reference(document: Mapping[str, Any], traits: Mapping[str, TraitType[Any, Any]]) -> str:
    """Return the reference as Markdown.

    Args:
        document: The OpenAPI document.
        traits: The configuration of the extension, by name.
    """
    sections = [
        INTRODUCTION,
        "## Operations",
        *_operations(document),
        "## Types",
        *(
            _type(name, schema)
            for name, schema in sorted(document["components"]["schemas"].items())
        ),
        "## States",
        _states(),
        "## Errors",
        *_errors(),
        "## Limits",
        "Each is configured as `c.ExecApp.NAME`, and `GET exec/` shows what holds on a server.",
        _limits(),
        "## Configuration",
        "Besides the limits, of `c.ExecApp`:",
        _traits(traits),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            yield f"### {verb.upper()} {path.lstrip('/')}"
            yield " ".join(f"{operation['summary']}. {operation['description']}".split())
            yield f"Rights: {', '.join(operation['x-rights'])}."
            rows = [
                (f"`{p['name']}`", p["in"], _type_of(p["schema"]), p["description"])
                for p in operation["parameters"]
            ]
            if rows:
                yield _table(("parameter", "in", "type", "meaning"), rows)
            if "requestBody" in operation:
                yield f"Body: {_content(operation['requestBody'])}."
            yield _table(
                ("status", "answer"),
                [
                    (f"{status} {answer['description']}", _answer(answer))
                    for status, answer in operation["responses"].items()
                ],
            )


def _answer(answer: Mapping[str, Any]) -> str:
    headers = ", ".join(f"`{name}`" for name in answer.get("headers", ()))
    return f"{_content(answer)}{f' with the header {headers}' if headers else ''}"


def _content(item: Mapping[str, Any]) -> str:
    shown = [
        _type_of(content["schema"]) if media_type == "application/json" else f"`{media_type}`"
        for media_type, content in item.get("content", {}).items()
    ]
    return ", ".join(shown) or _EMPTY


def _types(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        # These have a section with their defaults, which takes the links.
        if name != Limits.__name__:
            yield _type(name, schema)


def _type(name: str, schema: Mapping[str, Any]) -> str:
    parts = [f"### {name}", schema["description"]]
    if "enum" in schema:
        parts.append(f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.")
    else:
        required = schema.get("required", ())
        rows = [
            (
                f"`{field}`" if field in required else f"`{field}`?",
                _type_of(shown),
                shown.get("description", ""),
            )
            for field, shown in schema["properties"].items()
        ]
        parts.append(_table(("field", "type", "meaning"), rows))
        if len(required) < len(rows):
            parts.append("`?`: can be absent.")
    return "\n\n".join(parts)


def _type_of(schema: Mapping[str, Any]) -> str:
    """Return a schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type_of(option) for option in schema["anyOf"])
    kind = schema.get("type", "any JSON value")
    if kind == "array":
        items = schema.get("items", {})
        return f"list of ({_type_of(items)})" if "anyOf" in items else f"list of {_type_of(items)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type_of(schema['additionalProperties'])}"
    return f"{kind}, {schema['format']}" if "format" in schema else str(kind)


def _states() -> str:
    rows = [
        (f"`{state}`", ", ".join(f"`{after}`" for after in NEXT.get(state, ())) or "final")
        for state in State
    ]
    return "\n\n".join((description_of(State), _table(("state", "next"), rows)))


def _errors() -> Iterator[str]:
    yield "### Refused requests"
    rows = [
        (f"`{kind.code}`", str(int(status_of(kind))), description_of(kind))
        for kind in _subclasses(ExecError)
    ]
    codes = {row[0] for row in rows}
    rows += [
        (f"`{code}`", str(int(status)), f"The Jupyter Server itself says: {status.phrase}.")
        for status, code in CODE_OF_STATUS.items()
        if f"`{code}`" not in codes
    ]
    yield _table(
        ("`code`", "status", "when"), sorted(rows, key=lambda row: (row[1], row[0].lower()))
    )
    yield "### Failed executions"
    yield "The `code` in the `error` of a record:"
    ends = [CODE_ERROR, *((kind.code, description_of(kind)) for kind in _subclasses(RunError))]
    yield _table(("`code`", "when"), [(f"`{code}`", text) for code, text in ends])


def _subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for subclass in kind.__subclasses__():
        if subclass.__module__ == kind.__module__:
            yield subclass
        yield from _subclasses(subclass)


def _limits() -> str:
    rows = [
        (f"`{limit.name}`", f"{limit.default:,}".removesuffix(".0"), limit.metadata["help"])
        for limit in fields(Limits)
    ]
    return _table(("limit", "default", "meaning"), rows)


def _traits(traits: Mapping[str, TraitType[Any, Any]]) -> str:
    rows = [
        (f"`{name}`", f"`{trait.default()!r}`", trait.help)
        for name, trait in sorted(traits.items())
        if name not in {limit.name for limit in fields(Limits)}
    ]
    return _table(("trait", "default", "meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def main(arguments: list[str] | None = None) -> int:
    """Write or check the file that the arguments name; return the exit code."""
    parser = argparse.ArgumentParser(prog=COMMAND, description="Write the API reference.")
    parser.add_argument("--check", action="store_true", help="only tell whether it is up to date")
    parser.add_argument("path", type=Path)
    options = parser.parse_args(arguments)
    # As a program this module stands above all layers; as a part of this one it knows none above.
    routes: Any = importlib.import_module("jupyter_exec_ext.routes")
    app: Any = importlib.import_module("jupyter_exec_ext.app")
    traits = app.ExecApp.class_own_traits(config=True)
    text = write_reference(build_document(routes.ROUTES), traits)
    if not options.check:
        options.path.write_text(text, encoding="utf-8")
    elif not options.path.is_file() or options.path.read_text(encoding="utf-8") != text:
        sys.stderr.write(
            f"{options.path} is not up to date: {COMMAND} {options.path} writes it anew\n"
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
