"""Holds what the server answers against its contract, the OpenAPI document."""

import copy
import json
import re
from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs
from tornado.httpclient import HTTPResponse

from jupyter_exec_ext.api.openapi import JSON, build_document
from jupyter_exec_ext.routes import ROUTES

MAX_CHECKED_BYTES = 1_000_000
"""Of larger bodies the content is not checked: their tests measure."""

_REFUSED: dict[str, Any] = {
    str(status): {"content": {JSON: {"schema": {"$ref": "#/components/schemas/ErrorBody"}}}}
    for status in (400, 403, 404, 405)
}
"""The answers to a request for which the contract has no operation."""

_OPTIONS: dict[str, Any] = {"200": {}} | _REFUSED


class Contract:
    """The contract, read strictly: what a schema of an answer does not name is refused.

    So a new route, status, header or field has to be described.
    """

    def __init__(self) -> None:
        document = copy.deepcopy(build_document(ROUTES))
        self._components = document["components"]
        for schema in self._components["schemas"].values():
            if "properties" in schema:
                schema["additionalProperties"] = False
        self._paths = [(re.compile(route.pattern), f"/{route.path}") for route in ROUTES]
        self._validators: dict[str, jsonschema_rs.Draft202012Validator] = {}
        self.responses: dict[tuple[str, str], dict[str, Any]] = {
            (path, verb): operation["responses"]
            for path, item in document["paths"].items()
            for verb, operation in item.items()
        }
        self.seen: set[tuple[str, str, str]] = set()

    def check(self, response: HTTPResponse) -> None:
        """Raise if *response* is none that the contract describes; else take it as seen."""
        verb, status = response.request.method.lower(), str(response.code)
        path = f"exec{urlsplit(response.request.url).path.partition('/exec')[2]}"
        described = _OPTIONS if verb == "options" else _REFUSED
        template = next((known for pattern, known in self._paths if pattern.fullmatch(path)), "")
        if (template, verb) in self.responses:
            described = self.responses[template, verb]
            self.seen.add((template, verb, status))
        where = f"{verb} {path}: {status} {response.body[:500]!r}"
        assert status in described, where
        self._check_content(described[status], response, where)

    def _check_content(
        self, described: Mapping[str, Any], response: HTTPResponse, where: str
    ) -> None:
        for name, header in described.get("headers", {}).items():
            assert name in response.headers or not header.get("required"), f"no {name}: {where}"
        content = described.get("content", {})
        if not content or response.request.method == "HEAD":
            assert response.body == b"", where
            return
        media_type = response.headers["Content-Type"].split(";")[0]
        assert any(fnmatch(media_type, known) for known in content), f"{media_type}: {where}"
        if JSON in content and len(response.body) <= MAX_CHECKED_BYTES:
            self._validator(content[JSON]["schema"]).validate(json.loads(response.body))

    def _validator(self, schema: Mapping[str, Any]) -> jsonschema_rs.Draft202012Validator:
        key = json.dumps(schema)
        if key not in self._validators:
            self._validators[key] = jsonschema_rs.Draft202012Validator(
                {**schema, "components": self._components}, validate_formats=True
            )
        return self._validators[key]
