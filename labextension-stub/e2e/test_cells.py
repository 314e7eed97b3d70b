"""Cells that run on the server: as always while the page is there, and after it was closed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from e2e.conftest import Lab, LabPage, OpenPage

STEPS = """
import time
from pathlib import Path

print("begun", flush=True)
while not Path("{gate}").exists():
    time.sleep(0.05)
print("finished")
"""

RUN_ALL = "() => void window.jupyterapp.commands.execute('notebook:run-all-cells')"
RUN_CELL = "() => void window.jupyterapp.commands.execute('notebook:run-cell')"
INTERRUPT = "() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')"
SAVE = "() => window.jupyterapp.commands.execute('docmanager:save')"
KERNEL_STATUS = "window.jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status"


class Notebook:
    """The notebook that a page shows, with its cells on the server."""

    def __init__(self, page: LabPage, path: str) -> None:
        self.page = page.page
        page.open_notebook(path)
        # A page does not know the status of a kernel that was busy before it came.
        self.page.wait_for_function(f"{KERNEL_STATUS} !== undefined")

    @property
    def switch(self) -> Locator:
        return self.page.locator(
            '.jp-NotebookPanel:not(.lm-mod-hidden) [data-jp-item-name="run-on-server"]'
        ).get_by_role("button")

    def turn_on(self) -> "Notebook":
        """Let the cells run on the server, and return the notebook."""
        self.switch.click()
        expect(self.switch).to_have_attribute("aria-pressed", "true")
        return self

    def cell(self, index: int) -> Locator:
        return self.page.locator(".jp-NotebookPanel:visible .jp-CodeCell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-Cell-outputArea")

    def prompt(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-InputPrompt")

    def expect_prompts(self, *prompts: str) -> None:
        for index, prompt in enumerate(prompts):
            expect(self.prompt(index)).to_have_text(f"[{prompt}]:")

    def edit(self, index: int, source: str) -> None:
        self.page.evaluate(
            "([index, source]) => window.jupyterapp.shell.currentWidget.content.widgets[index]"
            ".model.sharedModel.setSource(source)",
            [index, source],
        )


@pytest.fixture
def gate(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file of this test that does not exist, for which a cell waits."""
    path = lab.root / f"{request.node.name}.go"
    yield path
    path.touch()  # No kernel waits longer than its test.


def waiting(gate: Path) -> str:
    return STEPS.format(gate=gate.name)


def test_cells_look_as_always_and_leave_a_record(lab: Lab, page: LabPage) -> None:
    """Streams, display updates, results, timing and prompts; the record names the cell."""
    lab.write_notebook(
        "cells/usual.ipynb",
        "print('printed')",
        "from IPython.display import HTML, display, clear_output\n"
        "handle = display(HTML('<b>before</b>'), display_id=True)\n"
        "handle.update(HTML('<i>after</i>'))",
        "for i in range(3):\n    print(f'\\r{i}0%', end='')\nprint()\n6 * 7",
        "print('gone'); clear_output(); print('stays')",
        "get_ipython().set_next_input('inserted = 1')",
    )
    notebook = Notebook(page, "cells/usual.ipynb").turn_on()

    page.page.evaluate(RUN_ALL)

    notebook.expect_prompts("1", "2", "3", "4", "5")
    expect(notebook.output(0)).to_have_text("printed")
    expect(notebook.output(1).locator("i")).to_have_text("after")
    expect(notebook.output(1).locator("b")).to_have_count(0)
    expect(notebook.output(2)).to_contain_text("20%")
    expect(notebook.output(2)).not_to_contain_text("10%")
    expect(notebook.output(2)).to_contain_text("42")
    expect(notebook.output(3)).to_have_text("stays")
    expect(notebook.cell(5)).to_contain_text("inserted = 1")
    records = lab.request("GET", "executions?origin_path=cells/usual.ipynb")["executions"]
    assert [record["origin"]["cell_id"] for record in records] == ["c4", "c3", "c2", "c1", "c0"]
    assert {record["state"] for record in records} == {"succeeded"}
    kernels = {record["kernel_id"] for record in records}
    assert kernels == {
        page.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id")
    }


