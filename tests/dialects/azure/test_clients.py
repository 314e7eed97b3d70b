"""The service's public Python client against a server process, and what the docs say of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.dialects.clients import client_python
from tests.process.conftest import ServerProcess

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]

DOCS = Path(__file__).parents[3] / "docs" / "dialects" / "azure.md"
NO_BUBBLEWRAP = "bubblewrap does not work here: apt-get install bubblewrap"

PYTHON_CLIENT = """
import io, json, os, time
import requests
from langchain_azure_dynamic_sessions import SessionsPythonREPLTool

endpoint = os.environ["JUPYTER_URL"] + "/exec/azure"
def tool_of(token):
    return SessionsPythonREPLTool(
        pool_management_endpoint=endpoint, access_token_provider=lambda: token, session_id="chat-1"
    )

tool = tool_of(os.environ["JUPYTER_TOKEN"])
told = {}
told["execute"] = tool.execute("x = 20; print('hi'); x + 1")
told["state"] = json.loads(tool.invoke("x * 2"))
told["error"] = tool.execute("1/0")
told["picture"] = tool.execute(
    "import matplotlib.pyplot as plt\\nplt.plot([1, 2])\\nplt.show()"
)["result"]
told["without_data"] = json.loads(tool.invoke("plt.plot([1, 2]); plt.show()"))["result"]
up = tool.upload_file(data=io.BytesIO(b"a,b\\n1,2\\n"), remote_file_path="in put/ä.csv")
told["upload"] = [up.filename, up.size_in_bytes, up.full_path]
told["read"] = tool.execute("open('/mnt/data/in put/ä.csv').read()")["result"]
tool.execute("open('/mnt/data/made.txt', 'w').write('made')")
told["list"] = [[file.filename, file.size_in_bytes] for file in tool.list_files()]
told["download"] = tool.download_file(remote_file_path="made.txt").read().decode()
told["download_too"] = tool.download_file(remote_file_path="in put/ä.csv").read().decode()
try:
    tool_of("wrong").execute("1")
except requests.HTTPError as error:
    told["refused"] = error.response.status_code
tool.delete_session()
query = {"identifier": "chat-1", "api-version": "2025-10-02-preview"}
headers = {"Authorization": "Bearer " + os.environ["JUPYTER_TOKEN"]}
deadline = time.monotonic() + 30
while time.monotonic() < deadline:
    told["deleted"] = requests.get(endpoint + "/session", params=query, headers=headers).status_code
    if told["deleted"] == 404:
        break
    time.sleep(0.1)
print("TOLD", json.dumps(told))
"""

BASH_CLIENT = """
import io, json, os
from langchain_azure_dynamic_sessions import SessionsBashTool

tool = SessionsBashTool(
    pool_management_endpoint=os.environ["JUPYTER_URL"] + "/exec/azure/",
    access_token_provider=lambda: os.environ["JUPYTER_TOKEN"],
    session_id="chat-2",
)
told = {}
told["run"] = json.loads(tool.invoke("echo hi; echo oops >&2; pwd > /mnt/data/where"))
told["fails"] = json.loads(tool.invoke("exit 7"))
up = tool.upload_file(data=io.BytesIO(b"1,2"), remote_file_path="a.csv")
told["upload"] = [up.filename, up.size_in_bytes]
told["read"] = json.loads(tool.invoke("cat /mnt/data/a.csv"))["stdout"]
told["list"] = [[file.filename, file.size_in_bytes] for file in tool.list_files()][:1]
told["download"] = tool.download_file(remote_file_path="a.csv").read().decode()
print("TOLD", json.dumps(told))
"""


@pytest.fixture(scope="module")
def langchain(request: pytest.FixtureRequest) -> Path:
    """The Python that has LangChain's client."""
    return client_python(request.config, "langchain-azure-dynamic-sessions==1.0.4")


