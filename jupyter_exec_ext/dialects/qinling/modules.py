"""Python modules as notebooks: the module is one cell, and the next one calls it."""

import json
import keyword
from typing import Any

from jupyter_exec_ext.core.errors import MalformedRequestError
from jupyter_exec_ext.dialects.qinling.wire import INPUT_VARIABLE, METADATA, OUTPUT_VARIABLE
from jupyter_exec_ext.services.notebook_files import notebook_of
from jupyter_exec_ext.services.notebook_format import Content

DEFAULT_FUNCTION = "main"

_NAMING = """\
# Qinling imports a module, whose name is then not __main__.
import sys

__name__ = {module!r}
sys.modules.setdefault(__name__, sys.modules["__main__"])"""

_CALL = """\
def qinling_call(function):
    import json
    import os

    text = os.environ.get("{input}")
    if not text:
        return function()
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return function(**value) if isinstance(value, dict) else function(text)


{output} = qinling_call({function})
{output}"""


def notebook_of_module(source: str, module: str, entry: str | None) -> Content:
    """Return a notebook that defines *module*, calls a function of it and shows what it returns.

    The function gets the input of the run: a JSON object as keyword arguments, any other text as
    it is, and nothing without one.

    Args:
        entry: ``module.function``; ``None`` for the function ``main``.

    Raises:
        MalformedRequestError: The entry is no function of this module.
    """
    named, _, function = (entry or f"{module}.{DEFAULT_FUNCTION}").rpartition(".")
    if named != module:
        raise MalformedRequestError("The entry names no module of the package.")
    if not function.isidentifier() or keyword.iskeyword(function):
        raise MalformedRequestError("Function entry is <module_name>.<function_name>.")
    words = {
        "module": module,
        "function": function,
        "input": INPUT_VARIABLE,
        "output": OUTPUT_VARIABLE,
    }
    settings = {
        "module": module,
        "entry": f"{module}.{function}",
        "outputs": [OUTPUT_VARIABLE],
    }
    cells = [
        _cell("name", _NAMING.format(**words)),
        _cell("module", source),
        _cell("call", _CALL.format(**words)),
    ]
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {METADATA: settings},
        "cells": cells,
    }
    return notebook_of(json.dumps(notebook))


def _cell(cell_id: str, source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": cell_id,
        "metadata": {},
        "outputs": [],
        "execution_count": None,
        "source": source,
    }
