"""A real JupyterLab with the extension, and a page of it in headless Chromium.

The tests are plain functions: Playwright's synchronous interface cannot run in an event loop.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

TOKEN = "secret"
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
WAIT_SECONDS = 60.0

SETTINGS: dict[str, dict[str, Any]] = {
    # The news toast covers buttons.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


class Lab:
    """A JupyterLab server with folders of its own.

    Args:
        python: The Python of an environment with JupyterLab, which sees this project.

    Attributes:
        root: The folder that the server shows.
        url: The base URL, with a slash at its end.
    """

    def __init__(self, home: Path, python: Path) -> None:
        self._home = home
        self._python = python
        self._process: subprocess.Popen[bytes] | None = None
        self.root = home / "work"
        self.root.mkdir(parents=True)
        for name, values in SETTINGS.items():
            path = home / "settings" / f"{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values))
        self.url = ""

    def start(self, *, port: int = 0) -> None:
        """Start the server and wait until it answers."""
        environment = {
            **os.environ,
            "HOME": str(self._home),
            "JUPYTER_CONFIG_DIR": str(self._home / "config"),
            "JUPYTER_DATA_DIR": str(self._home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self._home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(self._home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self._home / "workspaces"),
            "JUPYTER_TOKEN": TOKEN,
            # The kernels, and what installing the project put there: the front end, for one.
            "JUPYTER_PATH": str(Path(sys.prefix, "share", "jupyter")),
            "JUPYTER_CONFIG_PATH": str(Path(sys.prefix, "etc", "jupyter")),
        }
        command = [
            str(self._python),
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--ServerApp.port={port}",
            "--ServerApp.base_url=/user/a%40b/",
            f"--ServerApp.root_dir={self.root}",
            "--LabApp.expose_app_in_browser=True",
        ]
        for stale in (self._home / "runtime").glob("jpserver-*.json"):
            stale.unlink()
        with (self._home / "log").open("a") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.url = self._wait_for_url()

    def stop(self) -> None:
        """Stop the server, as SIGTERM does."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def request(self, method: str, path: str, body: object = None) -> Any:
        """Send a request to the REST API below ``exec/`` and return the reply."""
        request = urllib.request.Request(
            f"{self.url}exec/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def executions(self, path: str) -> list[dict[str, Any]]:
        """Return the executions of the notebook at *path*, the newest first."""
        found: list[dict[str, Any]] = self.request("GET", f"executions?path={path}")["executions"]
        return found

    def write_notebook(self, path: str, *sources: str) -> str:
        """Write a notebook of code cells below the root and return *path*."""
        cells = [
            {
                "cell_type": "code",
                "id": f"c{number}",
                "metadata": {},
                "outputs": [],
                "execution_count": None,
                "source": source,
            }
            for number, source in enumerate(sources)
        ]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
        notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": cells}
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(notebook))
        return path

    def has_saved_layout(self, workspace: str, name: str) -> bool:
        """Return whether the saved layout of a workspace has *name* in it."""
        files = (self._home / "workspaces").glob("*.jupyterlab-workspace")
        return any(
            workspace in text and name in text for text in (file.read_text() for file in files)
        )

    def _wait_for_url(self) -> str:
        assert self._process is not None
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            for found in (self._home / "runtime").glob("jpserver-*.json"):
                try:
                    url: str = json.loads(found.read_text())["url"]
                    urllib.request.urlopen(f"{url}api?token={TOKEN}", timeout=5).close()
                except (urllib.error.URLError, ValueError):
                    break
                return url
            time.sleep(0.05)
        self.stop()
        raise RuntimeError((self._home / "log").read_text())


