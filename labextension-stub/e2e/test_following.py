"""What the panel and the details show while an execution runs, and after the page was closed."""

from playwright.sync_api import expect

from e2e.conftest import Lab, LabPage, OpenPage

STEPS = """
import time
from pathlib import Path

print("begun", flush=True)
while not Path("go").exists():
    time.sleep(0.05)
print("finished")
"""


def test_a_closed_page_comes_back_to_the_running_execution(lab: Lab, open_page: OpenPage) -> None:
    """Closing the page mid-run loses nothing: another page shows progress, then the result."""
    (lab.root / "go").unlink(missing_ok=True)
    lab.write_notebook("long.ipynb", "1", STEPS, "'the last value'")
    first = open_page(lab)
    first.open_notebook("long.ipynb")
    first.toolbar_button.click(modifiers=["Shift"])
    first.show_panel()
    first.row("long.ipynb", "running").get_by_role("button").first.click()
    expect(first.details.locator(".jp-exec-Log")).to_contain_text("begun")

    first.page.close()
    second = open_page(lab)
    second.show_panel()
    count = second.page.locator(".lm-TabBar-tab[data-exec-count]")
    expect(count).to_have_attribute("data-exec-count", "1")
    second.row("long.ipynb", "running").get_by_role("button").first.click()
    expect(second.details.locator(".jp-exec-Log")).to_contain_text("begun")
    expect(second.details.get_by_role("progressbar")).to_have_attribute("value", "1")
    (lab.root / "go").touch()

    expect(second.details.locator(".jp-exec-Details-state")).to_contain_text("Succeeded")
    expect(second.details.locator(".jp-exec-Log")).to_contain_text("finished")
    expect(second.details.locator(".jp-exec-Details-cells")).to_contain_text("the last value")


def test_two_pages_show_the_same(lab: Lab, open_page: OpenPage) -> None:
    """Both show a start and a cancel of the other; only the one that started the run reports it."""
    lab.write_notebook("shared.ipynb", "import time", "time.sleep(600)")
    first, second = open_page(lab), open_page(lab)
    first.show_panel()
    second.show_panel()
    first.open_notebook("shared.ipynb")

    first.toolbar_button.click(modifiers=["Shift"])
    second.row("shared.ipynb", "running").get_by_role("button").first.click()
    expect(second.details.get_by_role("progressbar")).to_have_attribute("value", "1")
    second.details.get_by_role("button", name="Cancel").click()

    for page in (first, second):
        page.row("shared.ipynb", "cancelled").wait_for()
    expect(first.page.locator(".Toastify__toast", has_text="cancelled")).to_be_visible()
    expect(second.page.locator(".Toastify__toast")).to_have_count(0)


def test_a_reload_restores_the_details(lab: Lab, page: LabPage) -> None:
    lab.write_notebook("restored.ipynb", 'print("still here")')
    page.open_notebook("restored.ipynb")
    page.toolbar_button.click(modifiers=["Shift"])
    page.show_panel()
    page.row("restored.ipynb", "succeeded").get_by_role("button").first.click()
    expect(page.details.locator(".jp-exec-Log")).to_contain_text("still here")
    page.wait_for_saved_layout("jupyter-exec-ext-details")

    page.open()

    expect(page.details.locator(".jp-exec-Log")).to_contain_text("still here")


def test_cancel_is_shown_at_once(lab: Lab, page: LabPage) -> None:
    lab.write_notebook("cancelled.ipynb", "import time\nprint('on', flush=True)\ntime.sleep(600)")
    page.open_notebook("cancelled.ipynb")
    page.toolbar_button.click(modifiers=["Shift"])
    page.show_panel()
    page.row("cancelled.ipynb", "running").get_by_role("button").first.click()
    expect(page.details.locator(".jp-exec-Log")).to_contain_text("on")

    page.details.get_by_role("button", name="Cancel").click()

    page.row("cancelled.ipynb", "cancelled").wait_for()
    expect(page.details.locator(".jp-exec-Details-state")).to_contain_text("Cancelled")


def test_a_failure_shows_its_error_and_its_cell(lab: Lab, page: LabPage) -> None:
    """The notification names the exception; the details lead to the failing cell."""
    lab.write_notebook("failing.ipynb", "1", "1 / 0")
    page.open_notebook("failing.ipynb")
    page.toolbar_button.click(modifiers=["Shift"])

    toast = page.page.locator(".Toastify__toast", has_text="ZeroDivisionError")
    toast.get_by_role("button", name="Show").click()
    expect(page.details.locator(".jp-exec-Details-error")).to_contain_text("division by zero")
    page.details.get_by_role("button", name="Show cell 2").click()

    page.page.locator(".jp-NotebookPanel:visible .jp-CodeCell.jp-mod-active").wait_for()
    assert (
        page.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.activeCellIndex")
        == 1
    )


