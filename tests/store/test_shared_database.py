"""A database that the servers of several users share, one of whom is an attacker."""

import asyncio
import json
import re
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from jupyter_server.serverapp import ServerApp
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from jupyter_exec_ext.app import ExecApp
from jupyter_exec_ext.core.models import CodeSource, Execution
from jupyter_exec_ext.store.postgresql import take_parameters
from jupyter_exec_ext.store.signing import Signer, new_key
from jupyter_exec_ext.store.store import Store
from tests.conftest import ExecApi

from .builders import connected, gone_process, new_execution, new_instance
from .conftest import NewStore, Postgresql

KEY = new_key()
PASSWORD = "not-for-kernels"
OPERATORS_PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


@pytest.fixture
def exec_config(postgresql: Postgresql, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A database whose password and signing key come from the environment, as in a hub."""
    database = make_url(postgresql.new_database()).database
    variables = {
        "PGHOST": str(postgresql.folder),
        "PGUSER": "tester",
        "PGPASSWORD": PASSWORD,
        "JUPYTER_EXEC_SIGNING_KEY": KEY,
        "EXEC_DATABASE": f"postgresql:///{database}",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return {"db_url": variables["EXEC_DATABASE"], "server_id": "victim"}


SHOW = "import json, os\njson.dumps(dict(os.environ))"


def check(shown: str) -> None:
    """Raise if *shown*, an environment, opens the database."""
    assert "PATH" in shown
    for secret in ("PGHOST", "PGUSER", "PGPASSWORD", PASSWORD, KEY, "EXEC_DATABASE"):
        assert secret not in shown


async def test_no_kernel_gets_what_opens_the_database(
    exec_api: ExecApi, jp_serverapp: ServerApp
) -> None:
    """Neither one of ours nor of JupyterLab, nor a command, nor after an input of that name."""
    own = await exec_api.run_code(SHOW)
    command = {"command": {"exec": "env"}}
    ran = await exec_api.request("POST", "executions", params={"wait": 60}, json=command)
    kernel_id = await jp_serverapp.kernel_manager.start_kernel()
    attached = await exec_api.new_session(kernel_id=kernel_id)
    at_lab = await exec_api.run_code(SHOW, session_id=attached["id"])
    with_input = await exec_api.run_code(
        "print(os.environ['PGPASSWORD'])",
        session_id=attached["id"],
        inputs={"PGPASSWORD": "of the notebook"},
    )
    after_input = await exec_api.run_code(SHOW, session_id=attached["id"])

    for record in (own, at_lab, after_input):
        assert record["state"] == "succeeded", record
        check(json.dumps(record["result"]["value"]))
    assert with_input["result"]["stdout"] == "of the notebook\n"
    check(ran.json["result"]["stdout"])


def pending(path: Path) -> Execution:
    """Return an execution that waits and then writes a file."""
    code = f"open({str(path)!r}, 'w').close()"
    return new_execution(
        type="code",
        source=CodeSource(code=code),
        session_id=str(uuid.uuid4()),
        created_time=datetime.now(UTC),
    )


async def test_a_row_of_another_user_never_runs(
    exec_app: ExecApp,
    exec_api: ExecApi,
    postgresql: Postgresql,
    new_store: NewStore,
    tmp_path: Path,
) -> None:
    """What the server accepted itself is resumed; what the attacker wrote fails with the reason."""
    database = make_url(exec_app.db_url).database or ""
    pid, start = gone_process()

    async def store_of(key: str) -> Store:
        instance = await asyncio.to_thread(
            new_instance, "victim", pid=pid, process_start_time=start
        )
        return new_store(postgresql.url(database), instance, signer=Signer([key]))

    own, forged = pending(tmp_path / "own"), pending(tmp_path / "forged")
    await (await store_of(KEY)).insert(own, notebook=None)
    await (await store_of(new_key())).insert(forged, notebook=None)

    await exec_app.upkeep.recover()

    resumed = await exec_api.final({"id": own.id})
    refused = await exec_app.store.get(forged.id)
    assert resumed["state"] == "succeeded"
    assert (tmp_path / "own").exists()
    assert refused.error is not None
    assert refused.error.code == "ServerRestarted"
    assert "signature" in refused.error.message
    assert not (tmp_path / "forged").exists()


def test_only_what_opens_the_database_is_taken_out() -> None:
    """Other variables stay, and with another kind of store those of PostgreSQL do too."""
    url = "postgresql://exec:pass%20word@db.example:5433/exec"
    environment = {
        "PGSSLMODE": "require",
        "SAME": url,
        "WORD": "pass word",
        "DRIVER": url.replace("postgresql", "postgres"),
        "WITH_PASSWORD": "postgres://other:pass%20word@elsewhere/x",
        "OTHER": "postgresql://exec:another@db.example/exec",
        "PATH": "/usr/bin",
        "LINK": "https://example.org/pass%20word",
    }
    kept = {"OTHER", "PATH", "LINK"}

    untouched = dict(environment)
    assert take_parameters("sqlite:////data/executions.sqlite", untouched) == {}
    assert take_parameters("", untouched) == {}
    assert untouched == environment
    taken = dict(environment)
    take_parameters(url, taken)
    assert taken.keys() == kept


def test_the_parameters_are_those_of_libpq(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They come from the variables and from the service file; the URL has the last word."""
    service_file = tmp_path / "services"
    service_file.write_text("[mine]\nhost=db.example\nport=5433\n")
    environment = {"PGSERVICE": "mine", "PGSERVICEFILE": str(service_file), "PGPASSWORD": PASSWORD}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    parameters = take_parameters("postgresql:///exec", environment)

    assert environment == {}
    expected = {"host": "db.example", "port": "5433", "password": PASSWORD}
    assert parameters.items() >= expected.items()
    assert "service" not in parameters


def recipe(user: str) -> list[str]:
    """Return the statements of the operators' page for a role and schema per user."""
    page = OPERATORS_PAGE.read_text()
    (block,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    return [
        statement
        for statement in block.replace('"ada"', f'"{user}"').split(";")
        if statement.strip()
    ]


async def test_with_a_role_and_schema_each_nobody_reaches_the_others_rows(
    postgresql: Postgresql, new_store: NewStore
) -> None:
    """The recipe of the operators' page: each server works, and sees its own tables only."""
    url = postgresql.new_database()
    database = make_url(url).database or ""
    urls = {}
    for user in ("ada", "bob"):
        role = f"{user}_{database}"
        with connected(url) as connection:
            for statement in recipe(role):
                connection.execute(text(statement.replace("exec_db", database)))
        urls[role] = url.replace("tester:", f"{role}:")
    stores = {role: new_store(its_url) for role, its_url in urls.items()}
    for store in stores.values():
        execution = new_execution()
        await store.insert(execution, notebook=b"cells")
        assert await store.get(execution.id) == execution

    ada, bob = urls
    for statement in (
        f'SELECT record FROM "{ada}".exec_executions',
        f'DELETE FROM "{ada}".exec_events',
        f'UPDATE "{ada}".exec_leases SET pid = 1',
        "CREATE TABLE public.exec_executions (id TEXT)",
    ):
        with connected(urls[bob]) as connection, pytest.raises(DBAPIError) as caught:
            connection.execute(text(statement))
        assert isinstance(caught.value.orig, psycopg.errors.InsufficientPrivilege), statement
