"""How the command line speaks: tables, progress, and errors in words. Exit codes are decided here and nowhere else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from service.errors import FieldError
    from service.resources.audit import AuditEntry
    from service.resources.datasets import DatasetResource, VersionResource
    from service.resources.deciding import ReviewResource
    from service.resources.grid import SampleFacets
    from service.resources.held_out import HeldOutSample
    from service.resources.jobs import JobResource
    from service.resources.keys import KeyResource
    from service.resources.posting import JobPlan
    from service.resources.projects import ProjectResource
    from service.resources.samples import SampleResource
    from service.resources.versions import ChangedSample

OK, JOB_FAILED, REFUSED, UNREACHABLE, DIFFERS, INTERRUPTED = 0, 1, 2, 3, 4, 130
LAST_LINES = 5  # of a failure's detail, beside its cause
COLOURS = {"SUCCEEDED": "green", "FAILED": "red", "CANCELLED": "yellow", "CANCELLING": "yellow", "RUNNING": "cyan"}


def out() -> Console:
    """Standard output. Text from the service is never read as markup, and no pipe cuts tables to 80 columns."""
    return Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 200)


def err() -> Console:
    """Standard error."""
    return Console(stderr=True, markup=False, highlight=False)


def say(text: str, style: str | None = None) -> None:
    """One line for people, never broken in two: it may be copied."""
    out().print(text, style=style, soft_wrap=True)


def say_json(value: BaseModel | Sequence[BaseModel]) -> None:
    """One JSON document for programs."""
    if isinstance(value, Sequence):
        typer.echo(json.dumps([item.model_dump(mode="json") for item in value], indent=2))
    else:
        typer.echo(value.model_dump_json(indent=2))


def complain(message: str, errors: Sequence[FieldError] = ()) -> None:
    """An error in red, with each of its entries: what, where, what to do."""
    console = err()
    console.print(message, style="red", soft_wrap=True)
    for error in errors:
        place = error.file or error.field
        hint = f" ({error.hint})" if error.hint else ""
        console.print(f"  {f'{place}: ' if place else ''}{error.reason}{hint}", style="red", soft_wrap=True)


def faults(error: ValidationError) -> list[FieldError]:
    """What pydantic says about options, in the shape of the service's errors."""
    from service.errors import FieldError

    found = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"] if part not in {"dale", "plain"})
        found.append(FieldError(field=place or None, reason=fault["msg"].removeprefix("Value error, ")))
    return found


@contextmanager
def expected_errors() -> Iterator[None]:
    """Say expected errors in words and exit with their code; anything else is a bug and keeps its traceback."""
    from pydantic import ValidationError

    from service.client.errors import ClientError, Refused, Unreachable

    try:
        yield
    except Refused as error:
        complain(str(error), error.errors)
        if error.status == 401:
            err().print("Give the key with --key or DALE_API_KEY, or keep it with: dale login URL", soft_wrap=True)
        if error.request_id and error.status >= 500:
            err().print(f"request_id: {error.request_id}", soft_wrap=True)
        raise typer.Exit(REFUSED) from None
    except Unreachable as error:
        complain(str(error))
        raise typer.Exit(UNREACHABLE) from None
    except ValidationError as error:
        complain(f"{error.error_count()} of the values given cannot be used.", faults(error))
        raise typer.Exit(REFUSED) from None
    except (ClientError, ValueError, OSError) as error:
        complain(str(error))
        raise typer.Exit(REFUSED) from None


def duration(seconds: float) -> str:
    """Seconds in words as short as a progress bar needs."""
    minutes, rest = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def file_progress() -> Progress:
    """A bar for files that are sent or received."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=err(), transient=True)


def job_progress() -> Progress:
    """A bar for a job; the remaining time is the service's own estimate."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[note]}"))
    return Progress(*columns, console=err(), transient=True)


def columns(*names: str) -> Table:
    """An empty table."""
    table = Table()
    for name in names:
        table.add_column(name, overflow="fold")  # ids are there to be copied: never shortened
    return table


def datasets_table(datasets: Sequence[DatasetResource]) -> Table:
    """Datasets, one a line."""
    table = columns("dataset", "name", "version", "samples", "created")
    for dataset in datasets:
        newest = dataset.newest
        counts = str(newest.number), str(newest.sample_count)
        table.add_row(dataset.id, Text(dataset.name), *counts, when(dataset.created_at))
    return table


