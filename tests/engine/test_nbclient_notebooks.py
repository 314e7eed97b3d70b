"""The same outputs as nbclient gives for nbclient's own test notebooks.

They come from nbclient's source distribution of the installed version, which is fetched once. As a
program this module runs them with nbclient itself: ``python -m … FOLDER RESULTS``.
"""

import asyncio
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError

from tests.conftest import ExecApi
from tests.engine.test_streams import lab

VERSION = importlib.metadata.version("nbclient")
FETCH_SECONDS = 120
ORACLE_SECONDS = 240
AT_ONCE = 4

SHARED_FOLDER = "NBEXECUTE_TEST_PARALLEL_TMPDIR"
"""Where *Parallel Execute A* and *B*, which only end when they run together, meet."""

INTERRUPTED = "Interrupt.ipynb"
OPTIONS: dict[str, dict[str, Any]] = {INTERRUPTED: {"timeout": 1, "interrupt_on_timeout": True}}
"""What nbclient's own tests run a notebook with."""

OTHERWISE = {
    "Autokill.ipynb": "nbclient raises an error when a kernel dies, here it is in the record",
    "Check History in Memory.ipynb": "nbclient starts kernels without a history, the server does"
    " not, as for JupyterLab",
    "Disable Stdin.ipynb": "code that asks fails at once in nbclient, here somebody can answer",
    INTERRUPTED: "after a time-out nbclient goes on with the next cell, here the run ends",
}
"""The notebooks that are not meant to run as with nbclient, and why; each has a test below."""


# The oracle.


async def run_with_nbclient(path: Path, results: Path, limiter: asyncio.Semaphore) -> None:
    """Run the notebook at *path* and write what became of it to the folder *results*."""
    options = {"timeout": 60, **OPTIONS.get(path.name, {})}
    for attempt in range(3):
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook,
            kernel_name="python3",
            allow_errors=True,
            resources={"metadata": {"path": str(path.parent)}},
            **options,
        )
        async with limiter:
            try:
                await client.async_execute()
                break
            except DeadKernelError:
                notebook.metadata["died"] = True
                break
            except RuntimeError:
                # Somebody else took a port that was chosen for the kernel.
                if attempt == 2:
                    raise
    (results / path.name).write_text(json.dumps(notebook), encoding="utf-8")


async def run_all_with_nbclient(folder: Path, results: Path) -> None:
    limiter = asyncio.Semaphore(AT_ONCE)
    # Sorted, so that those that meet each other run at the same time.
    paths = sorted(folder.glob("*.ipynb"))
    await asyncio.gather(*(run_with_nbclient(path, results, limiter) for path in paths))


# The notebooks.


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything has to run: ``EXEC_REQUIRE_ALL=1``."""
    if os.environ.get("EXEC_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def fetch(target: Path) -> None:
    """Put the test files of nbclient's source distribution in the folder *target*."""
    # A source distribution is built to learn its metadata; what builds it is used where it is.
    has_builder = importlib.util.find_spec("hatchling") is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", "nbclient", "--dest", folder, f"nbclient=={VERSION}"]
        command += ["--no-build-isolation"] if has_builder else []
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=FETCH_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            skip_or_fail(
                f"the source distribution of nbclient {VERSION} cannot be had"
                f" ({type(error).__name__}): pip download --no-binary nbclient nbclient"
            )
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        try:
            next(Path(folder).glob("*/tests/files")).rename(target)
        except OSError:
            # Another process was faster.
            assert target.is_dir()


@pytest.fixture(scope="session")
def notebooks() -> Path:
    """The folder with nbclient's test notebooks, kept from run to run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    target = cache / "jupyter_exec_ext" / f"nbclient-{VERSION}"
    if not target.is_dir():
        fetch(target)
    return target


@pytest.fixture(scope="session")
def by_nbclient(
    notebooks: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """All notebooks as nbclient leaves them, by file name."""
    results = tmp_path_factory.mktemp("by_nbclient")
    subprocess.run(
        [sys.executable, "-m", __name__, str(notebooks), str(results)],
        check=True,
        capture_output=True,
        cwd=Path(__file__).parents[2],
        env={
            **os.environ,
            SHARED_FOLDER: str(tmp_path_factory.mktemp("nbclient_shared")),
            "IPYTHONDIR": str(tmp_path_factory.mktemp("ipython")),
        },
        timeout=ORACLE_SECONDS,
    )
    return {path.name: json.loads(path.read_text("utf-8")) for path in results.iterdir()}


RunHere = Callable[..., Any]


@pytest.fixture
def run_here(exec_api: ExecApi, notebooks: Path, tmp_path: Path) -> RunHere:
    """Run notebooks through the server under test, together, and return their final records."""
    for path in notebooks.iterdir():
        content = path.read_bytes()
        if path.suffix == ".ipynb":
            notebook = json.loads(content)
            # One names no kernelspec but a language, which is not valid: the server refuses that.
            notebook["metadata"].pop("kernelspec", None)
            content = json.dumps(notebook).encode()
        (exec_api.root / path.name).write_bytes(content)
    (tmp_path / "shared").mkdir()

    async def run(*names: str, **fields: Any) -> list[dict[str, Any]]:
        started = [
            await exec_api.start(
                name,
                kernel_name="python3",
                on_error="continue",
                inputs={SHARED_FOLDER: str(tmp_path / "shared")},
                **fields,
            )
            for name in names
        ]
        return [await exec_api.final(record) for record in started]

    return run


# What is compared.

_VARYING = (
    (re.compile(r"0x[0-9a-f]{6,}"), "<address>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "<time>"),
    (re.compile(r"[^\s\"]*ipykernel_\d+[\\/]+\d+\.py"), "<input>"),
    (re.compile(r"\\u001b\[[0-9;]*m"), ""),
)


def comparable(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return outputs, prompt numbers and widgets of *notebook*, without what no two runs share."""
    widgets = notebook["metadata"].get("widgets", {})
    shown: dict[str, Any] = {"widgets": widgets}
    for index, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            shown[f"cell {index}"] = cell["outputs"]
            shown[f"count {index}"] = cell["execution_count"]
    text = json.dumps(shown)
    for number, models in enumerate(map(list, (v["state"] for v in widgets.values()))):
        for place, model_id in enumerate(models):
            text = text.replace(model_id, f"<model {number}.{place}>")
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return merged(json.loads(text))  # type: ignore[no-any-return]


