"""Commands about cross-validations: `dale cross-validate`, `dale cross-validations …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import InProject, Json, Key, Url, connect

app = typer.Typer(help="Cross-validations: list, show, worst samples, end, delete.", rich_markup_mode=None)
CrossValidationId = Annotated[str, typer.Argument(metavar="CV", help="Id of a cross-validation.")]


def cross_validate(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="A file with a job in JSON, or DATASET[:VERSION] for the defaults.")
    ],
    folds: Annotated[int, typer.Option(min=2, max=20, help="As many jobs are trained.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Another one puts other groups together.")] = 0,
    priority: Annotated[
        int, typer.Option(min=-10, max=10, help="Jobs of higher priority start first; above 0 for admins.")
    ] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until all jobs are over, and show what came out.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Train on all but one fold each time, and test on that one: each sample once, by a network that never saw it.

    Patients (groups) are never split. Prints the id; with --wait also the metrics.
    """
    from service.cli import cross_validation_tables as tables
    from service.cli import job_options, terminal
    from workers.contract.request import JobSpec

    with terminal.expected_errors(), connect(url, key) as dale:
        file = Path(spec)
        job = JobSpec.model_validate_json(file.read_bytes()) if file.is_file() else job_options.spec(spec, {})
        made = dale.cross_validate(job, folds=folds, seed=seed, priority=priority)
        if not as_json:
            terminal.say(f"Cross-validation {made.id}: {folds} jobs are queued.")
        if wait:
            made = dale.wait_for_cross_validation(made.id)
        if as_json:
            terminal.say_json(dale.cross_validated_metrics(made.id) if wait else made)
        elif wait:
            tables.say_metrics(dale.cross_validated_metrics(made.id))
        else:
            terminal.say(f"Look at it: dale cross-validations show {made.id}")
    raise typer.Exit(tables.exit_code(made) if wait else terminal.OK)


@app.callback(invoke_without_command=True)
def list_cross_validations(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Option(metavar="DATASET", help="Only of this dataset.")] = None,
    project: InProject = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the cross-validations, newest first; or do one of the commands below."""
    if context.invoked_subcommand is not None:
        return
    from itertools import islice

    from service.cli import cross_validation_tables as tables
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(islice(dale.cross_validations(dataset=dataset, project=project), limit))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(tables.cross_validations_table(found))


@app.command()
def show(cross_validation: CrossValidationId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show a cross-validation: each fold with its job. Its metrics: dale metrics CV."""
    from service.cli import cross_validation_tables as tables
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.cross_validation(cross_validation)
    if as_json:
        terminal.say_json(found)
        return
    left = f", {found.left_out} held-out samples left out" if found.left_out else ""
    terminal.say(f"{found.name}: {found.state}, {found.dataset_id}:{found.dataset_version}, seed {found.seed}{left}")
    terminal.out().print(tables.folds_table(found))


@app.command()
def samples(
    cross_validation: CrossValidationId,
    by: Annotated[str, typer.Option(help="dice, iou, hd95, precision or recall: the worst first.")] = "dice",
    fold: Annotated[int | None, typer.Option(min=1, help="Only this fold.")] = None,
    name: Annotated[str | None, typer.Option(help="Only samples with this text in their names.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List samples, each by the network that has not seen it: those whose labels it contradicts most come first."""
    from itertools import islice

    from service.cli import cross_validation_tables as tables
    from service.cli import terminal
    from workers.contract.evaluation import METRICS

    with terminal.expected_errors(), connect(url, key) as dale:
        metric = next((one for one in METRICS if one == by), None)
        if metric is None:
            raise ValueError(f"--by {by}: give one of {', '.join(METRICS)}")
        found = list(islice(dale.out_of_fold(cross_validation, order_by=metric, fold=fold, name=name), limit))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(tables.samples_table(found))


@app.command()
def cancel(cross_validation: CrossValidationId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """End all jobs of a cross-validation that are not over."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.cancel_cross_validation(cross_validation)
    terminal.say_json(found) if as_json else terminal.say(f"Cross-validation {found.id} is {found.state}.")


@app.command()
def delete(
    cross_validation: CrossValidationId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Remove a cross-validation that is over, with its jobs and their models, for good."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.cross_validation(cross_validation)
        if not yes:
            what = f"{found.id} ({found.name}), which is {found.state}, with all of its jobs and models"
            typer.confirm(f"Delete cross-validation {what}?", abort=True, err=True)
        dale.delete_cross_validation(found.id)
        terminal.say(f"Cross-validation {found.id} is deleted.")
