"""A server that goes away and comes back, and users without all rights."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from e2e.conftest import Lab, LabEnvironment, OpenPage

READ_ONLY = """
from jupyter_server.auth import Authorizer


class ReadOnly(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return action == "read"


c.ServerApp.authorizer_class = ReadOnly
"""


@pytest.fixture
def own_lab(tmp_path: Path, newest: LabEnvironment) -> Iterator[Lab]:
    """A JupyterLab for one test, not started."""
    lab = Lab(tmp_path, newest)
    yield lab
    lab.stop()


def test_the_list_is_right_again_when_the_server_is_back(own_lab: Lab, open_page: OpenPage) -> None:
    """A stopped server is reported; after its restart the panel shows what became of the run."""
    own_lab.start()
    own_lab.write_notebook("stopped.ipynb", "import time; time.sleep(600)")
    page = open_page(own_lab)
    page.open_notebook("stopped.ipynb")
    page.toolbar_button.click(modifiers=["Shift"])
    page.show_panel()
    page.row("stopped.ipynb", "running").wait_for()
    port = urlsplit(own_lab.url).port
    assert port is not None

    own_lab.stop()
    expect(page.panel.get_by_role("alert")).to_contain_text("not up to date")
    own_lab.start(port=port)

    page.row("stopped.ipynb", "failed").wait_for()
    expect(page.panel.get_by_role("alert")).to_have_count(0)
    # The browser reports each request that the stopped server did not answer.
    assert all(problem.startswith("Failed to load resource") for problem in page.problems)
    page.problems.clear()


def test_a_read_only_user_sees_executions_and_starts_none(
    own_lab: Lab, tmp_path: Path, open_page: OpenPage
) -> None:
    """Buttons that need a right are disabled, and say why."""
    own_lab.start()
    own_lab.write_notebook("shared.ipynb", 'print("seen")')
    record = own_lab.request("POST", "executions?wait=60", {"notebook": {"path": "shared.ipynb"}})
    assert record["state"] == "succeeded"
    own_lab.stop()
    (tmp_path / "config").mkdir(exist_ok=True)
    (tmp_path / "config/jupyter_server_config.py").write_text(READ_ONLY)
    own_lab.start()

    page = open_page(own_lab)
    page.show_panel()
    page.row("shared.ipynb").get_by_role("button").first.click()

    expect(page.details.locator(".jp-exec-Log")).to_contain_text("seen")
    expect(page.details.get_by_role("button", name="Run again")).to_be_disabled()
    expect(page.details.get_by_role("button", name="Delete")).to_be_disabled()
    clear = page.panel.get_by_role("button", name="Clear finished")
    expect(clear).to_be_disabled()
    expect(clear).to_have_attribute("title", "You do not have the right to delete executions")
