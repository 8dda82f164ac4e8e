"""Commands that predict a whole dataset: `dale predict-dataset` and `dale fetch-predictions`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.models import Model
from service.cli.options import JobId, Json, Key, Url, connect
from workers.contract.outputs import Output

if TYPE_CHECKING:
    from service.client import Client


def predict_dataset(
    model: Model,
    dataset: Annotated[str, typer.Argument(metavar="DATASET[:VERSION]", help="What to predict.")],
    out: Annotated[
        Path | None, typer.Option(help="Wait for the end, and write masks and tables to this folder.")
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also what is believed of each class.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also how unsure the model is, from 0 to 1.")
    ] = False,
    flips: Annotated[
        bool, typer.Option("--flips", help="Mean over all mirror images: 4 times as long, of volumes 8 times.")
    ] = False,
    batch_size: Annotated[int | None, typer.Option(help="Images of a pass of the network (default: 8).")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that share the samples (default: 1).")] = None,
    min_workers: Annotated[int | None, typer.Option(help="Go on with as few as these (default: with all).")] = None,
    gpus_per_worker: Annotated[int | None, typer.Option(help="0 or 1 (default: 0).")] = None,
    timeout_seconds: Annotated[int | None, typer.Option(help="From the POST on (default: no limit).")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    priority: Annotated[
        int, typer.Option(min=-10, max=10, help="Jobs of higher priority start first; above 0 for admins.")
    ] = 0,
    follow: Annotated[bool, typer.Option("--follow", help="Show the progress until the job is over.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Let a model predict every sample of a dataset, as a job on the cluster."""
    from service.cli import following, job_options, terminal
    from service.jobs.lifecycle import State
    from service.resources.prediction_jobs import PostedPrediction

    with terminal.expected_errors(), connect(url, key) as dale:
        dataset_id, version = job_options.named_version(dataset)
        given = {
            "model": model,
            "dataset_id": dataset_id,
            "dataset_version": version,
            "outputs": [Output.MASK, *[Output.PROBABILITIES] * probabilities, *[Output.UNCERTAINTY] * uncertainty],
            "flips": flips,
            "batch_size": batch_size,
            "workers": workers,
            "min_workers": min_workers,
            "gpus_per_worker": gpus_per_worker,
            "timeout_seconds": timeout_seconds,
            "name": name,
            "priority": priority,
        }
        job = dale.predict_dataset(
            PostedPrediction.model_validate({name: value for name, value in given.items() if value is not None})
        )
        waits = follow or out is not None
        if not as_json:
            terminal.say(f"Job {job.id} is {job.state}.")
        if waits:
            job = following.watch(dale, job)
        if out is not None and job.state is State.SUCCEEDED:
            _fetch(dale, job.id, out)
        if as_json:
            terminal.say_json(job)
        elif waits:
            following.say_end(job)
        else:
            terminal.say(f"Watch it: dale job {job.id} --follow; then: dale fetch-predictions {job.id} FOLDER")
    raise typer.Exit(following.exit_code(job) if waits else terminal.OK)


def fetch_predictions(
    job_id: JobId,
    out: Annotated[Path, typer.Argument(help="Folder for masks and tables.")],
    url: Url = None,
    key: Key = None,
) -> None:
    """Download what a prediction job left: masks/NAME.png or .nii.gz, samples.csv and .parquet.

    Goes on where it was interrupted, and checks the sha256 of every file.
    """
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        for path in _fetch(dale, job_id, out):
            terminal.say(str(path))


def _fetch(dale: Client, job_id: str, out: Path) -> list[Path]:
    from service.cli import terminal

    with terminal.file_progress() as bar:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=size)
            bar.update(tasks[name], completed=done, visible=done < size)

        return dale.fetch_predictions(job_id, out, progress=tell)
