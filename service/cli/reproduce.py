"""`dale reproduce` and `dale compare`: the same job again, and whether the same came out."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import JobId, Json, Key, Url, connect

if TYPE_CHECKING:
    from service.client import Client
    from service.client.comparison import Difference
    from service.resources.jobs import JobResource
    from workers.contract.environment import Environment

LOOK_BACK = 20  # jobs, to find the environment that the cluster has now


def reproduce(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for its end, and compare.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Train a job again, from the same specification on the same version of the dataset.

    What differs in code, packages or hardware is said before, as far as it is known, and after. With --follow the exit
    code is 0 if metrics and confidences are equal within 0.0001, 4 if they are not, and 1 if the new job failed.
    """
    from service.cli import following, terminal
    from service.jobs.lifecycle import State

    with terminal.expected_errors(), connect(url, key) as dale:
        job = dale.job(job_id)
        if as_json:
            raise typer.Exit(_reproduce_quietly(dale, job, follow))
        foresee(dale, job_id)
        again = dale.reproduce(job)
        terminal.say(f"Job {again.id} is {again.state}; it repeats {job_id}.")
        if not follow:
            terminal.say(f"Once it is over: dale compare {job_id} {again.id}")
            return
        again = following.watch(dale, again)
        if again.state is not State.SUCCEEDED:
            following.say_end(again)
            raise typer.Exit(terminal.JOB_FAILED)
        code = say_comparison(dale, job_id, again.id)
    raise typer.Exit(code)


def _reproduce_quietly(dale: Client, job: JobResource, follow: bool) -> int:
    """The same for programs: the new job as JSON, and the exit code."""
    from service.cli import following, terminal
    from service.jobs.lifecycle import State

    again = dale.reproduce(job)
    if follow:
        again = following.watch(dale, again)
    terminal.say_json(again)
    if not follow:
        return terminal.OK
    if again.state is not State.SUCCEEDED:
        return terminal.JOB_FAILED
    return terminal.OK if dale.compare(job.id, again.id).equal else terminal.DIFFERS


def compare(
    job_id: JobId,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="Id of a job over the same samples.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Compare two finished jobs: environments, metrics, confidences.

    Exit code 0 if metrics and confidences are equal within 0.0001, 4 if they are not.
    """
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        code = print_comparison(dale, job_id, other) if as_json else say_comparison(dale, job_id, other)
    raise typer.Exit(code)


def foresee(dale: Client, job_id: str) -> None:
    """Say what differs between a job's environment and that of the newest job which has one."""
    from service.cli import terminal

    before = environment_of(dale, job_id)
    if before is None:
        terminal.say(f"What {job_id} ran in was not recorded.", "yellow")
        return
    started = (job.id for job in islice(dale.jobs(), LOOK_BACK) if job.attempt)
    for newest in started:
        if now := environment_of(dale, newest):
            say_environments(before, now, f"what {newest}, the newest job, ran in")
            return


def environment_of(dale: Client, job_id: str) -> Environment | None:
    """What a job ran in; None where that was not recorded."""
    from service.client.errors import Refused

    try:
        return dale.environment(job_id)
    except Refused as error:
        if error.status != 404:
            raise
        return None


def say_environments(before: Environment, after: Environment, called: str) -> None:
    """Differences, one a line."""
    from service.cli import terminal
    from service.client.comparison import environment_differences

    lines = environment_differences(before, after)
    if not lines:
        terminal.say(f"Code, packages and hardware are as in {called}.")
        return
    terminal.say(f"Compared with {called}:", "yellow")
    for line in lines:
        terminal.say(f"  {line}", "yellow")


def say_comparison(dale: Client, job_id: str, other: str) -> int:
    """Everything that differs, and the exit code for it."""
    from service.cli import terminal

    difference = dale.compare(job_id, other)
    before, after = environment_of(dale, job_id), environment_of(dale, other)
    if before is None or after is None:
        terminal.say("What one of them ran in was not recorded.", "yellow")
    else:
        say_environments(before, after, f"what {other} ran in")
    terminal.say(in_words(difference))
    return terminal.OK if difference.equal else terminal.DIFFERS


def print_comparison(dale: Client, job_id: str, other: str) -> int:
    """The same as JSON."""
    from service.cli import terminal
    from service.client.comparison import environment_differences

    difference = dale.compare(job_id, other)
    before, after = environment_of(dale, job_id), environment_of(dale, other)
    found = {
        **asdict(difference),
        "rank_correlation": None if math.isnan(difference.rank_correlation) else difference.rank_correlation,
        "equal": difference.equal,
        "environment": environment_differences(before, after) if before is not None and after is not None else None,
    }
    typer.echo(json.dumps(found, indent=2))
    return terminal.OK if difference.equal else terminal.DIFFERS


def in_words(difference: Difference) -> str:
    """How far two results are apart."""
    verdict = "The results are equal" if difference.equal else "The results differ"
    metric = f" ({difference.metric})" if difference.metrics else ""
    return (
        f"{verdict}: metrics by at most {difference.metrics:.3g}{metric}, confidences of {difference.samples} samples "
        f"by at most {difference.confidence:.3g}; rank correlation of the scores {difference.rank_correlation:.4f}."
    )
