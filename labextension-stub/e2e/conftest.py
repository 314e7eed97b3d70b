"""A real JupyterLab with the extension, and a page of it in headless Chromium.

The tests are plain functions: Playwright's synchronous interface cannot run in an event loop.
"""

import fcntl
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
from typing import Any, NamedTuple, TypeAlias

import pytest
from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    expect,
    sync_playwright,
)

BUILT = Path(__file__).parents[2] / "jupyter_exec_ext" / "labextension"
TOKEN = "secret"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
WAIT_SECONDS = 60.0

STOP_SECONDS = 20.0
INSTALL_SECONDS = 600.0

# The environment that each one is based on, if any, and what it has in addition.
ENVIRONMENTS = {
    "newest": ("", "jupyterlab>=4.6,<5", "notebook>=7.6,<8"),
    "oldest": ("", "jupyterlab==4.4.0"),
    "collaboration": ("newest", "jupyter-collaboration>=5,<6"),
}

SETTINGS: dict[str, dict[str, Any]] = {
    # The news toast covers buttons.
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/docmanager-extension/plugin": {"autosave": False},
}


class LabEnvironment(NamedTuple):
    """Where a JupyterLab is installed that sees the packages of this project.

    Attributes:
        python: The Python to start it with.
        lab: The folder with what JupyterLab serves, below ``share/jupyter``.
    """

    python: Path
    lab: Path


class Lab:
    """A JupyterLab server with folders of its own.

    Attributes:
        root: The folder that the server shows.
        url: The base URL, with a slash at its end.
    """

    def __init__(self, home: Path, environment: LabEnvironment) -> None:
        self._home = home
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self.root = home / "work"
        self.root.mkdir(parents=True)
        # What is built, not what was installed: the two differ while a developer works.
        extensions = home / "share" / "labextensions"
        extensions.mkdir(parents=True)
        (extensions / "jupyter-exec-ext").symlink_to(BUILT)
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
            "JUPYTERLAB_DIR": str(self._environment.lab),
            # The front end, and the kernels of this environment.
            "JUPYTER_PATH": f"{self._home / 'share'}:{Path(sys.prefix, 'share', 'jupyter')}",
            # The file that enables the server extension.
            "JUPYTER_CONFIG_PATH": str(Path(sys.prefix, "etc", "jupyter")),
        }
        command = [
            str(self._environment.python),
            "-m",
            "jupyterlab",
            "--no-browser",
            "--allow-root",
            f"--ServerApp.port={port}",
            "--ServerApp.base_url=/user/a%40b/",
            f"--ServerApp.root_dir={self.root}",
            "--LabApp.expose_app_in_browser=True",
            "--JupyterNotebookApp.expose_app_in_browser=True",
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
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # Threads of anyio that Jupyter Server uses end with the connection of the browser
                # that needed them first, and the browser keeps that open.
                self._process.kill()
                self._process.wait()
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
        cells: list[dict[str, Any]] = [
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


def install(folder: Path, requirements: list[str], *above: Path) -> Path:
    """Return the Python of an environment that has the requirements; create it if it is missing.

    Args:
        folder: Where the environment is, or will be.
        requirements: Packages as pip takes them.
        above: Folders of packages that the environment sees too.
    """
    python = folder / "bin" / "python"
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Workers of pytest-xdist share the environments.
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = folder / "installed"
        if not installed.exists() or installed.read_text().split() != requirements:
            venv.create(folder, with_pip=True, symlinks=True, clear=True)
            lines = [f"import site; site.addsitedir({str(packages)!r})\n" for packages in above]
            (packages_of(folder) / "above.pth").write_text("".join(lines))
            command = [str(python), "-m", "pip", "install", "--quiet", *requirements]
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
            installed.write_text("\n".join(requirements))
    return python


def packages_of(environment: Path) -> Path:
    """Return the folder of packages of a virtual environment."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return environment / "lib" / version / "site-packages"


def lab_environment(config: pytest.Config, name: str) -> LabEnvironment:
    """Return the environment with this name of `ENVIRONMENTS`.

    JupyterLab is not installed into the environment of the tests: its server extensions would be
    started with each server of the other tests.
    """
    assert config.cache is not None
    folder = Path(config.cache.mkdir("jupyterlab"))
    base, *requirements = ENVIRONMENTS[name]
    above = [Path(sysconfig.get_path("purelib"))]
    lab = folder / (base or name)
    if base:
        lab_environment(config, base)
        above.append(packages_of(lab))
    python = install(folder / name, requirements, *above)
    return LabEnvironment(python, lab / "share" / "jupyter" / "lab")


@pytest.fixture(scope="session")
def newest(request: pytest.FixtureRequest) -> LabEnvironment:
    """The newest JupyterLab, with Notebook 7 next to it."""
    return lab_environment(request.config, "newest")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, newest: LabEnvironment) -> Iterator[Lab]:
    """A JupyterLab whose user may do everything."""
    server = Lab(tmp_path_factory.mktemp("lab"), newest)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium, as the operating system has it."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
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
        problems: The errors that our code raised, and what the console has of it.
    """

    def __init__(self, page: Page, lab: Lab, workspace: str) -> None:
        self.page = page
        self._lab = lab
        self._workspace = workspace
        self.problems: list[str] = []
        page.set_default_timeout(WAIT_SECONDS * 1000)
        page.on("pageerror", self._check_error)
        page.on("console", self._check_console)
        # JupyterLab asks before a page with unsaved changes is left.
        page.on("dialog", lambda dialog: dialog.accept())

    def open(self, *, reset: bool = False) -> None:
        """Load JupyterLab and wait until it has restored its widgets."""
        query = f"token={TOKEN}" + ("&reset" if reset else "")
        self._load(f"lab/workspaces/{self._workspace}?{query}")

    def open_in_notebook_7(self, path: str) -> None:
        """Load a page of Notebook 7 and wait until it has restored its widgets."""
        self._load(f"{path}?token={TOKEN}")

    def open_notebook(self, path: str) -> None:
        """Open a notebook and wait until its toolbar is there."""
        self.page.evaluate(
            "async path => {"
            "  const panel = await window.jupyterapp.commands.execute("
            "    'docmanager:open', { path });"
            "  await panel.context.ready;"
            "  await panel.revealed;"
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

    def fill_input(self, name: str, value: str) -> None:
        """Give an input of the dialog a value, once the dialog has moved the focus into itself."""
        expect(self.dialog.locator(":focus")).to_have_count(1)
        box = self.dialog.get_by_label(f"Value of {name}")
        box.fill(value)
        expect(box).to_have_value(value)

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

    def _load(self, path: str) -> None:
        self.page.goto(self._lab.url + path)
        self.page.wait_for_function("window.jupyterapp")
        self.page.evaluate("async () => { await window.jupyterapp.restored }")

    def _check_error(self, error: Error) -> None:
        """Keep errors that our code raised and did not catch."""
        if "jupyter-exec-ext" in (error.stack or ""):
            self.problems.append(f"{error.message}\n{error.stack}")

    def _check_console(self, message: ConsoleMessage) -> None:
        """Keep errors and warnings of our code, of our requests, and about our packages."""
        where = message.location["url"]
        is_ours = "jupyter-exec-ext" in message.text + where or "/exec/" in where
        # On a busy machine JupyterLab reports plugins that were slow to activate.
        is_slowness = "to activate" in message.text
        if is_ours and not is_slowness and message.type in ("error", "warning"):
            self.problems.append(f"{message.text} ({where})")


@pytest.fixture
def open_page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[OpenPage]:
    """Return what opens a page of its own, in an empty workspace; its problems fail the test."""
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