def difference_table(samples: Sequence[ChangedSample]) -> Table:
    """The samples that differ between two versions, as they came."""
    table = columns("sample", "changes")
    for sample in samples:
        table.add_row(Text(sample.sample), ", ".join(change.replace("_", " ") for change in sample.changes))
    return table


def reviews_table(reviews: Sequence[ReviewResource]) -> Table:
    """What is decided of labels, one a line."""
    table = columns("sample", "decision", "by", "at", "note")
    for review in reviews:
        at = when(review.at) if review.at else ""
        table.add_row(Text(review.sample), review.decision or "", Text(review.by or ""), at, Text(review.note))
    return table


def jobs_table(jobs: Sequence[JobResource]) -> Table:
    """Jobs, one a line."""
    from workers.contract.request import JobSpec

    table = columns("job", "name", "state", "method", "epochs", "created")
    for job in jobs:
        state = Text(str(job.state), COLOURS.get(str(job.state), ""))
        what, done = str(job.task), ""
        if isinstance(job.spec, JobSpec):
            what, done = job.spec.method.name, f"{job.epochs_done}/{job.spec.epochs}"
        table.add_row(job.id, Text(job.name), state, what, done, when(job.created_at))
    return table


def job_lines(job: JobResource) -> Table:
    """One job in full."""
    table = Table(show_header=False, box=None)
    rows: list[tuple[str, Any]] = [
        ("job", job.id),
        ("name", job.name),
        ("state", Text(str(job.state), COLOURS.get(str(job.state), ""))),
        ("waits for", job.waiting_for),
        ("priority", job.priority),
        ("dataset", f"{job.spec.dataset_id}:{job.spec.dataset_version}"),
        *_of_task(job),
        ("workers", f"{job.spec.workers} (GPUs each: {job.spec.gpus_per_worker}), attempt {job.attempt}"),
        ("remaining", duration(job.progress.eta_seconds) if job.progress and not job.state.terminal else ""),
        ("metrics", ", ".join(f"{name} {value:.4g}" for name, value in (job.metrics or {}).items())),
        ("cause", job.failure.cause if job.failure else ""),
        ("hint", job.failure.hint if job.failure else ""),
        ("last lines", _last_lines(job.failure.detail) if job.failure else ""),
    ]
    for name, value in rows:
        if value:
            table.add_row(name, value if isinstance(value, Text) else Text(str(value)))
    return table


def _of_task(job: JobResource) -> list[tuple[str, Any]]:
    from workers.contract.prediction import PredictSpec

    spec = job.spec
    if isinstance(spec, PredictSpec):
        return [("predicts by", spec.model_id), ("outputs", ", ".join(spec.outputs)), ("flips", spec.flips)]
    return [
        ("network", spec.network.name),
        ("method", spec.method.name),
        ("repeats", job.reproduces),
        ("starts from", spec.warm_start),
        ("epochs", f"{job.epochs_done} of {spec.epochs}"),
    ]


def _last_lines(detail: str) -> str:
    """The end of a log or traceback; all that is kept of the log: `dale job JOB --logs`."""
    return "\n".join(detail.rstrip().splitlines()[-LAST_LINES:])


def plan_lines(plan: JobPlan) -> Table:
    """What would be trained, every option by its name."""
    table = Table(show_header=False, box=None)
    data, cluster = plan.dataset, plan.cluster
    starts = {"now": "now", "later": f"waits for {cluster.waiting_for}", "unknown": "unknown: no cluster answers now"}
    table.add_row("project", plan.project_id)
    if held_out := data.sample_count - data.train_count - data.validation_count:
        table.add_row("held out", f"{held_out} samples")
    if data.validation_count:
        table.add_row("validation", f"{data.validation_count} samples")
    table.add_row("samples", f"{data.train_count} of {data.classes} classes, in {data.spatial_dims} dimensions")
    table.add_row("needs", f"{cluster.cpus:g} CPUs, {cluster.gpus:g} GPUs")
    table.add_row("starts", starts[cluster.starts])
    table.add_row("priority", str(plan.priority))
    memory = f"about {plan.memory.total / 2**20:.0f} MiB of each worker" if plan.memory else "unknown"
    table.add_row("memory", memory)
    for warning in plan.warnings:
        table.add_row("warning", Text(warning, "yellow"))
    for one in plan.suggested:
        table.add_row("suggested", Text(f"{one.field} {one.value}: {one.reason}"))
    for name, value in plan.spec.model_dump(mode="json").items():
        table.add_row(name, Text(value if isinstance(value, str) else json.dumps(value)))
    return table


