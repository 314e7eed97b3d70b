"""Keyboard, screen readers and the dark theme."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, expect

from e2e.conftest import Lab, LabPage

PALETTE_TRIES = 5
PALETTE_MILLISECONDS = 5000


def violations(page: LabPage, *selectors: str) -> list[str]:
    """Return what axe-core finds below the selectors."""
    context = {"include": [[selector] for selector in selectors]}
    found = Axe().run(page.page, context=context)
    return [
        f"{violation['id']}: {node['html']}"
        for violation in found.response["violations"]
        for node in violation["nodes"]
    ]


def choose_in_palette(page: LabPage, label: str) -> None:
    """Open the command palette and make *label* its active item.

    A notebook that was just opened takes the focus once more, and the palette then closes.
    """
    search = page.page.locator(".lm-CommandPalette-input:visible")
    active = page.page.locator(".lm-CommandPalette-item.lm-mod-active:visible", has_text=label)
    for _ in range(PALETTE_TRIES):
        page.page.keyboard.press("Control+Shift+C")
        try:
            search.fill(label, timeout=PALETTE_MILLISECONDS)
            active.wait_for(timeout=PALETTE_MILLISECONDS)
        except Error:
            continue
        return
    pytest.fail(f"the command palette does not show {label!r}")


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_nothing(lab: Lab, page: LabPage, theme: str) -> None:
    """The panel, the details and the dialog have names, roles and contrast."""
    path = f"{theme.replace(' ', '-')}.ipynb"
    lab.write_notebook(path, 'import os\nos.environ.get("YEAR")\nx = 1', "1 / 0")
    page.page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme
    )
    page.open_notebook(path)
    page.toolbar_button.click()
    page.dialog.wait_for()
    assert violations(page, ".jp-exec-RunForm") == []
    page.dialog.get_by_role("button", name="Run").click()
    page.show_panel()
    page.row(path, "failed").get_by_role("button").first.click()
    expect(page.details.locator(".jp-exec-Details-error")).to_be_visible()

    assert violations(page, ".jp-exec-Panel", ".jp-exec-Details") == []


def test_the_keyboard_alone_runs_and_opens(lab: Lab, page: LabPage) -> None:
    """The palette starts a run, Enter confirms, and the row opens by the keyboard."""
    lab.write_notebook("keyboard.ipynb", 'print("by keyboard")')
    page.open_notebook("keyboard.ipynb")
    keyboard = page.page.keyboard

    choose_in_palette(page, "Run Notebook in Background")
    keyboard.press("Enter")
    expect(page.dialog.locator(":focus")).to_have_count(1)
    keyboard.press("Enter")
    expect(page.dialog).to_have_count(0)
    page.show_panel()
    page.row("keyboard.ipynb", "succeeded").wait_for()
    page.panel.get_by_label("Filter by text").focus()
    for _ in range(5):
        keyboard.press("Tab")
    keyboard.press("Enter")

    expect(page.details.locator(".jp-exec-Log")).to_contain_text("by keyboard")
