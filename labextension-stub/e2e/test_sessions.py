"""Sessions in the side bar."""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import JSHandle, Locator, expect

from e2e.conftest import Lab, LabPage
from e2e.test_accessibility import violations


@pytest.fixture
def session(lab: Lab, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """A session that is named after the test, and ends with it."""
    name = re.sub(r"\W+", "-", request.node.name)
    created = lab.request("POST", "sessions", {"name": name, "kernel_name": "python3"})
    yield created
    left = lab.request("GET", "sessions")["sessions"]
    if any(other["id"] == created["id"] for other in left):
        lab.request("DELETE", f"sessions/{created['id']}")


def row_of(page: LabPage, session: dict[str, Any], state: str = "idle") -> Locator:
    """Show the row of a session, once the session is in this state."""
    page.show_panel()
    row = page.page.locator(f'.jp-exec-Session[data-state="{state}"]', has_text=session["name"])
    row.wait_for()
    return row


def drop(page: LabPage, row: Locator, name: str, text: str) -> None:
    """Drop a file on the row of a session."""
    transfer: JSHandle = page.page.evaluate_handle(
        "([name, text]) => {"
        "  const transfer = new DataTransfer();"
        "  transfer.items.add(new File([text], name));"
        "  return transfer;"
        "}",
        [name, text],
    )
    for event in ("dragover", "drop"):
        row.dispatch_event(event, {"dataTransfer": transfer})


def has_text(file: Path, text: str) -> bool:
    return file.read_text() == text


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* is true."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_dropped_file_is_in_the_session_and_can_be_downloaded(
    lab: Lab, page: LabPage, session: dict[str, Any]
) -> None:
    """A file that is there is replaced only after a question."""
    row = row_of(page, session)
    row.get_by_role("button", name="Files of").click()
    expect(row.get_by_text("No files.")).to_be_visible()

    drop(page, row, "data ä.csv", "1,2\n")
    link = row.get_by_role("link", name="data ä.csv")
    link.wait_for()
    with page.page.expect_download() as downloading:
        link.click()
    assert downloading.value.path().read_text() == "1,2\n"
    assert downloading.value.suggested_filename == "data ä.csv"

    for button, expected in (("Keep", "1,2\n"), ("Replace", "3\n")):
        drop(page, row, "data ä.csv", "3\n")
        page.page.locator(".jp-Dialog").get_by_role("button", name=button).click()
        file = lab.root / session["path"] / "data ä.csv"
        until(partial(has_text, file, expected))
    # The browser reports the refusals that led to the question.
    page.problems[:] = [problem for problem in page.problems if "412" not in problem]
    record = lab.request(
        "POST",
        "executions?wait=60",
        {"code": "print(open('data ä.csv').read())", "session_name": session["name"]},
    )
    assert record["result"]["stdout"] == "3\n\n"


def test_files_are_uploaded_with_the_button_too(
    lab: Lab, page: LabPage, session: dict[str, Any], tmp_path: Path
) -> None:
    """The way of those who cannot drag and drop."""
    row = row_of(page, session)
    with page.page.expect_file_chooser() as choosing:
        row.get_by_role("button", name="Upload files to").click()
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    for file in files:
        file.write_text("x")
    choosing.value.set_files(files)

    toast = page.page.locator(".Toastify__toast", has_text="2 files uploaded")
    expect(toast).to_be_visible()
    names = [
        file["name"] for file in lab.request("GET", f"sessions/{session['id']}/files")["files"]
    ]
    assert names == ["a.txt", "b.txt"]


def test_a_console_and_the_file_browser_open_from_a_session(
    lab: Lab, page: LabPage, session: dict[str, Any]
) -> None:
    """The console uses the kernel of the session, whose folder the file browser shows."""
    row = row_of(page, session)
    row.get_by_role("button", name="Attach a console").click()
    page.page.locator(".jp-CodeConsole").wait_for()
    page.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
    )
    kernel_id = page.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id"
    )
    known = lab.request("GET", f"sessions/{session['id']}")
    assert kernel_id == known["kernel_id"]

    row.get_by_role("button", name=session["path"]).click()

    crumbs = page.page.locator(".jp-FileBrowser-crumbs:visible")
    expect(crumbs).to_contain_text(session["path"].split("/")[-1])


def test_a_session_is_interrupted_restarted_and_ended(
    lab: Lab, page: LabPage, session: dict[str, Any]
) -> None:
    """The row shows what the session does and what waits in it."""
    sleep = {"code": "import time; time.sleep(600)", "session_name": session["name"]}
    first = lab.request("POST", "executions", sleep)
    second = lab.request("POST", "executions", sleep)
    row = row_of(page, session, "busy")
    expect(row).to_contain_text("1 waits")

    until(lambda: lab.request("GET", f"executions/{first['id']}")["started"])
    row.get_by_role("button", name=f"Interrupt {session['name']}").click()
    until(lambda: lab.request("GET", f"executions/{first['id']}")["state"] == "failed")
    interrupted = lab.request("GET", f"executions/{first['id']}")
    assert interrupted["error"]["ename"] == "KeyboardInterrupt"
    expect(row).to_contain_text("nothing waits")

    row.get_by_role("button", name="Restart the kernel of").click()
    page.page.locator(".jp-Dialog").get_by_role("button", name="Restart").click()
    until(lambda: lab.request("GET", f"executions/{second['id']}")["state"] == "failed")
    row = row_of(page, session)

    row.get_by_role("button", name=f"End {session['name']}").click()
    page.page.locator(".jp-Dialog").get_by_role("button", name="Cancel").click()
    expect(row).to_be_visible()
    row.get_by_role("button", name=f"End {session['name']}").click()
    page.page.locator(".jp-Dialog").get_by_role("button", name="End").click()

    expect(row).to_have_count(0)
    assert lab.request("GET", f"sessions?name={session['name']}")["sessions"] == []


def test_the_running_panel_has_sessions_and_executions(
    lab: Lab, page: LabPage, session: dict[str, Any]
) -> None:
    """JupyterLab's own panel ends the session."""
    code = {"code": "import time; time.sleep(600)", "session_name": session["name"]}
    lab.request("POST", "executions", {**code, "description": "long work"})
    page.page.evaluate("() => window.jupyterapp.commands.execute('running:show-panel')")
    panel = page.page.locator(".jp-RunningSessions")

    expect(panel.get_by_text("long work")).to_be_visible()
    item = panel.locator(".jp-RunningSessions-item", has_text=session["name"]).first
    item.hover()
    item.locator(".jp-RunningSessions-itemShutdown").click()
    page.page.locator(".jp-Dialog").get_by_role("button", name="End").click()

    until(lambda: lab.request("GET", f"sessions?name={session['name']}")["sessions"] == [])


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_nothing_in_sessions(page: LabPage, session: dict[str, Any], theme: str) -> None:
    page.page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", theme
    )
    row = row_of(page, session)
    drop(page, row, "a.csv", "1")
    row.get_by_role("button", name="Files of").click()
    row.get_by_role("link", name="a.csv").wait_for()

    assert violations(page, ".jp-exec-Sessions") == []
    # The list would be loaded again when the session ends.
    row.get_by_role("button", name="Files of").click()
    expect(row.get_by_role("link", name="a.csv")).to_have_count(0)
