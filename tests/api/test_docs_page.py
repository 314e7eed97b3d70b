"""The contract as a page: whole, safe, and not in need of anything else."""

import base64
import hashlib
import re
from dataclasses import asdict
from html.parser import HTMLParser

from jupyter_exec_ext.api.openapi import build_document
from jupyter_exec_ext.api.page import render_page
from jupyter_exec_ext.core.limits import Limits
from jupyter_exec_ext.routes import ROUTES
from tests.conftest import ExecApi


class Page(HTMLParser):
    """What is in a page: its tags, with their attributes, and its style."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "style":
            self.style = self.style or data

    @property
    def anchors(self) -> list[str]:
        return [attributes["id"] or "" for _, attributes in self.tags if "id" in attributes]


async def test_a_server_shows_its_contract_as_a_page(exec_api: ExecApi) -> None:
    """Operations and types have anchors, examples name this server, limits are its own."""
    answer = await exec_api.request("GET", "docs", headers={"Host": "localhost:1"})

    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    html = answer.body.decode()
    anchors = Page(html).anchors
    document = build_document(ROUTES)
    for path, item in document["paths"].items():
        for verb in item:
            assert f"{verb}-{re.sub('[/{}.]', '', path)}" in anchors
    assert {name.lower() for name in document["components"]["schemas"]} <= set(anchors)
    assert len(anchors) == len(set(anchors))
    assert "&quot;Authorization: token $TOKEN&quot;" in html
    assert "http://localhost:1/user/a%40b/exec/docs" in html


async def test_the_page_loads_nothing_and_runs_nothing(exec_api: ExecApi) -> None:
    """Its policy allows one style, its own; links lead into the page or to the document."""
    answer = await exec_api.request("GET", "docs")

    page = Page(answer.body.decode())
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["style-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["sandbox"] == ""
    assert {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "form"} == set()
    assert "url(" not in page.style
    assert "@import" not in page.style
    for tag, attributes in page.tags:
        assert not {name for name in attributes if name in ("src", "style") or name[:2] == "on"}
        if tag == "a":
            link = attributes["href"] or ""
            assert link == "openapi.json" or link[:1] == "#"
            assert link[:1] != "#" or link[1:] in page.anchors, link


def test_nothing_that_the_page_shows_becomes_html() -> None:
    """Titles, descriptions and the address, which a client can choose, are text."""
    evil = "<script>alert(1)</script>"
    document = build_document(ROUTES)
    document["info"]["title"] = evil
    document["paths"]["/exec/"]["get"]["description"] = f"{evil} [a](javascript:alert(1))"

    html = render_page(document, url=f"http://a'{evil}/", limits=asdict(Limits()))

    assert not [tag for tag, _ in Page(html).tags if tag == "script"]
    assert 'href="javascript' not in html
    assert html.count("&lt;script&gt;") > 3
