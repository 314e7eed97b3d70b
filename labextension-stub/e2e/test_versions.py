"""The front end in the oldest JupyterLab, in Notebook 7, and next to real-time collaboration."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.conftest import Lab, LabEnvironment, LabPage, OpenPage, lab_environment


@pytest.fixture(params=["oldest", "collaboration"])
def other_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A JupyterLab of another environment."""
    server = Lab(tmp_path, lab_environment(request.config, request.param))
    server.start()
    yield server
    server.stop()


def test_a_notebook_runs_in_the_background(other_lab: Lab, open_page: OpenPage) -> None:
    """The dialog, the panel, the details and a cell's outputs work."""
    other_lab.write_notebook("smoke.ipynb", 'import os\nprint("Hello", os.environ.get("NAME"))')
    page = open_page(other_lab)
    page.open_notebook("smoke.ipynb")

    page.toolbar_button.click()
    page.fill_input("NAME", "Ada")
    page.page.keyboard.press("Enter")

    page.show_panel()
    page.row("smoke.ipynb", "succeeded").get_by_role("button").first.click()
    expect(page.details.locator(".jp-exec-Log")).to_contain_text("Hello Ada")
    expect(page.details.locator(".jp-exec-Details-cells")).to_contain_text("Hello Ada")


def test_notebook_7_runs_a_notebook_in_the_background(lab: Lab, page: LabPage) -> None:
    """Its page of a notebook has the button, the notification and the panel."""
    lab.write_notebook("classic.ipynb", 'print("in Notebook 7")')
    page.open_in_notebook_7("notebooks/classic.ipynb")

    page.toolbar_button.click(modifiers=["Shift"])

    expect(page.page.locator(".Toastify__toast", has_text="succeeded")).to_be_visible()
    page.show_panel()
    page.row("classic.ipynb", "succeeded").wait_for()


def test_jupyterlab_lists_the_front_end_as_enabled(newest: LabEnvironment) -> None:
    """Installing the project did that; the list names the Python package."""
    command = [str(newest.python), "-m", "jupyterlab.labextensions", "list"]
    environment = {**os.environ, "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter"))}

    listed = subprocess.run(
        command,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )

    [line] = [line for line in listed.stdout.splitlines() if "jupyter-exec-ext" in line]
    assert re.search(r"enabled.*OK.*\(python, jupyter_exec_ext\)", line)
