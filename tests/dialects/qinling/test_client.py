"""Qinling's public client and its commands against a server process, and what the docs say."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_exec_ext.dialects.qinling.wire import function_id_of, runtime_id_of
from tests.dialects.clients import client_python
from tests.dialects.qinling.conftest import GREETING, notebook_text, package_of
from tests.process.conftest import ServerProcess

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parents[3]
DOCS = PROJECT / "docs" / "dialects" / "qinling.md"
REQUIREMENTS = ("python-qinlingclient==5.1.1", "python-openstackclient>=7,<11")

PYTHON_CLIENT = """
import json, os, sys, time
from keystoneauth1 import noauth, session, token_endpoint
from qinlingclient import client
from qinlingclient.common import exceptions

endpoint, token = os.environ["JUPYTER_URL"] + "/exec/qinling", os.environ["JUPYTER_TOKEN"]
kind = sys.argv[1]
if kind in ("session", "own-header"):
    endpoint = endpoint.replace("%", "%%")
if kind == "token":
    qinling = client.Client("1", endpoint, token=token)
elif kind == "slash":
    qinling = client.Client("1", endpoint + "/", token=token)
elif kind == "session":
    auth = token_endpoint.Token(endpoint, token)
    qinling = client.Client(
        "1", endpoint, session=session.Session(auth=auth), service_type="function-engine"
    )
else:
    auth = noauth.NoAuth(endpoint=endpoint)
    headers = {"Authorization": "token " + token}
    qinling = client.Client(
        "1", endpoint, session=session.Session(auth=auth, additional_headers=headers),
        service_type="function-engine",
    )
runs, told = qinling.function_executions, {}

