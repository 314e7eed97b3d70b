"""Julia, which no test machine has, in its shape only."""

import base64
import json
import re

from jupyter_exec_ext.core.models import Variable
from jupyter_exec_ext.engine.languages import Reply, language_of


def test_julia_requests_carry_fixed_code_and_data_in_base64() -> None:
    """Julia cannot run here: the code around the data is checked by shape, never executed."""
    language = language_of("julia")
    assert language is not None
    reading = language.read_variables(["x", "a b"], max_bytes=77)

    requests = (
        language.set_environment({"NAME": "value", "OUT": None}),
        language.restore_environment(),
        reading.request,
    )

    for request in requests:
        assert request.silent
        sources = re.findall(r'base64decode, "([A-Za-z0-9+/=]+)"\)', request.code)
        assert len(sources) == 1
        source = base64.b64decode(sources[0]).decode()
        assert source.rstrip().endswith("\nmain")
        ends = len(re.findall(r"^ *end$", source, re.MULTILINE)) + len(
            re.findall(r"<: Exception end", source)
        )
        opened = re.findall(
            r"^ *(?:function|for|if|struct|let|entry = try|symbol = try|text = try|try)\b"
            r"|\bdo (?:item|\(key)",
            source,
            re.MULTILINE,
        )
        assert ends == len(opened)
    assert base64.b64encode(b"NAME").decode() in requests[0].code
    assert f'("{base64.b64encode(b"OUT").decode()}", Base.nothing)' in requests[0].code
    assert base64.b64encode(b"a b").decode() in reading.request.code
    assert ", 77," in reading.request.code


def test_a_julia_reading_comes_as_display_data() -> None:
    language = language_of("julia")
    assert language is not None
    reading = language.read_variables(["x", "y"], max_bytes=100)
    marker = re.search(r"jupyter-exec-[0-9a-f]{32}", reading.request.code)
    assert marker is not None
    entries = [{"type": "Int64", "json": "5"}, {"problem": "missing"}]
    text = f"{marker.group()} {base64.b64encode(json.dumps(entries).encode()).decode()}"

    variables = reading.parse(
        Reply(display_data=[{"text/plain": "other"}, {"text/vnd.jupyter-exec-reading": text}])
    )

    assert variables == {
        "x": Variable(type="Int64", json_text="5"),
        "y": Variable(error="no variable of this name"),
    }
