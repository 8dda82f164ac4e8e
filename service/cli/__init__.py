"""The `dale` command: thin over the HTTP API.

Exit codes are in `--help`, and decided in `service.cli.terminal`.
Heavy modules are imported inside the commands, so that `dale --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli import (
    access,
    cross_validations,
    dataset_facts,
    datasets,
    exports,
    job_facts,
    jobs,
    metrics,
    models,
    one_sample,
    pictures,
    prediction_jobs,
    predictions,
    reproduce,
    reviews,
    samples,
    server,
    versions,
)
from service.cli.options import Key, Url, connect

app = typer.Typer(
    help="Train lesion segmentation on masks that cannot all be trusted, and learn which ones to look at.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="Exit codes: 0 done; 1 the job failed or was cancelled, or you did not confirm; 2 wrong usage, or refused; "
    "3 nobody answers at that address; 4 a job that was repeated came to something else; 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(version("dale-service"))
        raise typer.Exit


@app.callback()
def begin(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Options that are left out are as files and environment say."""
    from service.cli import configuration, terminal

    with terminal.expected_errors():
        context.default_map = configuration.defaults(context.command)


app.add_typer(access.keys, name="keys")
app.add_typer(access.projects, name="projects")
app.add_typer(reviews.app, name="review")
app.add_typer(models.app, name="models")
app.add_typer(cross_validations.app, name="cross-validations")
app.add_typer(dataset_facts.uploads, name="uploads")
app.command()(datasets.upload)
app.command()(datasets.datasets)
app.command("dataset")(dataset_facts.show_dataset)
app.command("stored")(dataset_facts.list_stored)
app.command("file")(dataset_facts.fetch_file)
app.command()(versions.correct)
app.command()(versions.diff)
app.command("delete-dataset")(versions.delete_dataset)
app.command()(access.audit)
app.command()(access.whoami)
app.command()(jobs.train)
app.command()(cross_validations.cross_validate)
app.command()(jobs.jobs)
app.command("job")(jobs.show_job)
# A priority can be negative, which click would take for an option.
app.command("priority", context_settings={"ignore_unknown_options": True})(jobs.set_priority)
app.command("epochs")(job_facts.show_epochs)
app.command("histogram")(job_facts.show_histogram)
app.command("environment")(job_facts.show_environment)
app.command("schema")(job_facts.show_schema)
app.command()(jobs.cancel)
app.command()(jobs.retry)
app.command()(jobs.delete)
app.command()(reproduce.reproduce)
app.command()(reproduce.compare)
app.command("metrics")(metrics.show_metrics)
app.command("samples")(samples.list_samples)
app.command()(one_sample.sample)
app.command("map")(pictures.fetch_map)
app.command()(predictions.predict)
app.command()(prediction_jobs.predict_dataset)
app.command()(prediction_jobs.fetch_predictions)
app.command()(exports.export)
app.command("import")(exports.import_decisions)
app.command()(server.serve)
app.command()(server.demo)


@app.command()
def login(
    url: Annotated[str, typer.Argument(help="Address of the service, for example http://127.0.0.1:8000.")],
    key: Annotated[str | None, typer.Option("--key", help="API key; asked for if left out.")] = None,
) -> None:
    """Keep a key, once it is seen to work.

    It lies in your home folder, readable only by you.
    """
    from service.cli import credentials, terminal

    with terminal.expected_errors():
        from service.client import Client

        secret = key or typer.prompt("API key", hide_input=True)
        with Client(url, secret) as dale:
            dale.me()
            kept = credentials.save(credentials.Target(dale.url, secret))
        terminal.say(f"The key works. It is kept in {kept}.")


@app.command()
def fetch(
    model: models.Model,
    out: Annotated[Path, typer.Argument(help="Folder for the model's files.")],
    checkpoint: Annotated[
        Literal["last", "best"] | None,
        typer.Option(help="Only these weights, and how to load them (default: all that was delivered)."),
    ] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Download a model.

    Resumes where it was interrupted, and checks the sha256 of every file.
    """
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale, terminal.file_progress() as bar:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=size)
            bar.update(tasks[name], completed=done)

        files = dale.fetch(model, out, checkpoint=checkpoint, progress=tell)
    for file in files:
        terminal.say(str(file))
