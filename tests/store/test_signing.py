"""Signatures: what another user of the database has written is told from what this server wrote."""

import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from jupyter_exec_ext.core.errors import UnreadableRowError
from jupyter_exec_ext.core.models import CodeSource, Execution
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.store.migrations import MIGRATIONS, current_version
from jupyter_exec_ext.store.records import encode
from jupyter_exec_ext.store.signing import Signer, keys_in_file, new_key, split_keys
from jupyter_exec_ext.store.store import Store

from .builders import START, connected, gone_process, new_execution, new_instance
from .conftest import NewStore

KEY, OTHER_KEY = new_key(), new_key()


def dead_store(new_store: NewStore, url: str, *keys: str, server_id: str = "server") -> Store:
    """Return a store as a process of the server used it that has ended since."""
    pid, start = gone_process()
    instance = new_instance(server_id, pid=pid, process_start_time=start)
    return new_store(url, instance, signer=Signer(keys or [KEY]))


def change(url: str, table: str, key: str, **values: Any) -> None:
    """Overwrite columns, as any user of the database account can."""
    column = "execution_id" if table == "exec_notebooks" else "id"
    settings = ", ".join(f"{name} = :{name}" for name in values)
    with connected(url) as connection:
        changed = connection.execute(
            text(f"UPDATE {table} SET {settings} WHERE {column} = :key"), {"key": key, **values}
        )
        assert changed.rowcount == 1


async def is_signed(store: Store, execution: Execution) -> bool:
    adopted = await store.adopt(execution.id)
    assert adopted is not None
    return adopted.is_signed


async def test_what_the_server_accepted_is_signed(url: str, new_store: NewStore) -> None:
    """Another process of the same server finds it so, also after a process that took it over."""
    first, second = dead_store(new_store, url), dead_store(new_store, url)
    notebook, code = new_execution(), new_execution(type="code", source=CodeSource(code="1"))
    await first.insert(notebook, notebook=b"cells")
    await first.insert(code, notebook=None)
    last = new_store(url, signer=Signer([KEY]))

    for store in (second, last):
        assert await is_signed(store, notebook)
        assert await is_signed(store, code)
    assert await last.get_notebook(notebook.id, to_run=True) == b"cells"


async def test_what_was_changed_or_moved_is_not_signed(url: str, new_store: NewStore) -> None:
    """Not another record, notebook, owner of the row or server, nor a row without a signature."""
    dead, other_server = dead_store(new_store, url), dead_store(new_store, url, server_id="other")
    execution = new_execution()
    forged: dict[str, tuple[str, dict[str, Any]]] = {
        "record": ("exec_executions", {"record": encode(replace(execution, kernel_name="evil"))}),
        "notebook": ("exec_notebooks", {"source": b"evil"}),
        "instance": ("exec_executions", {"instance_id": "another dead one"}),
        "unsigned": ("exec_executions", {"signature": None}),
        "notebook unsigned": ("exec_notebooks", {"signature": None}),
        "signature": ("exec_executions", {"signature": b"x" * 32}),
    }
    store = new_store(url, signer=Signer([KEY]))

    for kind, (table, values) in forged.items():
        changed = new_execution()
        await dead.insert(changed, notebook=b"cells")
        change(url, table, changed.id, **values)
        assert not await is_signed(store, changed), kind
    moved = new_execution()
    await other_server.insert(moved, notebook=b"cells")
    change(url, "exec_executions", moved.id, server_id="server")
    assert not await is_signed(store, moved)


async def test_a_notebook_that_waits_is_checked_when_it_runs(url: str, new_store: NewStore) -> None:
    """Whoever swaps the notebook of an execution that waits does not make it run."""
    store = new_store(url)
    execution, other = new_execution(), new_execution()
    for stored in (execution, other):
        await store.insert(stored, notebook=stored.id.encode())
    with connected(url) as connection:
        connection.execute(
            text(
                "UPDATE exec_notebooks SET (source, signature) ="
                " (SELECT source, signature FROM exec_notebooks WHERE execution_id = :other)"
                " WHERE execution_id = :id"
            ),
            {"id": execution.id, "other": other.id},
        )

    with pytest.raises(UnreadableRowError, match="not the one that was accepted"):
        await store.get_notebook(execution.id, to_run=True)

    assert await store.get_notebook(execution.id) == other.id.encode()


