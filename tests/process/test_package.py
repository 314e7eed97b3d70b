"""The source distribution and the wheel, and the front end that they carry."""

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext import _version

ROOT = Path(__file__).parents[2]
FRONT_END = ROOT / "labextension-stub"
BUILT = "jupyter_exec_ext/labextension"
INSTALLED = "share/jupyter/labextensions/jupyter-exec-ext"
BUILD_SECONDS = 240


def build(target: str, project: Path, folder: Path, path: str) -> Path:
    """Build an sdist or a wheel of *project* and return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target]
    subprocess.run(
        [*command, "--directory", str(folder)],
        cwd=project,
        env={**os.environ, "PATH": path},
        check=True,
        timeout=BUILD_SECONDS,
    )
    [built] = folder.glob("*.tar.gz" if target == "sdist" else "*.whl")
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    tools = str(Path(sys.executable).parent)
    archive = build("sdist", ROOT, folder, os.pathsep.join([tools, os.environ["PATH"]]))
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a wheel, built from the source distribution where there is no Node.js."""
    folder = tmp_path_factory.mktemp("wheel")
    tools = tmp_path_factory.mktemp("tools")
    (tools / "jlpm").symlink_to(Path(sys.executable).with_name("jlpm"))
    archive = build("wheel", sdist, folder, str(tools))
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    return folder


def files_below(folder: Path) -> dict[str, Path]:
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FRONT_END / "package.json").read_text())
    return found


def test_the_wheel_installs_the_front_end_where_jupyterlab_looks(wheel: Path) -> None:
    data = wheel / f"jupyter_exec_ext-{_version.__version__}.data" / "data" / INSTALLED

    installed = files_below(data)
    built = json.loads((data / "package.json").read_text())
    assert f"{built['jupyterlab']['_build']['load']}" in installed
    assert "schemas/jupyter-exec-ext/plugin.json" in installed
    assert json.loads((data / "install.json").read_text())["packageName"] == "jupyter_exec_ext"
    assert not (wheel / BUILT).exists()


def test_the_source_distribution_has_the_front_end_built(sdist: Path) -> None:
    """It has the sources too, and nothing that npm installed or a compiler left."""
    names = files_below(sdist)

    assert f"{BUILT}/package.json" in names
    assert {f"labextension-stub/{name}" for name in ("src/index.ts", "yarn.lock")} <= set(names)
    folders = {part for name in names for part in Path(name).parent.parts}
    assert folders.isdisjoint({"node_modules", "lib", ".yarn", "__pycache__"})


def test_packages_have_no_source_map_and_no_path_of_this_machine(sdist: Path, wheel: Path) -> None:
    """A development build of the front end would leave both."""
    paths = re.compile(rf"{re.escape(str(ROOT))}|{re.escape(str(Path.home()))}/(?!\s)")

    for folder in (sdist / BUILT, wheel):
        for name, path in files_below(folder).items():
            assert path.suffix != ".map", name
            if path.suffix in {".js", ".json"}:
                assert not paths.search(path.read_text("utf-8")), name


def test_python_package_and_front_end_have_one_version() -> None:
    assert manifest()["version"] == _version.__version__


def test_each_dependency_is_shared_with_jupyterlab() -> None:
    """JupyterLab brings them all, in the versions that the front end declares."""
    shared = manifest()["jupyterlab"]["sharedPackages"]
    ranges = {name: options["requiredVersion"] for name, options in shared.items()}
    assert ranges == manifest()["dependencies"]
    assert all(options["singleton"] and not options["bundled"] for options in shared.values())


def test_the_lock_file_names_no_registry() -> None:
    assert "://" not in (FRONT_END / "yarn.lock").read_text()
