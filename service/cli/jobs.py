"""Commands about jobs."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from service.cli.options import InProject, JobId, Json, Key, Url, connect


def train(
    dataset: Annotated[str, typer.Argument(metavar="DATASET[:VERSION]", help="As `dale upload` printed it.")],
    method: Annotated[str, typer.Option(help="dale (labels are doubted) or plain (labels are believed).")] = "dale",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Hyperparameter of the method, e.g. temperature=0.03."),
    ] = None,
    network: Annotated[str | None, typer.Option(help="MONAI network (default: UNet).")] = None,
    network_arguments: Annotated[
        str | None, typer.Option(metavar="JSON", help="Its arguments, e.g. '{\"channels\": [16, 32, 64]}'.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data (default: 60).")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples of a step, all workers together (default: 16).")
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Images become so many pixels square (default: 128).")] = None,
    patch_size: Annotated[
        int | None, typer.Option(help="Volumes are cut into cubes of this edge (default: 32).")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the optimiser (default: 0.002).")] = None,
    augmentation: Annotated[str | None, typer.Option(help="Random views: light or strong (default: strong).")] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16 (default: float32).")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed, the same training (default: 0).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that train together (default: 1).")] = None,
    accumulation: Annotated[int | None, typer.Option(help="Parts of a worker's share of a batch (default: 1).")] = None,
    sharding: Annotated[str | None, typer.Option(help="none, or full: weights in shares (default: none).")] = None,
    compiled: Annotated[bool | None, typer.Option("--compile/--no-compile", help="Compile the network.")] = None,
    min_workers: Annotated[int | None, typer.Option(help="Go on with as few as these (default: with all).")] = None,
    gpus_per_worker: Annotated[int | None, typer.Option(help="0 or 1 (default: 0).")] = None,
    warm_start: Annotated[
        str | None, typer.Option(metavar="JOB", help="Start from the model of this job (default: from new weights).")
    ] = None,
    exports: Annotated[
        str | None,
        typer.Option(help="Forms of the model, with commas; none: no others than safetensors (default: all)."),
    ] = None,
    deliver: Annotated[
        Literal["last", "best"] | None,
        typer.Option(help="Weights of the end, or of the epoch that does best on the validation samples."),
    ] = None,
    validate_every: Annotated[int | None, typer.Option(help="Epochs from one look at these to the next.")] = None,
    timeout_seconds: Annotated[int | None, typer.Option(help="From the POST on (default: no limit).")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    priority: Annotated[
        int, typer.Option(min=-10, max=10, help="Jobs of higher priority start first; above 0 for admins.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check it, and say what would be done.")] = False,
    suggested: Annotated[
        bool, typer.Option("--suggested", help="Take what a dry run suggests for options that are left out.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show the progress until the job is over.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Post a training job."""
    from service.cli import following, job_options, terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        given = {
            "network": job_options.network(network, network_arguments),
            "method": {"name": method, **job_options.settings(settings or [])},
            "epochs": epochs,
            "batch_size": batch_size,
            "image_size": image_size,
            "patch_size": patch_size,
            "learning_rate": learning_rate,
            "augmentation": augmentation,
            "precision": precision,
            "seed": seed,
            "workers": workers,
            "accumulation": accumulation,
            "sharding": sharding,
            "compile": compiled,
            "min_workers": min_workers,
            "gpus_per_worker": gpus_per_worker,
            "warm_start": warm_start,
            "exports": job_options.exports(exports),
            "deliver": deliver,
            "validate_every": validate_every,
            "timeout_seconds": timeout_seconds,
            "name": name,
        }
        spec = job_options.spec(dataset, given)
        if suggested:
            for one in (found := dale.plan(spec, priority=priority)).suggested:
                terminal.err().print(f"{one.field} {one.value}: {one.reason}", soft_wrap=True)
            spec = job_options.with_suggested(spec, {one.field: one.value for one in found.suggested})
        if dry_run:
            plan = dale.plan(spec, priority=priority)
            if as_json:
                terminal.say_json(plan)
            else:
                terminal.out().print(terminal.plan_lines(plan))
            return
        job = dale.train(spec, priority=priority)
        if not as_json:
            terminal.say(f"Job {job.id} is {job.state}.")
        if follow:
            job = following.watch(dale, job)
        if as_json:
            terminal.say_json(job)
        elif follow:
            following.say_end(job)
        else:
            terminal.say(f"Watch it: dale job {job.id} --follow")
    raise typer.Exit(following.exit_code(job) if follow else terminal.OK)


def jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state, e.g. RUNNING.")] = None,
    task: Annotated[str | None, typer.Option(help="Only jobs that train, or only those that predict.")] = None,
    project: InProject = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the jobs, newest first."""
    from itertools import islice

    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(islice(dale.jobs(state=state.upper() if state else None, task=task, project=project), limit))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.jobs_table(found))


def show_job(
    job_id: JobId,
    follow: Annotated[bool, typer.Option("--follow", help="Show the progress until the job is over.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Print the end of its log instead.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show a job.

    State, progress, metrics, and the cause if it failed.
    """
    from service.cli import following, terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        if logs:
            typer.echo(dale.logs(job_id), nl=False)
            return
        job = dale.job(job_id)
        if follow:
            job = following.watch(dale, job)
    if as_json:
        terminal.say_json(job)
    else:
        terminal.out().print(terminal.job_lines(job))
    raise typer.Exit(following.exit_code(job) if follow else terminal.OK)


def set_priority(
    job_id: JobId,
    priority: Annotated[int, typer.Argument(min=-10, max=10, help="From -10 to 10; above 0 for admins.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Give a job that is not over another priority: of those that wait, the highest starts first."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        job = dale.set_priority(job_id, priority)
    if as_json:
        terminal.say_json(job)
        return
    waits = f", and waits for {job.waiting_for}" if job.waiting_for else ""
    terminal.say(f"Job {job.id} has priority {job.priority}; it is {job.state}{waits}.")


def cancel(job_id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """End a job; its workers are gone within seconds."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        job = dale.cancel(job_id)
    terminal.say_json(job) if as_json else terminal.say(f"Job {job_id} is {job.state}.")


def retry(job_id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Try a job again that failed or was cancelled, from where it was."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        job = dale.retry(job_id)
    terminal.say_json(job) if as_json else terminal.say(f"Job {job_id} is {job.state}.")


def delete(
    job_id: JobId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Remove a job that is over, with its history and its model, for good."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        job = dale.job(job_id)
        if not yes:
            named = f"{job_id} ({job.name})" if job.name else job_id
            typer.confirm(f"Delete job {named}, which is {job.state}, with everything it wrote?", abort=True, err=True)
        dale.delete(job_id)
        terminal.say(f"Job {job_id} is deleted.")
