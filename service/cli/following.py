"""A job's progress on a terminal, from its events."""

from __future__ import annotations

from typing import Any

import typer

from service.cli import terminal
from service.client import Client, Event
from service.jobs.lifecycle import State
from service.jobs.tasks import Task
from service.resources.jobs import JobResource
from workers.contract.request import JobSpec


def watch(dale: Client, job: JobResource) -> JobResource:
    """`follow` for a user who may stop watching: Ctrl-C leaves the job running, and says so."""
    try:
        return follow(dale, job)
    except KeyboardInterrupt:
        terminal.say(f"The job goes on. Watch it: dale job {job.id} --follow; end it: dale cancel {job.id}")
        raise typer.Exit(terminal.INTERRUPTED) from None


def follow(dale: Client, job: JobResource) -> JobResource:
    """Show a bar until the job is over; where there is no terminal, a line for every tenth of it."""
    total = job.spec.epochs if isinstance(job.spec, JobSpec) else 1  # a prediction is one pass
    said = 0
    with terminal.job_progress() as bar:
        quiet = not bar.console.is_terminal
        task = bar.add_task(job.state.lower(), total=total, note=job.waiting_for and f"waits for {job.waiting_for}")
        for event in dale.follow(job.id):
            bar.update(task, **shown(event, total))
            if quiet and event.kind == "state":
                bar.console.print(f"{job.id}: {str(event.data['state']).lower()}", soft_wrap=True)
            elif quiet and event.kind == "epoch" and (tenth := 10 * (event.data["epoch"] + 1) // total) > said:
                said = tenth
                bar.console.print(f"{job.id}: epoch {event.data['epoch'] + 1} of {total}", soft_wrap=True)
    return dale.job(job.id)


def shown(event: Event, epochs: int) -> dict[str, Any]:
    """What an event changes on the bar."""
    data = event.data
    if event.kind == "state":
        return {"description": str(data["state"]).lower(), "note": data.get("cause", "")}
    if event.kind == "epoch":
        return {"completed": data["epoch"] + 1}
    if event.kind == "progress" and data.get("steps"):
        left = terminal.duration(data["eta_seconds"])
        done = {"completed": epochs * data["step"] / data["steps"]}
        if data.get("loss") is None:
            note = f"{data['step']} of {data['steps']} samples, about {left} left"
            return done | {"note": note, "description": "predicting"}
        note = f"epoch {data['epoch'] + 1}/{epochs}, loss {data['loss']:.3f}, about {left} left"
        return done | {"note": note, "description": "training"}
    return {}


def say_end(job: JobResource) -> None:
    """How a job ended, and what to do next."""
    if job.state is State.SUCCEEDED:
        terminal.say(f"Job {job.id} succeeded.", "green")
        if job.task is Task.PREDICT:
            terminal.say(f"Its masks: dale fetch-predictions {job.id} FOLDER")
            return
        terminal.say(f"Labels to look at first: dale samples {job.id}")
        terminal.say(f"The model: dale fetch {job.id} model/")
    elif job.state is State.CANCELLED:
        terminal.say(f"Job {job.id} was cancelled.", "yellow")
    else:
        cause = job.failure.cause if job.failure else "the cause is unknown"
        terminal.complain(f"Job {job.id} failed: {cause}")
        if job.failure and job.failure.hint:
            terminal.complain(f"  {job.failure.hint}")
        terminal.say(f"Its log: dale job {job.id} --logs")


def exit_code(job: JobResource) -> int:
    """0 if the job succeeded."""
    return terminal.OK if job.state is State.SUCCEEDED else terminal.JOB_FAILED
