"""Sessions in the database, on SQLite and PostgreSQL."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jupyter_exec_ext.core.errors import (
    ConflictError,
    InvalidArgumentError,
    RunsElsewhereError,
    SessionNotFoundError,
)
from jupyter_exec_ext.core.models import ExecutionError
from jupyter_exec_ext.core.sessions import Session, SessionState
from jupyter_exec_ext.store.listing import SessionFilters, SessionQuery

from .builders import START, gone_process, new_instance
from .conftest import NewStore

NASTY = "a\0b\ud800" + "ü" * 500


def new_session(**fields: Any) -> Session:
    """Return a session that is idle."""
    values: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "state": SessionState.IDLE,
        "kernel_name": "python3",
        "created_time": START,
        "last_activity_time": START,
    }
    return Session(**(values | fields))


def ended(session: Session) -> Session:
    error = ExecutionError(code="SessionIdle", message="why")
    return replace(session, state=SessionState.ENDED, end_time=START, end_error=error)


async def test_a_session_comes_back_as_it_was_stored(new_store: NewStore, url: str) -> None:
    """Whatever words are in it."""
    sessions = new_store(url).sessions
    description = NASTY.replace("\ud800", "")
    session = new_session(name=NASTY[3:50], description=description, labels={"a": "b"})

    await sessions.insert(session)

    assert await sessions.get(session.id) == session
    assert await sessions.has_name(NASTY[3:50])
    assert await sessions.exists(session.id)
    assert not await sessions.exists("other")
    with pytest.raises(SessionNotFoundError):
        await sessions.get("other")


async def test_a_name_is_free_again_when_its_session_has_ended(
    new_store: NewStore, url: str
) -> None:
    """Of those that live one has it; each server has names of its own."""
    sessions = new_store(url).sessions
    first = new_session(name="a")
    await sessions.insert(first)

    with pytest.raises(ConflictError):
        await sessions.insert(new_session(name="a"))
    await new_store(url, new_instance("other")).sessions.insert(new_session(name="a"))
    await sessions.insert(new_session())
    await sessions.insert(new_session())
    await sessions.update(ended(first))
    assert not await sessions.has_name("a")
    second = new_session(name="a")
    await sessions.insert(second)

    assert await sessions.has_name("a")
    assert await sessions.get(second.id) == second
    assert (await sessions.get(first.id)).name == "a"


async def test_only_the_instance_that_runs_a_session_changes_it(
    new_store: NewStore, url: str
) -> None:
    """Until it is dead; then any other of its server ends what it left."""
    pid, start_time = gone_process()
    alive = new_store(url)
    dead = new_store(url, new_instance(pid=pid, process_start_time=start_time))
    other = new_store(url)
    kept, lost = new_session(), new_session()
    await alive.sessions.insert(kept)
    await dead.sessions.insert(lost)

    with pytest.raises(RunsElsewhereError):
        await other.sessions.update(ended(kept))
    with pytest.raises(RunsElsewhereError):
        await other.sessions.delete(kept.id)
    assert await other.sessions.lost() == [lost]
    await other.sessions.update(ended(lost))

    assert await other.sessions.lost() == []
    assert (await alive.sessions.get(lost.id)).state is SessionState.ENDED


async def test_ended_sessions_are_removed_after_their_time(new_store: NewStore, url: str) -> None:
    """And those that live never."""
    sessions = new_store(url).sessions
    old, alive = new_session(), new_session()
    for session in (old, alive):
        await sessions.insert(session)
    await sessions.update(ended(old))

    await sessions.purge(ended_before=START)
    assert await sessions.get(old.id)
    await sessions.purge(ended_before=START + timedelta(seconds=1))

    with pytest.raises(SessionNotFoundError):
        await sessions.get(old.id)
    assert await sessions.get(alive.id)


async def test_lists_are_filtered_and_paged(new_store: NewStore, url: str) -> None:
    """Each session that matches is on one page; a token belongs to its own list."""
    sessions = new_store(url).sessions
    stored = [
        new_session(name=f"s{n}", owner="ab"[n % 2], created_time=START + timedelta(seconds=n))
        for n in range(5)
    ]
    for session in stored:
        await sessions.insert(session)
    await sessions.update(ended(stored[0]))

    first = await sessions.list(SessionQuery(page_size=3))
    second = await sessions.list(SessionQuery(page_size=3, page_token=first.next_page_token))
    of_a = await sessions.list(SessionQuery(filters=SessionFilters(owner="a")))
    alive = await sessions.list(
        SessionQuery(filters=SessionFilters(has_ended=False), order_by="created_time")
    )
    by_name = await sessions.list(SessionQuery(filters=SessionFilters(name="s3")))

    found = [session.id for page in (first, second) for session in page.sessions]
    assert found == [session.id for session in stored[::-1]]
    assert second.next_page_token is None
    assert {session.owner for session in of_a.sessions} == {"a"}
    assert [session.name for session in alive.sessions] == ["s1", "s2", "s3", "s4"]
    assert [session.name for session in by_name.sessions] == ["s3"]
    with pytest.raises(InvalidArgumentError):
        await sessions.list(
            SessionQuery(
                filters=SessionFilters(owner="a"), page_size=3, page_token=first.next_page_token
            )
        )
