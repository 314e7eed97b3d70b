"""The README's examples of other services' clients are those of the docs, which run in tests."""

import re
from pathlib import Path

PROJECT = Path(__file__).parents[2]
_PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_examples_are_those_that_are_run() -> None:
    """Word by word."""
    shown = _PYTHON.findall((PROJECT / "README.md").read_text())

    run = [
        _PYTHON.findall((PROJECT / "docs" / "dialects" / f"{name}.md").read_text())[0]
        for name in ("azure", "datasphere", "qinling", "backendai")
    ]
    assert shown == run
