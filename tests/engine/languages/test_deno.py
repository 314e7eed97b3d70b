"""JavaScript, in Deno's own kernel."""

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.languages.conftest import KernelUnderTest, missing, running
from tests.engine.languages.samples import HARD_NAMES, HARD_VALUES


@pytest.fixture(scope="module")
def deno(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelUnderTest]:
    program = Path(sysconfig.get_path("scripts"), "deno")
    if not program.exists():
        missing("Deno is not installed: pip install deno")
    # As `deno jupyter --install` writes it.
    argv = [str(program), "jupyter", "--kernel", "--conn", "{connection_file}"]
    folder = tmp_path_factory.mktemp("deno")
    with running(folder, "typescript", argv, DENO_DIR=str(folder), DENO_NO_UPDATE_CHECK="1") as it:
        yield it


def test_deno_reads_values(deno: KernelUnderTest) -> None:
    deno.run(
        "var v = [1, 'a', null, {k: [true, -1.5e300]}]; let l = 'é'; const c = 10n ** 30n;"
        "let un; class A { x = 1 }; let a = new A(); let big = 'x'.repeat(2000);"
        "let rich = { [Symbol.for('Jupyter.display')]() { return {'text/html': '<b>'}; } };"
        "const awaited = await Promise.resolve([7]);"
    )

    variables = deno.read("v", "l", "c", "un", "a", "big", "rich", "awaited", max_bytes=1_000)

    assert json.loads(variables["v"].json_text or "") == [1, "a", None, {"k": [True, -1.5e300]}]
    assert (variables["l"].json_text, variables["c"].json_text) == ('"é"', "1" + "0" * 30)
    assert variables["un"].data == {"text/plain": "undefined"}
    assert (variables["a"].type, variables["a"].error) == ("A", None)
    assert variables["big"].error == "larger than 1000 bytes"
    assert variables["rich"].data == {"text/html": "<b>"}
    assert variables["awaited"].json_text == "[7]"


def test_deno_looks_names_up(deno: KernelUnderTest) -> None:
    """None is run."""
    variables = deno.read(*HARD_NAMES, "absent", "globalThis.pwned=1", "pwned")

    assert all(variable.error and not variable.json_text for variable in variables.values())
    assert variables["pwned"].error == variables["absent"].error == "no variable of this name"


def test_deno_sets_and_restores_the_environment(deno: KernelUnderTest) -> None:
    values = {name: value for name, value in HARD_VALUES.items() if name != "LATIN"}

    def environment(*names: str) -> list[str | None]:
        deno.run(f"globalThis.found = {json.dumps(names)}.map(n => Deno.env.get(n) ?? null)")
        (found,) = deno.read_json("found")
        assert isinstance(found, list)
        return found

    deno.set_environment(**values, ABSENT=None)
    during = environment(*values, "ABSENT")
    deno.restore_environment()
    after = environment(*values)

    assert during == [*values.values(), None]
    assert after == [None] * len(values)
