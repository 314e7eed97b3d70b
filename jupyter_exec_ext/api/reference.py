"""Writes the API reference in Markdown: ``python -m jupyter_exec_ext.api.reference docs/api.md``.

It holds nothing of its own but headings: operations and types come from the OpenAPI document,
the rest from the docstrings and the metadata of the code. With ``--check`` nothing is written,
and the exit code is 1 when the file is not up to date. A server shows the same as a page.
"""

import argparse
import dataclasses
import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from traitlets import TraitType

from jupyter_exec_ext.api.docstrings import description_of
from jupyter_exec_ext.api.openapi import JSON, build_document
from jupyter_exec_ext.core.errors import ExecError, RunError
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.core.states import NEXT, State
from jupyter_exec_ext.web.errors import CODE_OF_STATUS, status_of

COMMAND = "python -m jupyter_exec_ext.api.reference"

HEAD = f"""\
# REST API

<!-- Written by `{COMMAND} docs/api.md`; do not edit. -->
"""

INTRODUCTION = """\
All paths are below the base URL of the server, on a hub for instance `/user/NAME/`. Every request
needs the server's authentication, as `Authorization: token TOKEN`, and the user the right that the
operation names. Bodies and answers are JSON in UTF-8. Times are RFC 3339 in UTC, durations are
seconds. A field that has no value yet is left out of an answer.

What the executed code does is data: an execution that fails is shown with status 200 and the state
`failed`. An error status means that the request itself was refused; its body is an
[ErrorBody](#errorbody).

The same as a machine reads it is at `GET exec/openapi.json`, in OpenAPI 3.1; a server shows it as a
page at `GET exec/docs`.
"""

EXAMPLE_URL = "http://localhost:8888/"

CODE_ERROR = ("CodeError", "The code raised an exception: `ename`, `evalue` and `traceback` tell.")

_EMPTY = "nothing"


def write_reference(document: Mapping[str, Any], *, url: str, limits: Mapping[str, Any]) -> str:
    """Return what there is to know about the API as Markdown, its sections from level 2 on.

    Args:
        document: The OpenAPI document.
        url: The base URL of the server in the examples.
        limits: By name, what to show as each limit's value.
    """
    sections = [
        INTRODUCTION,
        "## Operations",
        *_operations(document, url),
        "## Types",
        *_types(document),
        "## States",
        _states(),
        "## Errors",
        *_errors(),
        "## Limits",
        "Each is configured as `c.ExecApp.NAME`, and `GET exec/` shows what holds on a server.",
        _limits(limits),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _operations(document: Mapping[str, Any], url: str) -> Iterator[str]:
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            yield f"### `{verb.upper()}` {path.lstrip('/')}"
            yield " ".join(f"{operation['summary']}. {operation['description']}".split())
            yield f"Rights: {', '.join(operation['x-rights'])}."
            rows = [
                (
                    f"`{p['name']}`",
                    p["in"] if p["in"] == "path" or "required" not in p else f"{p['in']}, required",
                    _type_of(p["schema"]),
                    p["description"],
                )
                for p in operation["parameters"]
            ]
            if rows:
                yield _table(("parameter", "in", "type", "meaning"), rows)
            if "requestBody" in operation:
                yield f"Body: {_content(operation['requestBody'])}."
            yield _table(("status", "answer"), _answers(operation["responses"]))
            yield f"```sh\n{_curl(verb, url + path.lstrip('/'), operation)}\n```"


def _curl(verb: str, url: str, operation: Mapping[str, Any]) -> str:
    """Return a command that sends the request; ``$TOKEN`` is the server's token."""
    query = {}
    for parameter in operation["parameters"]:
        if "example" in parameter and parameter["in"] == "path":
            url = url.replace(f"{{{parameter['name']}}}", parameter["example"])
        elif "example" in parameter and parameter["in"] == "query":
            query[parameter["name"]] = parameter["example"]
    words = {"get": "curl", "head": "curl --head"}.get(verb, f"curl -X {verb.upper()}")
    lines = [f'{words} -H "Authorization: token $TOKEN"']
    for media_type, content in operation.get("requestBody", {"content": {}})["content"].items():
        lines.append(f"-H {shlex.quote(f'Content-Type: {media_type}')}")
        if media_type == JSON:
            lines.append(f"-d {shlex.quote(json.dumps(content['example']))}")
        elif media_type == "multipart/form-data":
            lines[-1] = "-F file=@FILE"
        else:
            lines.append("--data-binary @FILE")
    lines.append(shlex.quote(f"{url}?{urlencode(query)}" if query else url))
    return " \\\n  ".join(lines)


def _answers(responses: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield a row for each answer; statuses with the same answer share one."""
    for shown, group in groupby(responses.items(), key=lambda item: _answer(item[1])):
        named = [f"{status} {answer['description']}" for status, answer in group]
        yield ", ".join(named), shown


def _answer(answer: Mapping[str, Any]) -> str:
    headers = ", ".join(f"`{name}`" for name in answer.get("headers", ()))
    return f"{_content(answer)}{f' with {headers}' if headers else ''}"


def _content(item: Mapping[str, Any]) -> str:
    shown = [
        _type_of(content["schema"]) if media_type == "application/json" else f"`{media_type}`"
        for media_type, content in item.get("content", {}).items()
    ]
    return ", ".join(shown) or _EMPTY


def _types(document: Mapping[str, Any]) -> Iterator[str]:
    for name, schema in sorted(document["components"]["schemas"].items()):
        # These have a section with their values, which takes the links.
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


def _limits(values: Mapping[str, Any]) -> str:
    rows = [
        (f"`{limit.name}`", f"{values[limit.name]:,}".removesuffix(".0"), limit.metadata["help"])
        for limit in fields(Limits)
    ]
    return _table(("limit", "value", "meaning"), rows)


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
    parser.add_argument(
        "--openapi", action="store_true", help="write the contract as OpenAPI 3.1 in JSON instead"
    )
    parser.add_argument("path", type=Path)
    options = parser.parse_args(arguments)
    # As a program this module stands above all layers; as a part of this one it knows none above.
    routes: Any = importlib.import_module("jupyter_exec_ext.routes")
    if options.openapi:
        text = json.dumps(build_document(routes.ROUTES), indent=1) + "\n"
        # The front end is built again after a newer file in its folder.
        if not _has_text(options.path, text):
            options.path.write_text(text, encoding="utf-8")
        return 0
    app: Any = importlib.import_module("jupyter_exec_ext.app")
    sections = [
        HEAD,
        write_reference(
            build_document(routes.ROUTES), url=EXAMPLE_URL, limits=dataclasses.asdict(Limits())
        ),
        "## Configuration",
        "Besides the limits, whose values above are the defaults, of `c.ExecApp`:",
        _traits(app.ExecApp.class_own_traits(config=True)),
    ]
    text = "\n\n".join(section.strip() for section in sections) + "\n"
    if not options.check:
        options.path.write_text(text, encoding="utf-8")
    elif not _has_text(options.path, text):
        sys.stderr.write(
            f"{options.path} is not up to date: {COMMAND} {options.path} writes it anew\n"
        )
        return 1
    return 0


def _has_text(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