@pytest.fixture(scope="session")
def lab_python(request: pytest.FixtureRequest) -> Path:
    """The Python of an environment with JupyterLab, which sees the packages of this one.

    JupyterLab is not installed into the environment of the tests: its server extensions would be
    started with each server of the other tests.
    """
    assert request.config.cache is not None
    folder = Path(request.config.cache.mkdir("jupyterlab")) / "newest"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, symlinks=True, clear=True)
        packages = sysconfig.get_path("purelib")
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        link = folder / "lib" / version / "site-packages" / "project.pth"
        link.write_text(f"import site; site.addsitedir({packages!r})\n")
        install = [python, "-m", "pip", "install", "--quiet", "jupyterlab>=4.6,<5"]
        subprocess.run(install, check=True, timeout=600)
        (folder / "ready").touch()
    return python


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, lab_python: Path) -> Iterator[Lab]:
    """A JupyterLab whose user may do everything."""
    server = Lab(tmp_path_factory.mktemp("lab"), lab_python)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, as the operating system has it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    expect.set_options(timeout=WAIT_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


OpenPage: TypeAlias = Callable[[Lab], "LabPage"]


class LabPage:
    """A page that shows JupyterLab.

    Attributes:
        page: Playwright's page.
        problems: The errors that the page raised, or that our code wrote to the console.
    """

    def __init__(self, page: Page, lab: Lab, workspace: str) -> None:
        self.page = page
        self._lab = lab
        self._workspace = workspace
        self.problems: list[str] = []
        page.set_default_timeout(WAIT_SECONDS * 1000)
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        # JupyterLab asks before a page with unsaved changes is left.
        page.on("dialog", lambda dialog: dialog.accept())

    def open(self, *, reset: bool = False) -> None:
        """Load JupyterLab and wait until it has restored its widgets."""
        query = f"token={TOKEN}" + ("&reset" if reset else "")
        self.page.goto(f"{self._lab.url}lab/workspaces/{self._workspace}?{query}")
        self.page.wait_for_function("window.jupyterapp")
        self.page.evaluate("async () => { await window.jupyterapp.restored }")

    def open_notebook(self, path: str) -> None:
        """Open a notebook and wait until its toolbar is there."""
        self.page.evaluate(
            "async path => {"
            "  const panel = await window.jupyterapp.commands.execute("
            "    'docmanager:open', { path });"
            "  await panel.context.ready;"
            "}",
            path,
        )
        self.toolbar_button.wait_for()

    @property
    def toolbar_button(self) -> Locator:
        """The button that runs the open notebook."""
        return self.page.locator(
            '.jp-NotebookPanel:not(.lm-mod-hidden) [data-jp-item-name="run-in-background"]'
        ).first

    @property
    def dialog(self) -> Locator:
        """The dialog that asks how to run a notebook."""
        return self.page.locator(".jp-Dialog", has=self.page.locator(".jp-exec-RunForm"))

    @property
    def panel(self) -> Locator:
        """The panel in the side bar."""
        return self.page.locator(".jp-exec-Panel")

    @property
    def details(self) -> Locator:
        """The details of an execution."""
        return self.page.locator(".jp-exec-Details:visible")

    def show_panel(self) -> None:
        """Show the panel in the side bar."""
        self.page.evaluate(
            "() => window.jupyterapp.commands.execute('jupyter-exec-ext:show-panel')"
        )
        self.panel.wait_for()

    def row(self, name: str, state: str | None = None) -> Locator:
        """The row of the panel whose name is *name*."""
        selector = ".jp-exec-Row" + (f'[data-state="{state}"]' if state else "")
        return self.panel.locator(selector, has_text=name).first

    def wait_for_saved_layout(self, name: str) -> None:
        """Wait until JupyterLab has saved *name* as a part of the layout of this page."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._lab.has_saved_layout(self._workspace, name):
            assert time.monotonic() < deadline, f"{name} is not in the saved layout"
            self.page.wait_for_timeout(100)

    def menu_item(self, *labels: str) -> None:
        """Click through the main menu."""
        for label in labels:
            self.page.get_by_role("menuitem", name=label).first.click()


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """Return what opens a page of its own, in an empty workspace; its errors fail the test."""
    workspace = "".join(c if c.isalnum() else "-" for c in request.node.name)
    pages: list[LabPage] = []

    def open_page(lab: Lab) -> LabPage:
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        page = LabPage(context.new_page(), lab, f"{workspace}-{len(pages)}")
        pages.append(page)
        page.open(reset=True)
        return page

    yield open_page
    for page in pages:
        page.page.context.close()
    assert [problem for page in pages for problem in page.problems] == []


@pytest.fixture
def page(lab: Lab, open_page: OpenPage) -> LabPage:
    """A page of the JupyterLab whose user may do everything."""
    return open_page(lab)