def samples_table(samples: Sequence[SampleResource]) -> Table:
    """Samples, the most doubted first."""
    table = columns("rank", "sample", "confidence", "score", "Dice", "expected Dice", "why")
    for sample in samples:
        numbers = (sample.confidence, sample.score, sample.dice, sample.expected_dice)
        why = Text(sample.reason or "")
        table.add_row(str(sample.rank), Text(sample.sample), *(f"{number:.3f}" for number in numbers), why)
    return table


def facets_table(facets: SampleFacets) -> Table:
    """How many samples there are of each kind, one a line."""
    table = columns("kind", "", "samples")
    lines: list[tuple[str, str, int]] = [("all", "", facets.total)]
    lines += [("decided", name, count) for name, count in facets.decisions.items() if count]
    lines += [("reason", name, count) for name, count in facets.reasons.items() if count]
    lines += [("annotator", one.annotator, one.samples) for one in facets.annotators]
    lines += [("class", f"{one.number} (value {one.value})", one.labels) for one in facets.classes]
    if facets.label_class_unknown:
        lines.append(("class", "not known", facets.label_class_unknown))
    lines += [("predicted class", f"{one.number} (value {one.value})", one.predictions) for one in facets.classes]
    lines.append(("verified", "", facets.verified))
    for kind, name, count in lines:
        table.add_row(kind, Text(name), str(count))
    return table


def held_out_table(samples: Sequence[HeldOutSample]) -> Table:
    """Samples that were not trained on, as they came."""
    table = columns("sample", "Dice", "IoU", "HD95", "precision", "recall")
    for sample in samples:
        numbers = (sample.dice, sample.iou, sample.hd95, sample.precision, sample.recall)
        table.add_row(Text(sample.sample), *("" if number is None else f"{number:.3f}" for number in numbers))
    return table


def splits(version: VersionResource) -> str:
    """How many samples a version has, and how many of them are not trained on."""
    count, parts = version.sample_count, version.splits
    named = [(parts.validation, "for validation"), (parts.test, "held out")]
    others = [f"{part} {what} ({part / count:.1%})" for part, what in named if part]
    if not others:
        return f"{count} samples"
    return f"{count} samples, {', '.join([f'{parts.train} to train on', *others[:-1]])} and {others[-1]}"


def annotators(version: VersionResource) -> list[str]:
    """Who drew the labels of a version, and how far they agree: a line each."""
    if version.agreement is None:
        return []
    lines = []
    for person in version.agreement.annotators:
        agrees = "" if person.agreement is None else f", agreement with the others {person.agreement:.3f}"
        lines.append(f"{person.annotator}: {person.masks} masks{agrees}")
    for pair in version.agreement.pairs:
        lines.append(f"{pair.first} and {pair.second}: Dice {pair.dice:.3f} on {pair.images} images")
    return lines


def projects_table(projects: Sequence[ProjectResource]) -> Table:
    """Projects, one a line."""
    table = columns("project", "name", "jobs at a time", "created")
    for project in projects:
        limit = "" if project.max_running_jobs is None else str(project.max_running_jobs)
        table.add_row(project.id, Text(project.name), limit, when(project.created_at))
    return table


def keys_table(keys: Sequence[KeyResource]) -> Table:
    """Keys, one a line; those that open nothing any more are struck out."""
    table = columns("key", "name", "role", "made by", "last used", "ends")
    for key in keys:
        ends = f"revoked {when(key.revoked_at)}" if key.revoked_at else when(key.expires_at)
        style = "strike" if key.revoked_at else ""
        table.add_row(key.id, Text(key.name, style), key.role, key.created_by, when(key.last_used_at), ends)
    return table


def audit_table(entries: Sequence[AuditEntry]) -> Table:
    """Changes, one a line."""
    table = columns("at", "who", "action", "target", "project", "details")
    for entry in entries:
        details = ", ".join(f"{name}: {value}" for name, value in entry.details.items() if value is not None)
        who = Text(f"{entry.key_name} ({entry.key_id})")
        table.add_row(when(entry.at), who, entry.action, entry.target, entry.project_id or "", Text(details))
    return table


def when(time: datetime | None) -> str:
    """A time on this machine's clock, to the minute; nothing for none."""
    return time.astimezone().strftime("%Y-%m-%d %H:%M") if time else ""
