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
    can_retry,
    decide,
    move,
    on_cancel,
)


def test_terminal_states_are_left_only_for_a_retry_or_to_be_deleted() -> None:
    assert {state for state in State if can_retry(state)} == {State.FAILED, State.CANCELLED}
    for current, target in itertools.product(State, State):
        if current.terminal and target not in {State.QUEUED, State.DELETING}:
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
        (State.STARTING, RunStatus.FAILED, 1, False, Action.FAIL),
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


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING])
def test_what_another_attempt_can_mend_is_tried_again(state: State) -> None:
    for run in (RunStatus.FAILED, RunStatus.SUCCEEDED):
        for attempt in range(1, MAX_ATTEMPTS):
            assert decide(state, run, attempt=attempt, has_result=False, broken=True) is Action.RETRY
            assert move(state, State.STARTING) is State.STARTING
        assert decide(state, run, attempt=MAX_ATTEMPTS, has_result=False, broken=True) is Action.FAIL


@pytest.mark.parametrize("run", list(RunStatus))
@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING])
def test_a_job_that_is_too_slow_is_stopped_and_then_ended(state: State, run: RunStatus) -> None:
    action = decide(state, run, attempt=1, has_result=False, timed_out=True)
    assert action is (Action.TIME_OUT if run.over else Action.STOP)
    assert State.FAILED in MOVES[state]


def test_a_result_that_came_too_late_is_still_one() -> None:
    assert decide(State.RUNNING, RunStatus.SUCCEEDED, attempt=1, has_result=True, timed_out=True) is Action.SUCCEED


@pytest.mark.parametrize("run", list(RunStatus))
def test_cancelling_goes_before_everything(run: RunStatus) -> None:
    action = decide(State.CANCELLING, run, attempt=1, has_result=True, broken=True, timed_out=True)
    assert action is (Action.CANCEL if run.over else Action.STOP)