async def test_keys_can_be_rotated(url: str, new_store: NewStore) -> None:
    """A key that stays behind the new one still verifies; without it nothing does."""
    old, new = dead_store(new_store, url), dead_store(new_store, url, OTHER_KEY)
    by_old, by_new = [new_execution() for _ in range(2)], new_execution()
    for execution in by_old:
        await old.insert(execution, notebook=b"")
    await new.insert(by_new, notebook=b"")

    both = new_store(url, signer=Signer([OTHER_KEY, KEY]))
    assert await is_signed(both, by_old[0])
    assert await is_signed(both, by_new)
    assert not await is_signed(new_store(url, signer=Signer([OTHER_KEY])), by_old[1])


async def test_a_session_that_is_not_signed_has_no_folder_to_remove(
    url: str, new_store: NewStore
) -> None:
    """A forged record could name any folder of the user as one that ends with its session."""
    dead = dead_store(new_store, url)
    session = Session(
        id="own",
        state=SessionState.IDLE,
        kernel_name="python3",
        path="exec-sessions/own",
        has_own_folder=True,
        keep_files=False,
        created_time=START,
        last_activity_time=START,
    )
    await dead.sessions.insert(session)
    await dead.sessions.insert(replace(session, id="forged"))
    change(
        url, "exec_sessions", "forged", record=encode(replace(session, id="forged", path="thesis"))
    )
    store = new_store(url, signer=Signer([KEY]))

    lost = {found.id: found.has_own_folder for found in await store.sessions.lost()}

    assert lost == {"own": True, "forged": False}
    assert not (await store.sessions.get("forged")).has_own_folder


async def test_records_of_an_older_database_are_not_signed(url: str, new_store: NewStore) -> None:
    """The step that adds signatures leaves what is there without one."""
    dead = dead_store(new_store, url)
    execution = new_execution()
    await dead.insert(execution, notebook=b"cells")
    with connected(url) as connection:
        for table in ("exec_executions", "exec_notebooks", "exec_sessions"):
            connection.execute(text(f"ALTER TABLE {table} DROP COLUMN signature"))
        connection.execute(text("UPDATE exec_schema_version SET version = 2"))
    store = new_store(url, signer=Signer([KEY]))

    assert not await is_signed(store, execution)

    with connected(url) as connection:
        assert current_version(connection) == len(MIGRATIONS)


def test_parts_cannot_be_shifted() -> None:
    """What belongs to one column is never taken for the end of the one before it."""
    signer = Signer([KEY])

    signature = signer.sign("execution", "ab", "c")

    assert signer.has_signed(signature, "execution", "ab", b"c")
    for parts in (("a", "bc"), ("ab",), ("abc", ""), ("ab", "c", "")):
        assert not signer.has_signed(signature, "execution", *parts)
    assert not signer.has_signed(signature, "notebook", "ab", "c")


def test_processes_that_make_the_key_at_once_get_the_same(tmp_path: Path) -> None:
    """It is made once, only its owner can read it, and nothing else is left behind."""
    path = tmp_path / "data" / "jupyter_exec_ext" / "signing.key"

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(keys_in_file, [path] * 32))

    assert found == [keys_in_file(path)] * 32
    assert len(found[0][0]) == 64
    assert [entry.name for entry in path.parent.iterdir()] == ["signing.key"]
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)
        keys_in_file(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_without_a_usable_key_is_not_replaced(tmp_path: Path) -> None:
    """It may be what an operator has half written."""
    path = tmp_path / "signing.key"

    for content in ("", "\n", "too-short", f"{KEY} short"):
        path.write_text(content)
        with pytest.raises(ValueError, match="key") as caught:
            keys_in_file(path)
        assert "short" not in str(caught.value).replace("too short", "")
        assert path.read_text() == content
    assert split_keys(f" {KEY}\n{OTHER_KEY}\n") == [KEY, OTHER_KEY]
