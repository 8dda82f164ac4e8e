from __future__ import annotations

import itertools

import pytest

from service.jobs.lifecycle import (
    MAX_ATTEMPTS,
    MOVES,
    Action,
    ImpossibleMoveError,
    RunStatus,
    State,
    decide,
    move,
    on_cancel,
)


def test_terminal_states_are_never_left() -> None:
    for current, target in itertools.product(State, State):
        if current.terminal:
            with pytest.raises(ImpossibleMoveError):
                move(current, target)


def test_every_state_is_reached_from_queued_and_leads_to_an_end() -> None:
    def reach(start: State) -> set[State]:
        seen, todo = {start}, [start]
        while todo:
            new = MOVES[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    assert reach(State.QUEUED) == set(State)
    assert all(any(state.terminal for state in reach(start)) for start in State)


def test_a_cancelled_job_never_fails_or_succeeds() -> None:
    assert MOVES[State.CANCELLING] == {State.CANCELLED}


@pytest.mark.parametrize(
    ("current", "after"),
    [
        (State.QUEUED, State.CANCELLED),
        (State.STARTING, State.CANCELLING),
        (State.RUNNING, State.CANCELLING),
        (State.CANCELLING, State.CANCELLING),
        (State.SUCCEEDED, State.SUCCEEDED),
        (State.FAILED, State.FAILED),
        (State.CANCELLED, State.CANCELLED),
    ],
)
def test_cancel_is_idempotent_and_follows_the_rules(current: State, after: State) -> None:
    assert on_cancel(current) is after
    assert on_cancel(after) is after
    if after is not current:
        assert move(current, after) is after


@pytest.mark.parametrize(
    ("state", "run", "attempt", "has_result", "action"),
    [
        (State.STARTING, RunStatus.UNKNOWN, 1, False, Action.SUBMIT),
        (State.STARTING, RunStatus.PENDING, 1, False, Action.WAIT),
        (State.STARTING, RunStatus.RUNNING, 1, False, Action.MARK_RUNNING),
        (State.STARTING, RunStatus.SUCCEEDED, 1, True, Action.SUCCEED),
        (State.RUNNING, RunStatus.RUNNING, 1, False, Action.WAIT),
        (State.RUNNING, RunStatus.RUNNING, 1, True, Action.WAIT),  # it is still writing its log
        (State.RUNNING, RunStatus.SUCCEEDED, 1, True, Action.SUCCEED),
        (State.RUNNING, RunStatus.SUCCEEDED, 1, False, Action.FAIL),
        (State.RUNNING, RunStatus.FAILED, 1, False, Action.FAIL),
        (State.RUNNING, RunStatus.STOPPED, 1, False, Action.FAIL),
        (State.RUNNING, RunStatus.UNKNOWN, 1, False, Action.RETRY),
        (State.RUNNING, RunStatus.UNKNOWN, MAX_ATTEMPTS, False, Action.FAIL),
        (State.RUNNING, RunStatus.UNKNOWN, MAX_ATTEMPTS, True, Action.SUCCEED),
        (State.CANCELLING, RunStatus.RUNNING, 1, False, Action.STOP),
        (State.CANCELLING, RunStatus.PENDING, 1, False, Action.STOP),
        (State.CANCELLING, RunStatus.STOPPED, 1, False, Action.CANCEL),
        (State.CANCELLING, RunStatus.FAILED, 1, False, Action.CANCEL),
        (State.CANCELLING, RunStatus.SUCCEEDED, 1, True, Action.CANCEL),
        (State.CANCELLING, RunStatus.UNKNOWN, 1, False, Action.CANCEL),
    ],
)
def test_what_is_done(state: State, run: RunStatus, attempt: int, has_result: bool, action: Action) -> None:
    assert decide(state, run, attempt=attempt, has_result=has_result) is action
