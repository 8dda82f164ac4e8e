"""The states of a job and the rules between them: pure functions, so that every case is tested without a cluster.

```
QUEUED ──> STARTING ──> RUNNING ──> SUCCEEDED | FAILED
  │            │           │
  │            └─────┬─────┘  (a lost run goes back to STARTING, as a new attempt)
  v                  v
CANCELLED <───── CANCELLING
```

Somebody's retry takes FAILED and CANCELLED back to QUEUED. What is over can be deleted: it is DELETING while its
objects go, and then it is not there.
"""

from __future__ import annotations

from enum import StrEnum

MAX_ATTEMPTS = 3


class State(StrEnum):
    """Where a job is; `terminal` ones are left only for a retry or to be deleted."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    DELETING = "DELETING"

    @property
    def terminal(self) -> bool:
        """Whether the job is over."""
        return self in {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.DELETING}

    @property
    def holds_resources(self) -> bool:
        """Whether processes of the job may be on the cluster."""
        return self in {State.STARTING, State.RUNNING, State.CANCELLING}


MOVES: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.STARTING, State.FAILED, State.CANCELLED}),
    State.STARTING: frozenset({State.STARTING, State.RUNNING, State.CANCELLING, State.SUCCEEDED, State.FAILED}),
    State.RUNNING: frozenset({State.STARTING, State.CANCELLING, State.SUCCEEDED, State.FAILED}),
    State.CANCELLING: frozenset({State.CANCELLED}),
    State.SUCCEEDED: frozenset({State.DELETING}),
    State.FAILED: frozenset({State.QUEUED, State.DELETING}),
    State.CANCELLED: frozenset({State.QUEUED, State.DELETING}),
    State.DELETING: frozenset(),
}


class RunStatus(StrEnum):
    """What Ray says of a submission; UNKNOWN: Ray has never heard of it, or has forgotten it with its head."""

    UNKNOWN = "UNKNOWN"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @property
    def over(self) -> bool:
        """Whether no process of the submission is left."""
        return self not in {RunStatus.PENDING, RunStatus.RUNNING}


class Action(StrEnum):
    """What to do about a job now."""

    WAIT = "wait"
    SUBMIT = "submit"
    MARK_RUNNING = "mark running"
    RETRY = "retry"
    STOP = "stop"
    SUCCEED = "succeed"
    FAIL = "fail"
    TIME_OUT = "time out"
    CANCEL = "cancel"


class ImpossibleMoveError(Exception):
    """The rules do not lead from one state to the other."""


def move(current: State, target: State) -> State:
    """The new state, if the rules allow the move.

    Raises:
        ImpossibleMoveError: they do not.
    """
    if target not in MOVES[current]:
        raise ImpossibleMoveError(f"a job that is {current} cannot become {target}")
    return target


def on_cancel(current: State) -> State:
    """The state after somebody asked to cancel. Asking twice, or too late, changes nothing."""
    if current is State.QUEUED:
        return State.CANCELLED
    if current in {State.STARTING, State.RUNNING}:
        return State.CANCELLING
    return current


def can_retry(current: State) -> bool:
    """Whether somebody may have a job tried again: what is under way goes on by itself, and a model stays."""
    return State.QUEUED in MOVES[current]


def decide(  # noqa: PLR0911 - one answer for each case
    state: State,
    run: RunStatus,
    *,
    attempt: int,
    has_result: bool,
    broken: bool = False,
    timed_out: bool = False,
) -> Action:
    """What to do about a job that was handed to Ray.

    Args:
        state: one that holds resources.
        run: what Ray says of the current attempt.
        attempt: the current attempt, counted from 1; after somebody's retry from 1 again.
        has_result: whether the run wrote its result manifest and everything that belongs to it is whole.
        broken: whether the attempt ended in a way that another one can mend: its process was killed, or what it wrote
            is damaged. A run that says itself why it failed is not broken.
        timed_out: whether the job has taken longer than it may.
    """
    if state is State.CANCELLING:
        return Action.CANCEL if run.over else Action.STOP
    if run.over and has_result:
        return Action.SUCCEED
    if timed_out:
        return Action.TIME_OUT if run.over else Action.STOP
    if not run.over:
        return Action.MARK_RUNNING if state is State.STARTING and run is RunStatus.RUNNING else Action.WAIT
    if run is RunStatus.UNKNOWN and state is State.STARTING:
        return Action.SUBMIT  # the service ended between deciding and submitting; the same id cannot start twice
    if run is RunStatus.UNKNOWN or broken:
        return Action.RETRY if attempt < MAX_ATTEMPTS else Action.FAIL
    return Action.FAIL
