"""The front end as it is built and packaged."""

import json
import re
from pathlib import Path
from typing import Any

import jupyter_exec_ext
from jupyter_exec_ext import _version

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "labextension-stub"
BUILT = Path(jupyter_exec_ext.__file__).parent / "labextension"


def manifest() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SOURCES / "package.json").read_text())
    return found


def test_both_packages_have_one_version() -> None:
    assert manifest()["version"] == _version.__version__


def test_each_dependency_is_shared_with_jupyterlab() -> None:
    """JupyterLab brings them all, in the versions that the front end declares."""
    shared = manifest()["jupyterlab"]["sharedPackages"]
    ranges = {name: options["requiredVersion"] for name, options in shared.items()}
    assert ranges == manifest()["dependencies"]
    assert all(options["singleton"] and not options["bundled"] for options in shared.values())


def test_the_lock_file_names_no_registry() -> None:
    assert "://" not in (SOURCES / "yarn.lock").read_text()


def test_the_built_front_end_is_for_production() -> None:
    """A development build has source maps, and paths of the machine that built it."""
    files = [path for path in BUILT.rglob("*") if path.is_file()]
    assert BUILT / "package.json" in files
    assert any(path.name.startswith("remoteEntry.") for path in files)
    assert [path.name for path in files if path.suffix == ".map"] == []
    home = re.escape(str(Path.home()))
    for path in files:
        text = path.read_text("utf-8")
        assert str(ROOT) not in text, path
        assert not re.search(rf"{home}/(?!\s)", text), path


def test_installing_the_project_enables_the_front_end() -> None:
    install = json.loads((SOURCES / "install.json").read_text())
    assert install["packageName"] == "jupyter_exec_ext"
    built = json.loads((BUILT / "package.json").read_text())
    assert built["jupyterlab"]["_build"]["extension"] == "./extension"