def merged(value: Any) -> Any:
    """Return *value* with neighbouring stream outputs merged into one of each stream.

    The two streams of a kernel are sent by timers of their own: which of two neighbours comes
    first, and how often they alternate, differs from run to run.
    """
    if isinstance(value, dict):
        return {key: merged(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    outputs: list[Any] = []
    for is_text, items in groupby(map(merged, value), is_stream):
        if not is_text:
            outputs += items
            continue
        texts: dict[str, str] = {}
        for item in items:
            texts[item["name"]] = texts.get(item["name"], "") + item["text"]
        outputs += [
            {"output_type": "stream", "name": name, "text": lab(texts[name])}
            for name in sorted(texts)
        ]
    return outputs


def is_stream(output: Any) -> bool:
    return isinstance(output, dict) and output.get("output_type") == "stream"


def outcome_of(record: dict[str, Any]) -> tuple[str, str | None]:
    return record["state"], record.get("error", {}).get("code")


async def test_the_outputs_are_those_that_nbclient_gives(
    exec_api: ExecApi, run_here: RunHere, by_nbclient: dict[str, dict[str, Any]]
) -> None:
    """Cell by cell: outputs, prompt numbers and the widgets' state, of each of its notebooks.

    Display ids, ``clear_output``, Output widgets and cell tags are in them.
    """
    names = sorted(by_nbclient.keys() - OTHERWISE.keys())
    assert len(names) >= 15

    records = await run_here(*names)

    different = {}
    for name, record in zip(names, records, strict=True):
        ours = comparable(await exec_api.notebook(record))
        theirs = comparable(by_nbclient[name])
        if ours != theirs:
            different[name] = {
                key: (ours.get(key), theirs[key]) for key in theirs if ours.get(key) != theirs[key]
            }
        has_error = "raises-exception" not in json.dumps(by_nbclient[name]) and any(
            output["output_type"] == "error"
            for cell in by_nbclient[name]["cells"]
            for output in cell.get("outputs", ())
        )
        expected = ("failed", "CodeError") if has_error else ("succeeded", None)
        assert outcome_of(record) == expected, name
    assert different == {}


async def test_a_kernel_that_ends_itself_is_in_the_record(
    exec_api: ExecApi, run_here: RunHere, by_nbclient: dict[str, dict[str, Any]]
) -> None:
    """nbclient raises an error and leaves no notebook; here both are there."""
    (record,) = await run_here("Autokill.ipynb")

    assert by_nbclient["Autokill.ipynb"]["metadata"]["died"]
    assert outcome_of(record) == ("failed", "KernelDied")
    assert [cell["outputs"] for cell in (await exec_api.notebook(record))["cells"]] == [[]]


async def test_kernels_have_the_history_that_they_have_in_jupyterlab(
    exec_api: ExecApi, run_here: RunHere, by_nbclient: dict[str, dict[str, Any]]
) -> None:
    """nbclient asks kernels for a history in memory; the notebook that checks it fails here."""
    name = "Check History in Memory.ipynb"

    (record,) = await run_here(name)

    assert record["error"]["ename"] == "AssertionError"
    assert record["error"]["cell_index"] == 1
    assert [cell["outputs"] for cell in by_nbclient[name]["cells"]] == [[], []]


async def test_code_that_asks_can_be_answered(exec_api: ExecApi, run_here: RunHere) -> None:
    """nbclient lets no code ask; here it gets what was prepared, and then the end of its input."""
    (answered,) = await run_here("Disable Stdin.ipynb", stdin=["Ada"])
    (ended,) = await run_here("Disable Stdin.ipynb", stdin=[])

    assert outcome_of(answered) == ("succeeded", None)
    assert outcome_of(ended) == ("failed", "InputNotGiven")


async def test_a_cell_that_takes_too_long_ends_the_run(
    exec_api: ExecApi, run_here: RunHere, by_nbclient: dict[str, dict[str, Any]]
) -> None:
    """Both interrupt it, with the same output; nbclient then runs the next cell."""
    (record,) = await run_here(INTERRUPTED, cell_timeout_seconds=1)

    assert outcome_of(record) == ("failed", "Timeout")
    theirs = comparable(by_nbclient[INTERRUPTED])
    ours = comparable(await exec_api.notebook(record))
    assert ours["cell 0"] == theirs["cell 0"]
    assert (ours["cell 1"], theirs["cell 1"][0]["text"]) == ([], "done\n")


if __name__ == "__main__":
    asyncio.run(run_all_with_nbclient(Path(sys.argv[1]), Path(sys.argv[2])))
