"""What the service's REST clients do, and the example of the docs, against a real server."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dialects.datasphere.rest_client import TRIES, RestClient
from tests.process.conftest import ServerProcess, start_server

__all__ = ["start_server"]

pytestmark = pytest.mark.client

PROJECT = Path(__file__).parents[3]
DOCS = PROJECT / "docs" / "dialects" / "datasphere.md"
PROJECTS = (
    "--DataSphere.projects=default=",
    "--DataSphere.projects=reports=team/reports",
)
DAILY = "import os\ngreeting = 'Hello, ' + os.environ['NAME']"
TOTAL = "total = int(os.environ['DAYS']) - 1\nprint(greeting)"


def start_with_reports(start: Callable[..., ServerProcess]) -> ServerProcess:
    server = start(*PROJECTS, "--debug")
    (server.root / "team" / "reports").mkdir(parents=True)
    server.write_notebook("team/reports/daily.ipynb", DAILY, TOTAL)
    server.write_notebook("team/reports/bad.ipynb", "raise ValueError('no')")
    server.write_notebook("team/reports/slow.ipynb", "import time\ntime.sleep(100)")
    return server


def test_a_rest_client_does_all_that_it_does(start_server: Callable[..., ServerProcess]) -> None:
    """Projects, metadata, a run and one of a cell, values, failures, cancelling."""
    server = start_with_reports(start_server)
    client = RestClient(f"{server.url}exec", server.token)

    projects = client.projects()
    project = projects["reports"]
    metadata = client.notebook(project, "daily.ipynb")
    inputs = {"NAME": "Ada", "DAYS": 7}
    notebook = metadata["notebookId"]
    done = client.execute(project, inputs, ["greeting", "total"], notebookId=notebook)
    cell = metadata["cellIds"][0]
    of_cell = client.execute(project, inputs, ["greeting", "total"], cellId=cell)
    state = client.state(project, notebook, ["total"])
    with pytest.raises(ValueError, match="ValueError: no"):
        client.execute(project, {}, [], notebookId="bad.ipynb")
    _, slow = client.start(project, {"notebookId": "slow.ipynb"})
    cancelling = client.cancel(slow["id"])
    deadline = time.monotonic() + 60
    while not client.status(slow["id"])["done"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    sent = client.requests
    refused = client.start(project, {"notebookId": "none.ipynb"})

    assert projects == {"default": "default", "reports": "reports"}
    assert done["response"]["outputVariables"] == {"greeting": "Hello, Ada", "total": 6}
    assert of_cell["response"]["outputVariables"] == {"greeting": "Hello, Ada"}
    assert state == {"total": 6}
    assert cancelling["id"] == slow["id"]
    assert client.status(slow["id"])["error"]["code"] == 1
    assert (refused, client.requests - sent) == ((500, {}), TRIES)
    listed = server.http.get("executions", params={"label": "dialect=datasphere"}).json()
    assert len(listed["executions"]) == 4
    assert "DEBUG" in server.log or "[D " in server.log
    for secret in (server.token, "Hello", "Ada"):
        assert secret not in server.log


@pytest.mark.parametrize(
    ("species", "code", "told"),
    [("Adelie", 0, "{'mean_mass': 3963.4210526315787}\n"), ("Emperor", 1, "ValueError")],
)
def test_the_example_of_the_docs_runs(
    start_server: Callable[..., ServerProcess], species: str, code: int, told: str
) -> None:
    """As it stands there, as a program of its own; it tells of a notebook that failed."""
    server = start_server()
    shutil.copytree(PROJECT / "examples", server.root / "examples")
    (snippet,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    variables = {"JUPYTER_URL": server.url.rstrip("/"), "JUPYTER_TOKEN": server.token}

    run = subprocess.run(
        [sys.executable, "-c", snippet.replace("Adelie", species)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert run.returncode == code, run.stderr
    assert told in run.stdout + run.stderr