def test_an_error_stops_what_follows(lab: Lab, page: LabPage) -> None:
    """The traceback is shown, the queued cells lose their prompts, and the next run works."""
    lab.write_notebook("failing_cells.ipynb", "1 / 0", "print('never')", "print('nor this')")
    notebook = Notebook(page, "failing_cells.ipynb").turn_on()

    page.page.evaluate(RUN_ALL)

    expect(notebook.output(0)).to_contain_text("ZeroDivisionError")
    notebook.expect_prompts("1", " ", " ")
    records = lab.request("GET", "executions?origin_path=failing_cells.ipynb")["executions"]
    assert [record["state"] for record in records] == ["cancelled", "cancelled", "failed"]
    notebook.cell(1).locator(".jp-InputArea-editor").click()
    page.page.keyboard.press("Control+Enter")
    expect(notebook.output(1)).to_have_text("never")
    notebook.expect_prompts("1", "2", " ")


def test_the_stop_button_stops_what_runs_and_what_waits(lab: Lab, page: LabPage) -> None:
    lab.write_notebook(
        "stopped_cells.ipynb",
        "import time\nprint('on', flush=True)\ntime.sleep(600)",
        "print('never')",
    )
    notebook = Notebook(page, "stopped_cells.ipynb").turn_on()
    page.page.evaluate(RUN_ALL)
    expect(notebook.output(0)).to_have_text("on")
    notebook.expect_prompts("*", "*")

    page.page.evaluate(INTERRUPT)

    expect(notebook.output(0)).to_contain_text("KeyboardInterrupt")
    notebook.expect_prompts("1", " ")
    expect(notebook.output(1)).to_have_text("")


def test_a_restart_ends_what_runs_quietly(lab: Lab, page: LabPage) -> None:
    """As always: the cell has no prompt number, and the fresh kernel begins to count again."""
    lab.write_notebook(
        "restarted_cells.ipynb", "'first'", "import time\nprint('on', flush=True)\ntime.sleep(600)"
    )
    notebook = Notebook(page, "restarted_cells.ipynb").turn_on()
    page.page.evaluate(RUN_ALL)
    expect(notebook.output(1)).to_have_text("on")

    page.page.evaluate(
        "() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()"
    )

    notebook.expect_prompts("1", " ")
    notebook.edit(1, "'fresh'")
    notebook.cell(1).locator(".jp-InputArea-editor").click()
    page.page.keyboard.press("Control+Enter")
    expect(notebook.output(1)).to_contain_text("'fresh'")
    notebook.expect_prompts("1", "1")


def test_input_is_answered_in_the_cell(lab: Lab, page: LabPage) -> None:
    """Also after a reload, which shows the box of the open request alone.

    The cells that wait take no connections from the answer: a browser has six.
    """
    code = "print(input('First? '), input('Second? '))"
    lab.write_notebook("asking_cells.ipynb", code, *["1"] * 8)
    notebook = Notebook(page, "asking_cells.ipynb").turn_on()
    page.page.evaluate(RUN_ALL)
    notebook.cell(0).locator(".jp-Stdin-input").fill("Ada")
    page.page.keyboard.press("Enter")
    expect(notebook.cell(0).locator(".jp-Stdin-prompt", has_text="Second?")).to_be_visible()

    page.open()
    notebook = Notebook(page, "asking_cells.ipynb")

    expect(notebook.cell(0).locator(".jp-Stdin-prompt")).to_have_text("Second? ")
    notebook.cell(0).locator(".jp-Stdin-input").fill("Lovelace")
    page.page.keyboard.press("Enter")
    expect(notebook.output(0)).to_contain_text("Ada Lovelace")
    notebook.expect_prompts("1")