@pytest.fixture
def run_client(langchain: Path) -> Callable[[ServerProcess, str], str]:
    """Run a program of the client, and return what it printed."""

    def run(server: ServerProcess, program: str) -> str:
        done = subprocess.run(
            [langchain, "-c", program],
            env={
                **os.environ,
                "JUPYTER_URL": server.url.rstrip("/"),
                "JUPYTER_TOKEN": server.token,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    return run


def told_in(output: str) -> dict[str, Any]:
    """Return what a program told of itself."""
    told: dict[str, Any] = json.loads(output.rpartition("TOLD ")[2])
    return told


def block_of(language: str) -> str:
    """Return the first example of a language in the docs."""
    found = re.search(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_python_tool_works_as_it_is(
    start_server: Callable[..., ServerProcess], run_client: Callable[..., str]
) -> None:
    """Runs, state, errors, pictures, files in both directions, a wrong token, the end."""
    server = start_server("--debug")

    told = told_in(run_client(server, PYTHON_CLIENT))

    ran = told["execute"]
    assert (ran["status"], ran["result"], ran["stdout"], ran["stderr"]) == (
        "Success",
        21,
        "hi\n",
        "",
    )
    assert told["state"] == {"result": 40, "stdout": "", "stderr": ""}
    assert told["error"]["status"] == "Failure"
    assert "ZeroDivisionError: division by zero" in told["error"]["stderr"]
    assert told["picture"]["base64_data"].startswith("iVBORw0KGgo")
    assert told["without_data"] == {"type": "image", "format": "png"}
    assert told["upload"] == ["in put/ä.csv", 8, "/mnt/data/in put/ä.csv"]
    assert told["read"] == repr("a,b\n1,2\n")
    assert told["list"] == [["in put/ä.csv", 8], ["made.txt", 4]]
    assert (told["download"], told["download_too"]) == ("made", "a,b\n1,2\n")
    assert (told["refused"], told["deleted"]) == (401, 404)
    assert "exec/azure/code/execute" in server.log
    assert server.token not in server.log.replace(f"?token={server.token}", "")
    assert "ZeroDivision" not in server.log


def test_the_bash_tool_works_as_it_is(
    start_server: Callable[..., ServerProcess], run_client: Callable[..., str]
) -> None:
    """Commands with their exit codes, and files."""
    server = start_server()

    told = told_in(run_client(server, BASH_CLIENT))

    assert told["run"] == {"stdout": "hi\n", "stderr": "oops\n", "exitCode": 0}
    assert told["fails"] == {"stdout": "", "stderr": "", "exitCode": 7}
    assert told["upload"] == ["a.csv", 3]
    assert told["list"] == [["a.csv", 3]]
    assert (told["read"], told["download"]) == ("1,2", "1,2")


def test_the_example_of_the_docs_runs(
    start_server: Callable[..., ServerProcess], run_client: Callable[..., str]
) -> None:
    """As it stands there."""
    assert '"result": 42' in run_client(start_server(), block_of("python"))


def test_the_kernelspec_of_the_docs_mounts_the_folder(
    start_server: Callable[..., ServerProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path that code puts together works, each session has its own, and can be stopped."""
    bubblewrap = shutil.which("bwrap")
    if (
        bubblewrap is None
        or subprocess.run(
            [bubblewrap, "--dev-bind", "/", "/", "--tmpfs", "/mnt", "true"], check=False
        ).returncode
    ):
        pytest.skip(NO_BUBBLEWRAP)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    kernel = tmp_path / "home" / "data" / "kernels" / "mnt-data"
    kernel.mkdir(parents=True)
    (kernel / "kernel.json").write_text(block_of("json"))
    server = start_server(
        "--AzureDialect.kernel_name=mnt-data", "--AzureDialect.translates_paths=False"
    )

    def run(identifier: str, **body: Any) -> dict[str, Any]:
        shape = (
            {}
            if "shellCommand" in body
            else {"codeInputType": "Inline", "executionType": "Synchronous"}
        )
        answer = server.http.post(
            "azure/executions",
            params={"api-version": "2025-02-02-preview", "identifier": identifier},
            json={**shape, **body},
        )
        assert answer.status_code == httpx.codes.OK, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    write = "import os; path = '/mnt' + '/data/a'; open(path, 'w').write('x'); os.getcwd()"
    written = run("one", code=write)
    other = run("two", code="import os; os.listdir('/mnt' + '/data')")
    stopped = run("one", code="import time\nwhile True: time.sleep(0.05)", timeoutInSeconds=1)
    shell = run("one", shellCommand='ls "/mnt"/data')

    assert written["result"]["executionResult"] == "'/mnt/data'"
    assert other["result"]["executionResult"] == []
    assert stopped["status"] == "Failed"
    assert run("one", code="path")["result"]["executionResult"] == "'/mnt/data/a'"
    assert (shell["status"], shell["result"]["stdout"]) == ("0", "a\n")
    assert [file.name for file in server.root.glob("exec-sessions/one-*/*")] == ["a"]