def fault(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except exceptions.HTTPException as error:
        return [type(error).__name__, str(error)]

done = runs.create("hello.ipynb", input='{"name": "Bob"}')
told["done"] = [done.status, json.loads(done.result)["output"], done.input, done.description]
told["log"] = runs.get_log(done.id)
told["same"] = runs.get(done.id).to_dict() == done.to_dict()
told["listed"] = done.id in [run.id for run in runs.list(status="eq:success")]
failed = runs.create("fails.ipynb")
told["failed"] = [failed.status, json.loads(failed.result)["output"]]
later = runs.create("hello.ipynb", sync=False, input='{"name": "Eve"}')
told["later"] = later.status
while runs.get(later.id).status == "running":
    time.sleep(0.1)
told["later_done"] = json.loads(runs.get(later.id).result)["output"]
runs.delete(done.id)
told["gone"] = fault(runs.get, done.id)
told["missing"] = fault(runs.create, "11111111-2222-4333-8444-555555555555")
told["alias"] = fault(runs.create, function_alias="a", function_version=None)
told["jobs"] = fault(qinling.jobs.list)
told["webhooks"] = fault(qinling.webhooks.list)
told["filter"] = fault(runs.list, limit=1)
told["runtimes"] = [runtime.name for runtime in qinling.runtimes.list()]
told["pool"] = fault(qinling.runtimes.get_pool, qinling.runtimes.list()[0].id)
told["versions"] = qinling.function_versions.list(later.function_id)
told["version"] = fault(qinling.function_versions.get, later.function_id, 1)
aliases = qinling.function_aliases
told["aliases"] = aliases.list()
alias = aliases.create("live", later.function_id)
told["twice"] = fault(aliases.create, "live", later.function_id)
told["listed_alias"] = [found.name for found in aliases.list()]
aliased = runs.create(function_alias="live", function_version=None, input='{"name": "Al"}')
told["aliased"] = [
    aliased.function_alias, aliased.function_id == later.function_id, aliased.function_version,
    json.loads(aliased.result)["output"],
]
told["used"] = fault(qinling.functions.delete, later.function_id)
told["said"] = aliases.update("live", description="in use").description
told["moved"] = aliases.update("live", function_id=failed.function_id).function_id
told["shown_alias"] = aliases.get("live").function_id == failed.function_id
aliases.delete("live")
told["no_alias"] = fault(aliases.get, "live")

name = "made-" + kind + ".ipynb"
with open(os.environ["PACKAGE"], "rb") as package:
    made = qinling.functions.create(
        {"source": "package"}, runtime=qinling.runtimes.find(name="python3").id, package=package,
        name=name, timeout=20,
    )
told["made"] = [made.name, made.timeout, qinling.functions.find(name=name).id == made.id]
told["output"] = json.loads(runs.create(made.id).result)["output"]
with open(os.environ["MODULE"], "rb") as package:
    module = qinling.functions.create(
        {"source": "package"}, runtime=qinling.runtimes.find(name="python3").id, package=package,
        name="module", entry="hello.greet",
    )
run = runs.create(module.id, input='{"who": "Zoë"}')
told["module"] = [module.name, module.entry, json.loads(run.result)["output"]]
changed = qinling.functions.update(made.id, description="new")
told["changed"] = [changed.description, changed.timeout, changed.count]
told["zip"] = qinling.functions.get(made.id, download=True).content[:2].decode()
told["updated"] = qinling.functions.get(made.id).description
qinling.functions.delete(made.id)
told["no_function"] = fault(qinling.functions.get, made.id)
if kind in ("token", "slash"):
    told["refused"] = fault(client.Client("1", endpoint, token="wrong").functions.list)
print(json.dumps(told))
"""


class Clients:
    """The clients in their environment, and the server that they talk to."""

    def __init__(self, python: Path, server: ServerProcess, home: Path) -> None:
        self.server = server
        self.python = python
        package = home / "package.zip"
        package.write_bytes(package_of(any__ipynb=notebook_text("6 * 7")))
        self.module = home / "hello.py"
        self.module.write_text("def greet(who):\n    return 'Hello, ' + who\n")
        module_package = home / "module.zip"
        module_package.write_bytes(package_of(hello__py=self.module.read_bytes()))
        bin_folder = home / "bin"
        bin_folder.mkdir()
        command = bin_folder / "openstack"
        command.write_text(
            f'#!/bin/sh\nexec {shlex.quote(str(python))} -W ignore -m openstackclient.shell "$@"\n'
        )
        command.chmod(0o755)
        self.package = package
        self.environment = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "JUPYTER_URL": server.url.rstrip("/"),
            "JUPYTER_TOKEN": server.token,
            "PACKAGE": str(package),
            "MODULE": str(module_package),
            "TMPDIR": str(home),
        }

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words,
            env={**self.environment, **environment},
            cwd=self.environment["HOME"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def openstack(self, *words: str) -> Any:
        """Return what a command says, as JSON; nothing where it says nothing."""
        done = self.try_openstack(*words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if "-f" in words else done.stdout

    def try_openstack(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return self.run(
            "openstack",
            *words,
            OS_AUTH_TYPE="admin_token",
            OS_ENDPOINT=f"{self.server.url}exec/qinling".replace("%", "%%"),
            OS_TOKEN=self.server.token,
        )


@pytest.fixture
def clients(
    pytestconfig: pytest.Config,
    start_server: Callable[..., ServerProcess],
    tmp_path: Path,
) -> Clients:
    """The clients, and a server with notebooks that greet and that fail."""
    if sys.platform == "win32":
        pytest.skip("the commands are run by a script for /bin/sh")
    python = client_python(pytestconfig, *REQUIREMENTS)
    server = start_server("--log-level=DEBUG")
    server.write_notebook("hello.ipynb", GREETING)
    server.write_notebook("fails.ipynb", "1 / 0")
    home = tmp_path / "client-home"
    home.mkdir()
    return Clients(python, server, home)


@pytest.mark.parametrize("kind", ["token", "slash", "session", "own-header"])
def test_the_python_client_works(clients: Clients, kind: str) -> None:
    """Both of its transports, and with another slash in the endpoint, on the same records."""
    done = clients.run(str(clients.python), "-W", "ignore", "-c", PYTHON_CLIENT, kind)

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    log = told.pop("log")
    if kind in ("session", "own-header"):
        lines = log.splitlines()
        assert lines[0].startswith("Start execution: ")
        assert lines[1] == "Hello"
        assert lines[2].startswith("Finished execution: ")
    else:
        assert log is None
        assert told.pop("refused")[0] == "HTTPUnauthorized"
    hello = function_id_of("hello.ipynb")
    faults = {
        "gone": "HTTPNotFound",
        "missing": "HTTPNotFound",
        "alias": "HTTPNotFound",
        "jobs": "HTTPNotImplemented",
        "webhooks": "HTTPNotImplemented",
        "filter": "HTTPBadRequest",
        "pool": "HTTPForbidden",
        "version": "HTTPNotFound",
        "no_function": "HTTPNotFound",
        "twice": "HTTPBadRequest",
        "used": "HTTPForbidden",
        "no_alias": "HTTPNotFound",
    }
    said = {name: told.pop(name) for name in faults}
    assert {name: fault[0] for name, fault in said.items()} == faults
    assert "FunctionAlias not found [name=a]" in said["alias"][1]
    assert f"FunctionVersion not found [function_id={hello}" in said["version"][1]
    assert "Duplicate entry for FunctionAlias" in said["twice"][1]
    assert 'Unknown argument: "limit"' in said["filter"][1]
    assert "python3" in told.pop("runtimes")
    assert told == {
        "done": ["success", "Hello, Bob", '{"name": "Bob"}', None],
        "same": True,
        "listed": True,
        "failed": ["failed", "ZeroDivisionError: division by zero"],
        "later": "running",
        "later_done": "Hello, Eve",
        "versions": [],
        "aliases": [],
        "listed_alias": ["live"],
        "aliased": ["live", True, 0, "Hello, Al"],
        "said": "in use",
        "moved": function_id_of("fails.ipynb"),
        "shown_alias": True,
        "module": ["module", "hello.greet", "Hello, Zoë"],
        "made": [f"made-{kind}.ipynb", 20, True],
        "output": 42,
        "changed": ["new", 20, 1],
        "zip": "PK",
        "updated": "new",
    }
    records = clients.server.http.get("executions").json()["executions"]
    assert len(records) == 5
    assert {record["labels"]["dialect"] for record in records} == {"qinling"}
    assert clients.server.token not in clients.server.log
    assert "Traceback" not in clients.server.log


def test_the_commands_work(clients: Clients, tmp_path: Path) -> None:
    """`openstack function …`, with names that the client looks up by itself."""
    run = clients.openstack
    given = ("--input", '{"name": "Bob"}', "-f", "json")
    execution = ("function", "execution")

    created = run(*execution, "create", "--function", "hello.ipynb", *given)
    key = created["id"]
    by_id = run(*execution, "create", "--function", function_id_of("hello.ipynb"), *given)
    shown = run(*execution, "show", key, "-f", "json")
    log = run(*execution, "log", "show", key)
    listed = run(*execution, "list", "--filter", "status=has:succ", "-f", "json")
    functions = run("function", "list", "-f", "json")
    runtimes = run("runtime", "list", "-f", "json")
    package = ("--package", str(clients.package))
    made = run(
        "function", "create", "--name", "new.ipynb", "--runtime", "python3", *package, "-f", "json"
    )
    made_run = run(*execution, "create", "--function", "new.ipynb", "-f", "json")
    updated = run("function", "update", "new.ipynb", "--description", "d", "-f", "json")
    clients.openstack("function", "download", "new.ipynb", "-o", str(tmp_path / "down.zip"))
    deleted = clients.try_openstack("function", "delete", "new.ipynb")
    failed = clients.try_openstack(*execution, "delete", "--execution", key, key, by_id["id"])
    cleared = clients.try_openstack(*execution, "delete", "--function", function_id_of("new.ipynb"))
    missing = clients.try_openstack(*execution, "create", "--function", "no.ipynb")
    jobs = clients.try_openstack("job", "list")
    python = ("--runtime", "python3", "--entry", "hello.greet", "--file", str(clients.module))
    run("function", "create", "--name", "greet", *python)
    greeting = run(
        *execution, "create", "--function", "greet", "--input", '{"who": "Bob"}', "-f", "json"
    )
    greet = run("function", "show", "greet", "-f", "json")
    alias = ("function", "alias")
    run(*alias, "create", "live", "--function", "hello.ipynb", "--description", "old")
    aliased = run(*execution, "create", "--function-alias", "live", *given)
    moved = run(*alias, "update", "live", "--function", "greet", "-f", "json")
    aliases = run(*alias, "list", "-f", "json")
    kept = clients.try_openstack("function", "delete", "greet")
    by_alias = run(*alias, "show", "live", "-f", "json")
    run(*alias, "delete", "live")
    no_alias = clients.try_openstack(*alias, "show", "live")
    runtime = run("runtime", "show", "python3", "-f", "json")

    assert (created["status"], json.loads(created["result"])["output"]) == ("success", "Hello, Bob")
    assert shown == created
    assert log.splitlines()[1] == "Hello"
    assert {row["Id"] for row in listed} == {key, by_id["id"]}
    assert {row["Name"] for row in functions} == {"hello.ipynb", "fails.ipynb"}
    assert {row["Id"] for row in runtimes if row["Name"] == "python3"} == {runtime_id_of("python3")}
    assert (made["name"], made["timeout"]) == ("new.ipynb", 5)
    assert json.loads(made_run["result"])["output"] == 42
    assert updated["description"] == "d"
    package_md5 = hashlib.md5((tmp_path / "down.zip").read_bytes()).hexdigest()
    assert package_md5 in str(updated["code"])
    assert (deleted.returncode, failed.returncode, cleared.returncode) == (0, 1, 0)
    assert missing.returncode != 0
    assert "This server has no such resource." in jobs.stderr
    assert (greet["name"], greet["entry"], greet["count"]) == ("greet", "hello.greet", 1)
    assert json.loads(greeting["result"])["output"] == "Hello, Bob"
    assert (aliased["function_alias"], aliased["status"]) == ("live", "success")
    assert aliased["function_id"] == function_id_of("hello.ipynb")
    assert (moved["function_id"], moved["description"]) == (greet["id"], "old")
    assert [row["Name"] for row in aliases] == ["live"]
    assert by_alias == moved
    assert "associated with function alias" in kept.stderr + kept.stdout
    assert "FunctionAlias not found [name=live]" in no_alias.stderr
    assert runtime["id"] == runtime_id_of("python3")
    left = clients.server.http.get("executions").json()["executions"]
    assert {record["id"] for record in left} == {greeting["id"], aliased["id"]}


def test_the_snippets_of_the_docs_work(clients: Clients) -> None:
    """As they stand there."""
    text = DOCS.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (commands,) = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)

    shutil.copytree(PROJECT / "examples", clients.server.root / "examples")

    python = clients.run(str(clients.python), "-W", "ignore", "-c", code)
    formatted = clients.server.url.rstrip("/").replace("%", "%%")
    shell = clients.run("/bin/sh", "-ec", commands, JUPYTER_URL=formatted)

    assert python.stdout.startswith("success "), python.stderr
    assert "Torgersen" in python.stdout
    assert shell.returncode == 0, shell.stderr
    assert "Biscoe" in shell.stdout
    assert "examples/penguins.ipynb" in shell.stdout