def test_a_closed_page_loses_nothing(lab: Lab, open_page: OpenPage, gate: Path) -> None:
    """On return finished cells have their outputs, and what runs goes on, with its queue."""
    lab.write_notebook("closed_cells.ipynb", "print('done early')", waiting(gate), "'last'")
    first = open_page(lab)
    notebook = Notebook(first, "closed_cells.ipynb").turn_on()
    first.page.evaluate(RUN_ALL)
    expect(notebook.output(1)).to_have_text("begun")

    first.page.close()
    second = open_page(lab)
    notebook = Notebook(second, "closed_cells.ipynb")

    expect(notebook.output(0)).to_have_text("done early")
    expect(notebook.output(1)).to_have_text("begun")
    notebook.expect_prompts("1", "*", "*")
    gate.touch()
    expect(notebook.output(1)).to_contain_text("finished")
    expect(notebook.output(2)).to_contain_text("'last'")
    notebook.expect_prompts("1", "2", "3")

    # After the file was saved it is the file that counts.
    second.page.evaluate(
        "() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')"
    )
    second.page.evaluate(SAVE)
    second.open()
    notebook = Notebook(second, "closed_cells.ipynb")
    expect(notebook.switch).to_be_visible()
    notebook.expect_prompts(" ", " ", " ")


def test_what_ended_while_no_page_was_open_is_there(
    lab: Lab, open_page: OpenPage, gate: Path
) -> None:
    """An edited cell is left as it is, and offers the result."""
    lab.write_notebook("ended_cells.ipynb", waiting(gate), "print('of the old code')")
    first = open_page(lab)
    notebook = Notebook(first, "ended_cells.ipynb").turn_on()
    first.page.evaluate(RUN_ALL)
    expect(notebook.output(0)).to_have_text("begun")
    notebook.edit(1, "print('of the new code')")
    first.page.evaluate(SAVE)
    first.page.close()
    gate.touch()
    [newest, *_] = lab.request("GET", "executions?origin_path=ended_cells.ipynb")["executions"]
    lab.request("GET", f"executions/{newest['id']}?wait=60")

    second = open_page(lab)
    notebook = Notebook(second, "ended_cells.ipynb")

    expect(notebook.output(0)).to_have_text("begun\nfinished\n")
    offer = notebook.cell(1).locator(".jp-exec-CellOffer")
    expect(offer).to_contain_text("edited")
    expect(notebook.output(1)).to_have_text("")
    offer.get_by_role("button", name="Show result").click()
    expect(notebook.output(1)).to_have_text("of the old code")
    expect(offer).to_have_count(0)


def test_a_dropped_line_loses_nothing(lab: Lab, page: LabPage, gate: Path) -> None:
    lab.write_notebook("dropped_cells.ipynb", waiting(gate), "'second'")
    notebook = Notebook(page, "dropped_cells.ipynb").turn_on()
    page.page.evaluate(RUN_ALL)
    expect(notebook.output(0)).to_have_text("begun")

    page.page.context.set_offline(True)
    gate.touch()
    [newest, *_] = lab.request("GET", "executions?origin_path=dropped_cells.ipynb")["executions"]
    lab.request("GET", f"executions/{newest['id']}?wait=60")
    page.page.context.set_offline(False)

    expect(notebook.output(0)).to_contain_text("finished")
    expect(notebook.output(1)).to_contain_text("'second'")
    notebook.expect_prompts("1", "2")
    # The browser itself reports requests that fail.
    assert all(problem.startswith("Failed to load resource") for problem in page.problems)
    page.problems.clear()


def test_two_pages_show_the_same_run(lab: Lab, open_page: OpenPage, gate: Path) -> None:
    """A page that is opened later follows what another page has started."""
    lab.write_notebook("two_pages.ipynb", waiting(gate))
    first = Notebook(open_page(lab), "two_pages.ipynb").turn_on()
    first.page.evaluate(RUN_ALL)
    expect(first.output(0)).to_have_text("begun")

    second = Notebook(open_page(lab), "two_pages.ipynb")
    expect(second.output(0)).to_have_text("begun")
    gate.touch()

    for notebook in (first, second):
        expect(notebook.output(0)).to_contain_text("finished")
        notebook.expect_prompts("1")


def test_the_switch_is_off_at_first_and_remembered(lab: Lab, page: LabPage) -> None:
    lab.write_notebook("switched.ipynb", "print('plain')")
    notebook = Notebook(page, "switched.ipynb")
    expect(notebook.switch).to_have_attribute("aria-pressed", "false")
    page.page.evaluate(RUN_ALL)
    expect(notebook.output(0)).to_have_text("plain")
    assert lab.request("GET", "executions?origin_path=switched.ipynb")["executions"] == []

    notebook.turn_on()
    page.open()

    expect(Notebook(page, "switched.ipynb").switch).to_have_attribute("aria-pressed", "true")
