"""Writes the pictures of the documentation: ``make screenshots``."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.conftest import Lab, LabPage, OpenPage

IMAGES = Path(__file__).parents[2] / "docs" / "images"
MAX_BYTES = 150_000

CELLS = (
    "import os\nfrom palmerpenguins import load_penguins\n\n"
    'species = os.environ.get("SPECIES", "Adelie")\npenguins = load_penguins()\n'
    "chosen = penguins[penguins.species == species]",
    "for island, group in chosen.groupby('island'):\n"
    "    print(f'{island}: {len(group)} penguins', flush=True)",
    'chosen.describe()[["bill_length_mm", "body_mass_g"]].round(1)',
    "import matplotlib.pyplot as plt\n\nplt.figure(figsize=(5, 2.4))\n"
    'plt.hist(chosen.body_mass_g.dropna(), bins=20)\nplt.xlabel("body mass (g)");',
    "import time\nfrom pathlib import Path\n\n"
    "while not Path('model.bin').exists():\n    time.sleep(0.05)",
)


def save(page: LabPage, name: str) -> None:
    """Write a picture of the page once what moves in it stands still."""
    page.page.wait_for_timeout(1000)
    IMAGES.mkdir(exist_ok=True)
    path = IMAGES / f"{name}.png"
    page.page.screenshot(path=path)
    assert path.stat().st_size < MAX_BYTES


def dismiss_notifications(page: LabPage) -> None:
    """Close the notifications that cover a part of the page."""
    page.page.evaluate("() => window.jupyterapp.commands.execute('apputils:dismiss-notification')")
    expect(page.page.locator(".Toastify__toast")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_screenshots(lab: Lab, open_page: OpenPage, theme: str) -> None:
    (lab.root / "model.bin").unlink(missing_ok=True)
    lab.write_notebook("penguins.ipynb", *CELLS)
    lab.write_notebook("check data.ipynb", 'raise ValueError("3 rows have no mass")')
    lab.write_notebook("report.ipynb", "1", "2", "3")
    lab.request("DELETE", "executions?state=succeeded,failed,cancelled")
    page = open_page(lab)
    # By the page, so that it is the owner: the names of other owners are random.
    for path in ("check data.ipynb", "report.ipynb"):
        page.open_notebook(path)
        page.toolbar_button.click(modifiers=["Shift"])
    page.show_panel()
    page.row("check data.ipynb", "failed").wait_for()
    page.row("report.ipynb", "succeeded").wait_for()
    page.open(reset=True)
    page.page.set_viewport_size({"width": 1100, "height": 680})
    page.page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })",
        f"JupyterLab {theme.title()}",
    )
    page.open_notebook("penguins.ipynb")
    page.show_panel()
    page.toolbar_button.click()
    page.fill_input("SPECIES", "Gentoo")
    page.dialog.get_by_label("Variables to gather").fill("species")
    save(page, f"dialog-{theme}")

    page.dialog.get_by_role("button", name="Run").click()
    row = page.row("penguins.ipynb", "running")
    expect(row.get_by_role("progressbar")).to_have_attribute("value", "4")
    save(page, f"panel-{theme}")

    row.get_by_role("button").first.click()
    expect(page.details.locator("img")).to_be_visible()
    expect(page.details.get_by_role("progressbar")).to_have_attribute("value", "4")
    dismiss_notifications(page)
    save(page, f"details-{theme}")

    (lab.root / "model.bin").touch()
    page.row("penguins.ipynb", "succeeded").wait_for()
