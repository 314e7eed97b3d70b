"""What an answer promises holds after the process was killed."""

import subprocess
import sys

from jupyter_exec_ext.store.store import ListQuery

from .conftest import NewStore

WRITER = """
import asyncio, sys
from datetime import UTC, datetime
from jupyter_exec_ext.core.models import Execution, NotebookSource
from jupyter_exec_ext.core.states import State
from jupyter_exec_ext.store.store import Instance, Store

async def main():
    store = Store(sys.argv[1], Instance.of_this_process("server"))
    number = 0
    while True:
        number += 1
        execution = Execution(
            id=f"id-{number}", type="notebook", state=State.PENDING, session_id="s",
            source=NotebookSource(path="a.ipynb"), kernel_name="k",
            created_time=datetime.now(UTC),
        )
        await store.insert(execution, notebook=b"source")
        await store.append_events(execution.id, [(1, b"event")])
        print(execution.id, flush=True)

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_a_kill(url: str, new_store: NewStore) -> None:
    """Every record whose insert returned is there whole after SIGKILL, and known to be lost."""
    acknowledged = set()
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for _ in range(20):
            acknowledged.add(child.stdout.readline().strip())
        child.kill()
        acknowledged.update(line.strip() for line in child.stdout if line.endswith("\n"))
    store = new_store(url)

    lost = set(await store.lost())

    assert acknowledged <= lost
    for execution_id in acknowledged:
        assert await store.get_notebook(execution_id) == b"source"
        assert await store.events(execution_id) == [(1, b"event")]
        assert await store.adopt(execution_id)
    assert len((await store.list(ListQuery(page_size=10_000))).executions) == len(lost)