def test_input_is_answered_from_the_notification_and_in_the_details(
    lab: Lab, page: LabPage
) -> None:
    """Each request has its notification, with a box; the details have one too."""
    lab.write_notebook(
        "asking.ipynb",
        "name = input('Your name? ')",
        "from getpass import getpass\nsecret = getpass('Password: ')",
        "word = input('Word? ')",
        "print(name, len(secret), word)",
    )
    page.open_notebook("asking.ipynb")
    page.toolbar_button.click(modifiers=["Shift"])
    toast = page.page.locator(".Toastify__toast", has_text="waits for input")
    box = page.page.locator(".jp-Dialog")

    toast.get_by_role("button", name="Answer").click()
    expect(box).to_contain_text("Your name?")
    box.get_by_role("textbox").fill("Ada")
    page.page.keyboard.press("Enter")
    toast.get_by_role("button", name="Answer").click()
    expect(box).to_contain_text("Password:")
    secret = box.locator("input")
    expect(secret).to_have_attribute("type", "password")
    secret.fill("four")
    page.page.keyboard.press("Enter")
    toast.get_by_role("button", name="Show").click()
    page.details.get_by_label("Word?").fill("end")
    page.page.keyboard.press("Enter")

    expect(page.details.locator(".jp-exec-Log")).to_contain_text("Ada 4 end")


def test_a_reload_loses_no_notification(lab: Lab, page: LabPage) -> None:
    """The page that started a run notifies of its end, whatever happened between."""
    (lab.root / "go").unlink(missing_ok=True)
    lab.write_notebook("reloaded.ipynb", STEPS)
    page.open_notebook("reloaded.ipynb")
    page.toolbar_button.click(modifiers=["Shift"])
    page.show_panel()
    page.row("reloaded.ipynb", "running").wait_for()

    page.page.goto("about:blank")
    (lab.root / "go").touch()
    [record] = lab.executions("reloaded.ipynb")
    lab.request("GET", f"executions/{record['id']}?wait=60")
    page.open()

    expect(
        page.page.locator(".Toastify__toast", has_text="reloaded.ipynb succeeded")
    ).to_be_visible()


def test_the_log_stays_where_the_user_reads(lab: Lab, page: LabPage) -> None:
    """It follows its end, stops when the user scrolls up, and two logs share one connection."""
    (lab.root / "go").unlink(missing_ok=True)
    text = "\n".join(f"print({number}, flush=True)" for number in range(200))
    lab.write_notebook("scrolled.ipynb", text, STEPS)
    page.open_notebook("scrolled.ipynb")
    page.toolbar_button.click(modifiers=["Shift"])
    page.show_panel()
    page.row("scrolled.ipynb", "running").get_by_role("button").first.click()
    log = page.details.locator(".jp-exec-Log")
    expect(log).to_contain_text("begun")
    page.page.wait_for_function(
        "log => log.scrollTop > 0 && log.scrollHeight - log.scrollTop - log.clientHeight < 20",
        arg=log.element_handle(),
    )
    log.evaluate("log => { log.scrollTop = 100 }")

    (lab.root / "go").touch()
    expect(log).to_contain_text("finished")

    assert log.evaluate("log => log.scrollTop") == 100


def test_run_again_uses_the_same_values(lab: Lab, page: LabPage) -> None:
    lab.write_notebook("again.ipynb", 'import os\nprint(os.environ["WHO"])')
    page.open_notebook("again.ipynb")
    page.toolbar_button.click()
    page.fill_input("WHO", "Grace")
    page.dialog.get_by_role("button", name="Run").click()
    page.show_panel()
    page.row("again.ipynb", "succeeded").get_by_role("button").first.click()
    expect(page.details.locator(".jp-exec-Log")).to_contain_text("Grace")

    page.details.get_by_role("button", name="Run again").click()

    ended = page.panel.locator('.jp-exec-Row[data-state="succeeded"]', has_text="again.ipynb")
    expect(ended).to_have_count(2)
    for record in lab.executions("again.ipynb"):
        assert lab.request("GET", f"executions/{record['id']}")["result"]["stdout"] == "Grace\n"
