"""Environments of other services' public clients, made once and kept in pytest's cache."""

import hashlib
import secrets
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

INSTALL_SECONDS = 240


def client_python(config: pytest.Config, *requirements: str) -> Path:
    """Return the Python of an environment that has *requirements*; skip where it cannot be made."""
    assert config.cache is not None
    key = hashlib.sha256("\n".join((sys.version, *requirements)).encode()).hexdigest()[:16]
    folder = Path(config.cache.mkdir("clients")) / key
    python = folder / "bin" / "python"
    if python.exists():
        return python
    # Others may make it at the same time; a move does not hurt its Python.
    unique = folder.with_name(f"{key}-{secrets.token_hex(4)}")
    try:
        venv.create(unique, with_pip=True, symlinks=True)
        done = subprocess.run(
            [unique / "bin" / "python", "-m", "pip", "install", "--quiet", *requirements],
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"{', '.join(requirements)} cannot be installed: {done.stderr[-300:]}")
        if not folder.exists():
            unique.rename(folder)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"{', '.join(requirements)} cannot be installed: {error}")
    finally:
        shutil.rmtree(unique, ignore_errors=True)
    return python
