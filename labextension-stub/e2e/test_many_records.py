"""The panel with 10,000 records."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Request, expect

from e2e.conftest import Lab, LabEnvironment, OpenPage
from jupyter_exec_ext.core.models import Execution, NotebookSource
from jupyter_exec_ext.core.states import State, advance
from jupyter_exec_ext.store.leases import Instance
from jupyter_exec_ext.store.store import Store

COUNT = 10_000
SERVER_ID = "many-records"
START = datetime(2026, 1, 1, tzinfo=UTC)


def record_of(number: int) -> Execution:
    """Return one of many records: every tenth failed, every thousandth is of a rare notebook."""
    at = START + timedelta(seconds=number)
    pending = Execution(
        id=f"00000000-0000-4000-8000-{number:012}",
        type="notebook",
        state=State.PENDING,
        source=NotebookSource(path="rare.ipynb" if number % 1_000 == 0 else "often.ipynb"),
        session_id=f"00000000-0000-4000-9000-{number:012}",
        kernel_name="python3",
        created_time=at,
        description=f"needle {number}" if number == 77 else f"record {number}",
    )
    final = State.FAILED if number % 10 == 0 else State.SUCCEEDED
    ended = advance(advance(pending, State.RUNNING, at=at), final, at=at + timedelta(seconds=1))
    return replace(ended, expire_time=at + timedelta(days=10_000))


async def fill(url: str) -> None:
    store = Store(url, Instance.of_this_process(SERVER_ID))
    await store.open()
    try:
        for number in range(COUNT):
            await store.insert(record_of(number), notebook=None)
    finally:
        await store.close()


@pytest.fixture
def many(tmp_path: Path, newest: LabEnvironment) -> Iterator[Lab]:
    """A JupyterLab whose store has 10,000 records."""
    lab = Lab(tmp_path, newest)
    url = f"sqlite:///{tmp_path / 'many.sqlite'}"
    with ThreadPoolExecutor(1) as thread:  # Playwright has an event loop in this one.
        thread.submit(asyncio.run, fill(url)).result()
    config = tmp_path / "config" / "jupyter_server_config.py"
    config.parent.mkdir(exist_ok=True)
    config.write_text(f"c.ExecApp.db_url = {url!r}\nc.ExecApp.server_id = {SERVER_ID!r}\n")
    lab.start()
    yield lab
    lab.stop()


def test_the_panel_pages_filters_and_clears(many: Lab, open_page: OpenPage) -> None:
    """Each step loads what it shows, and the whole list never is in the page."""
    page = open_page(many)
    requests: list[str] = []

    def note(request: Request) -> None:
        if "/exec/executions?" in request.url:
            requests.append(request.url)

    page.page.on("request", note)
    page.show_panel()
    rows = page.panel.locator(".jp-exec-Row")
    expect(rows).to_have_count(50)
    expect(rows.first).to_contain_text(f"record {COUNT - 1}")

    page.panel.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(100)
    expect(rows.last).to_contain_text(f"record {COUNT - 100}")

    requests.clear()
    page.panel.get_by_label("Filter by text").fill("NEEDLE")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("needle 77")
    assert len(requests) < 20, "each page of the search has many records"
    page.panel.get_by_label("Filter by text").fill("")
    expect(rows).to_have_count(50)

    page.panel.get_by_label("Filter by notebook").select_option("rare.ipynb")
    expect(rows).to_have_count(10)
    page.panel.get_by_label("Filter by state").select_option("succeeded")
    expect(rows).to_have_count(0)
    expect(page.panel.get_by_text("No execution matches the filter.")).to_be_visible()

    page.panel.get_by_label("Filter by state").select_option("failed")
    expect(rows).to_have_count(10)
    page.panel.get_by_role("button", name="Clear finished").click()
    page.page.locator(".jp-Dialog").get_by_role("button", name="Clear").click()
    expect(rows).to_have_count(0)
    page.panel.get_by_label("Filter by notebook").select_option("")
    expect(rows).to_have_count(50)
    assert many.executions("rare.ipynb") == []

    page.panel.get_by_label("Filter by state").select_option("")
    expect(rows.first).to_contain_text(f"record {COUNT - 1}")
    page.panel.get_by_role("button", name="Clear finished").click()
    page.page.locator(".jp-Dialog").get_by_role("button", name="Clear").click()
    expect(page.panel.get_by_text("No executions yet.")).to_be_visible()
    assert many.request("GET", "executions")["executions"] == []
