"""Whose turn it is. Ray can neither show nor stop a job that waits for room, so the queue is ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from service.jobs.capacity import NOTHING, Capacity, Resources, shortage


@dataclass(frozen=True)
class Entry:
    """A job, as the queue sees it: one that waits, or one that was started."""

    job_id: str
    need: Resources
    project_id: str = ""
    priority: int = 0


@dataclass
class _Slots:
    """Who has a project's places: ids of jobs that run, and of jobs ahead that wait for room on the cluster."""

    running: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)


def enqueue(queue: Sequence[Entry], new: Entry) -> list[Entry]:
    """The queue with a new job behind all that are of its priority or a higher one."""
    place = sum(job.priority >= new.priority for job in queue)
    return [*queue[:place], new, *queue[place:]]


def plan(
    queue: Sequence[Entry], capacity: Capacity, started: Sequence[Entry], limits: Mapping[str, int] | None = None
) -> dict[str, str]:
    """For each queued job, in their order, what it waits for; empty means that it can start now.

    A job that does not fit keeps what it will need from those behind it, its place among its project's jobs included,
    so small jobs cannot starve a large one, but a job that needs other resources goes ahead. A job that its project's
    limit holds keeps nothing. There is no other rule against starving: as long as jobs of higher priority come, those
    of lower priority wait.

    Args:
        queue: the queued jobs, first come first; those that can never fit left out.
        capacity: what the cluster has and what Ray says is taken, which lags behind what we started.
        started: the jobs that we started and that are not over.
        limits: by project, how many of its jobs may run at a time; a project that is missing has no limit.
    """
    free = capacity.total - capacity.used.at_least(sum((job.need for job in started), NOTHING))
    limits = limits or {}
    slots: dict[str, _Slots] = {}
    for job in started:
        slots.setdefault(job.project_id, _Slots()).running.append(job.job_id)
    waits: list[Entry] = []
    result = {}
    for job in queue:
        taken = slots.setdefault(job.project_id, _Slots())
        limit = limits.get(job.project_id)
        if limit is not None and len(taken.running) + len(taken.ahead) >= limit:
            result[job.job_id] = _limited(limit, taken)
            continue
        missing = shortage(job.need, free, capacity.total)
        result[job.job_id] = missing + _behind(job, free, waits) if missing else ""
        (taken.ahead if missing else taken.running).append(job.job_id)
        if missing:
            waits.append(job)
        free = free - job.need
    return result


def _limited(limit: int, taken: _Slots) -> str:
    """That a project's limit holds a job, and which jobs have the places; all are of its own project."""
    told = [
        f"{_names(some)} {verb if len(some) == 1 else verbs}"
        for some, verb, verbs in ((taken.running, "runs", "run"), (taken.ahead, "is ahead", "are ahead"))
        if some
    ]
    places = f"its project's limit of {limit} running job{'' if limit == 1 else 's'}"
    return f"{places}: {', '.join(told)}" if told else places


def _behind(job: Entry, free: Resources, waits: Sequence[Entry]) -> str:
    """Which job ahead keeps some of what is missing for itself; that of another project is not named."""
    cpus, gpus = job.need.cpus > max(0, free.cpus), job.need.gpus > max(0, free.gpus)
    for other in waits:
        if (cpus and other.need.cpus) or (gpus and other.need.gpus):
            who = other.job_id if other.project_id == job.project_id else "a job of another project"
            return f", behind {who}" + (" of higher priority" if other.priority > job.priority else "")
    return ""


def _names(jobs: Sequence[str]) -> str:
    """At most three by name."""
    if len(jobs) > 3:
        return f"{', '.join(jobs[:3])} and {len(jobs) - 3} more"
    return " and ".join([", ".join(jobs[:-1]), jobs[-1]]) if len(jobs) > 1 else jobs[0]
