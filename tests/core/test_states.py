"""The table of states: what may follow what, exhaustively."""

from datetime import UTC, datetime
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_exec_ext.core.errors import StateConflictError
from jupyter_exec_ext.core.models import Execution, NotebookSource
from jupyter_exec_ext.core.states import FINAL_STATES, State, advance

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)

ALLOWED = {
    ("pending", "running"),
    ("pending", "cancelled"),
    ("pending", "failed"),
    ("running", "cancelling"),
    ("running", "succeeded"),
    ("running", "failed"),
    ("running", "cancelled"),
    ("cancelling", "succeeded"),
    ("cancelling", "failed"),
    ("cancelling", "cancelled"),
}
"""Every move there is, by hand, so that a change of the table shows here."""


def execution(state: State) -> Execution:
    return Execution(
        id="e",
        type="notebook",
        state=state,
        source=NotebookSource(path="nb.ipynb"),
        session_id="s",
        kernel_name="python3",
        created_time=START,
    )


@pytest.mark.parametrize(("start", "to"), list(product(State, State)))
def test_only_the_moves_of_the_table_are_possible(start: State, to: State) -> None:
    """Each of the 36 pairs either moves or says which execution could not go where."""
    before = execution(start)

    if (start, to) in ALLOWED:
        after = advance(before, to, at=LATER)
        assert after.state is to
    else:
        with pytest.raises(StateConflictError) as raised:
            advance(before, to, at=LATER)
        error = raised.value
        assert (error.execution_id, error.state, error.to) == ("e", start, to)
    assert before.state is start


@given(st.lists(st.sampled_from(list(State)), max_size=20))
def test_no_sequence_of_attempts_leaves_a_final_state(attempts: list[State]) -> None:
    """Whatever is tried, in whatever order: a final execution stays exactly as it became final."""
    now = execution(State.PENDING)
    ended: Execution | None = None

    for to in attempts:
        try:
            now = advance(now, to)
        except StateConflictError:
            assert (now.state, to) not in ALLOWED
        if ended is not None:
            assert now is ended
        if now.state.is_final:
            ended = now
            assert now.end_time is not None
    if now.state in (State.RUNNING, State.CANCELLING, State.SUCCEEDED):
        assert now.start_time is not None


def test_a_move_notes_its_moment() -> None:
    """Beginning and end are noted, each once; the time is aware when none is given."""
    began = advance(execution(State.PENDING), State.RUNNING, at=START)
    cancelling = advance(began, State.CANCELLING, at=LATER)
    ended = advance(cancelling, State.CANCELLED, at=LATER)

    assert (began.start_time, began.end_time) == (START, None)
    assert (cancelling.start_time, cancelling.end_time) == (START, None)
    assert (ended.start_time, ended.end_time) == (START, LATER)
    never_ran = advance(execution(State.PENDING), State.FAILED)
    assert never_ran.start_time is None
    assert never_ran.end_time is not None
    assert never_ran.end_time.tzinfo is UTC


def test_final_is_what_nothing_follows() -> None:
    """The three final states are those that the table has no way out of."""
    assert {state for state in State if state.is_final} == set(FINAL_STATES)
    assert not {start for start, _ in ALLOWED} & set(FINAL_STATES)
