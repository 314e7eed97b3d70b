"""Writes the pictures of the documentation: `pytest labextension-stub/e2e/screenshots.py`."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from e2e.conftest import Lab, LabPage, OpenPage

IMAGES = Path(__file__).parents[2] / "docs" / "images"

CELLS = (
    "import os\n\nfrom palmerpenguins import load_penguins\n\n"
    'species = os.environ.get("SPECIES", "Adelie")\npenguins = load_penguins()\n'
    "chosen = penguins[penguins.species == species]",
    "import time\n\nfor island, group in chosen.groupby('island'):\n"
    "    print(f'{island}: {len(group)} penguins', flush=True)\n    time.sleep(0.1)",
    'chosen.describe()[["bill_length_mm", "body_mass_g"]].round(1)',
    "import matplotlib.pyplot as plt\n\nplt.figure(figsize=(5, 2.4))\n"
    'plt.hist(chosen.body_mass_g.dropna(), bins=20)\nplt.xlabel("body mass (g)");',
    "from pathlib import Path\n\nwhile not Path('go').exists():\n    time.sleep(0.05)",
)


def save(page: LabPage, name: str) -> None:
    """Write a picture of the page once its notifications stand still."""
    page.page.wait_for_timeout(800)
    IMAGES.mkdir(exist_ok=True)
    page.page.screenshot(path=IMAGES / f"{name}.png")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_screenshots(lab: Lab, open_page: OpenPage, theme: str) -> None:
    (lab.root / "go").unlink(missing_ok=True)
    lab.write_notebook("penguins.ipynb", *CELLS)
    lab.write_notebook("check data.ipynb", 'raise ValueError("3 rows have no mass")')
    lab.request("DELETE", "executions?state=succeeded,failed,cancelled")
    lab.request("POST", "executions?wait=60", {"notebook": {"path": "check data.ipynb"}})
    page = open_page(lab)
    page.page.set_viewport_size({"width": 1200, "height": 700})
    page.page.evaluate(
        "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })",
        f"JupyterLab {theme.title()}",
    )
    page.open_notebook("penguins.ipynb")
    page.toolbar_button.click()
    page.dialog.get_by_label("Value of SPECIES").fill("Gentoo")
    save(page, f"dialog-{theme}")
    page.dialog.get_by_role("button", name="Run").click()
    page.show_panel()
    page.row("penguins.ipynb", "running").get_by_role("button").first.click()
    expect(page.details.locator("img")).to_be_visible()
    expect(page.details.get_by_role("progressbar")).to_have_attribute("value", "4")
    save(page, f"details-{theme}")
    (lab.root / "go").touch()
    page.row("penguins.ipynb", "succeeded").wait_for()
    save(page, f"ended-{theme}")
