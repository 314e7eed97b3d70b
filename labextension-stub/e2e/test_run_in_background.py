"""Each way to run a notebook in the background."""

import re

from playwright.sync_api import expect

from e2e.conftest import Lab, LabPage

GREETING = 'import os\nprint("Hello", os.environ.get("NAME", "nobody"))'


def test_the_toolbar_button_runs_the_notebook_with_inputs(lab: Lab, page: LabPage) -> None:
    """The dialog suggests what the notebook reads; Enter starts; the result has the input."""
    lab.write_notebook("toolbar.ipynb", GREETING, "answer = 6 * 7")
    page.open_notebook("toolbar.ipynb")

    page.toolbar_button.click()
    page.fill_input("NAME", "Ada")
    page.dialog.get_by_label("Variables to gather").fill("answer")
    page.page.keyboard.press("Enter")

    page.show_panel()
    page.row("toolbar.ipynb", "succeeded").get_by_role("button").first.click()
    expect(page.details.locator(".jp-exec-Details-cells")).to_contain_text("Hello Ada")
    expect(page.details.locator(".jp-exec-Log")).to_contain_text("Hello Ada")
    expect(page.details.locator(".jp-exec-Details-variables")).to_contain_text("42")
    expect(page.page.locator(".Toastify__toast").last).to_contain_text("succeeded")
    [record] = lab.executions("toolbar.ipynb")
    assert record["input_names"] == ["NAME"]


def test_unsaved_edits_run_too(lab: Lab, page: LabPage) -> None:
    """What runs is what the page shows, also when it runs again; the file stays as it is."""
    lab.write_notebook("edited.ipynb", 'print("before")')
    page.open_notebook("edited.ipynb")
    page.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.content.activeCell.model.sharedModel"
        ".setSource('print(\"after\")')"
    )

    page.toolbar_button.click(modifiers=["Shift"])

    page.show_panel()
    page.row("edited.ipynb", "succeeded").get_by_role("button").first.click()
    expect(page.details.locator(".jp-exec-Log")).to_have_text(re.compile("^after\n$"))
    assert "before" in (lab.root / "edited.ipynb").read_text()
    assert page.page.evaluate(
        "() => window.jupyterapp.shell.widgets('main').next().value.context.model.dirty"
    )

    page.details.get_by_role("button", name="Run again").click()
    ended = page.panel.locator('.jp-exec-Row[data-state="succeeded"]', has_text="edited.ipynb")
    expect(ended).to_have_count(2)
    newest = lab.executions("edited.ipynb")[0]
    assert lab.request("GET", f"executions/{newest['id']}")["result"]["stdout"] == "after\n"


def test_the_run_menu_runs_the_notebook(lab: Lab, page: LabPage) -> None:
    lab.write_notebook("menu.ipynb", "1")
    page.open_notebook("menu.ipynb")

    page.menu_item("Run", "Run in Background…")
    page.dialog.get_by_role("button", name="Run").click()

    page.show_panel()
    page.row("menu.ipynb", "succeeded").wait_for()


def test_a_cell_and_those_below_it_run_alone(lab: Lab, page: LabPage) -> None:
    """The context menu of a cell runs that cell, or all cells from it on."""
    lab.write_notebook("cells.ipynb", 'print("one")', 'print("two")', 'print("three")')
    page.open_notebook("cells.ipynb")
    second = page.page.locator(".jp-CodeCell").nth(1)

    for label, expected in (
        ("Run This Cell in Background…", "two\n"),
        ("Run From Here in Background…", "two\nthree\n"),
    ):
        second.click(button="right")
        page.menu_item(label)
        page.dialog.get_by_role("button", name="Run").click()
        expect(page.dialog).to_have_count(0)
        page.show_panel()
        page.row("cells.ipynb", "succeeded").wait_for()
        [newest, *_] = lab.executions("cells.ipynb")
        full = lab.request("GET", f"executions/{newest['id']}?wait=60")
        assert full["result"]["stdout"] == expected


def test_several_files_run_together(lab: Lab, page: LabPage) -> None:
    """The file browser runs what is selected, and one notification reports the end of all."""
    for name in ("first.ipynb", "second.ipynb"):
        lab.write_notebook(f"batch/{name}", "1")
    page.page.evaluate(
        "() => window.jupyterapp.commands.execute('filebrowser:go-to-path', {path: 'batch'})"
    )
    page.page.locator(".jp-DirListing-item", has_text="first.ipynb").click()
    page.page.locator(".jp-DirListing-item", has_text="second.ipynb").click(
        modifiers=["Shift"], button="left"
    )
    page.page.locator(".jp-DirListing-item", has_text="second.ipynb").click(button="right")
    page.menu_item("Run in Background…")
    page.dialog.get_by_role("button", name="Run").click()

    expect(page.page.locator(".Toastify__toast", has_text="2 executions ended")).to_be_visible()
    page.show_panel()
    page.row("first.ipynb", "succeeded").wait_for()
    page.row("second.ipynb", "succeeded").wait_for()


def test_a_copy_of_the_executed_notebook_is_saved_next_to_it(lab: Lab, page: LabPage) -> None:
    lab.write_notebook("folder/report.ipynb", 'print("kept")')
    page.open_notebook("folder/report.ipynb")

    page.toolbar_button.click()
    page.dialog.get_by_label("In a copy: folder/report-executed.ipynb").check()
    page.dialog.get_by_role("button", name="Run").click()
    page.page.get_by_role("button", name="Open result").click()

    copy = page.page.locator(".jp-NotebookPanel:visible", has_text="kept")
    expect(copy).to_be_visible()
    assert "kept" in (lab.root / "folder/report-executed.ipynb").read_text()
