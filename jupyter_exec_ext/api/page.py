"""Shows the API reference as one HTML page, which needs no script and no other resource."""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Any

from jinja2 import Environment
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from jupyter_exec_ext.api.reference import write_reference

_FOLDER = files("jupyter_exec_ext.api")
_STYLE = (_FOLDER / "page.css").read_text(encoding="utf-8")

STYLE_SOURCE = f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'"
"""The one style that the page has, as a content security policy names it."""


@dataclass(frozen=True, kw_only=True)
class Heading:
    """An entry of the page's table of contents.

    Attributes:
        verb: Of an operation, in small letters; else empty.
    """

    level: int
    anchor: str
    verb: str
    text: str


def render_page(document: Mapping[str, Any], *, url: str, limits: Mapping[str, Any]) -> str:
    """Return the page; see `write_reference` for the arguments."""
    # Of HTML in what is shown nothing stays: Markdown without HTML, and a template that escapes.
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(write_reference(document, url=url, limits=limits))
    headings = _anchored(tokens)
    body = markdown.renderer.render(tokens, markdown.options, {})
    template = Environment(autoescape=True).from_string(
        (_FOLDER / "page.html").read_text(encoding="utf-8")
    )
    return template.render(
        info=document["info"],
        url=url,
        style=Markup(_STYLE),  # noqa: S704 - it is our own file
        headings=headings,
        body=Markup(body),  # noqa: S704 - the renderer escapes
    )


def _anchored(tokens: list[Token]) -> list[Heading]:
    """Give all headings in *tokens* the anchors that links expect, and return them."""
    headings = []
    seen: Counter[str] = Counter()
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        words = [child.content for child in inline.children or () if child.content]
        text = "".join(words)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        anchor = f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1
        opening.attrSet("id", anchor)
        verb = words[0].lower() if len(words) > 1 else ""
        if verb:
            opening.attrSet("class", verb)
            text = words[1].strip()
        headings.append(Heading(level=int(opening.tag[1:]), anchor=anchor, verb=verb, text=text))
    return headings
