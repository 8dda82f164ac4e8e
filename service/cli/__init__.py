"""The `dale` command: thin over the HTTP API.

Exit codes: 0 done, 1 the job failed or was cancelled, 2 wrong usage or refused, 3 no service at that address,
4 a job that was repeated came to something else.
Heavy modules are imported inside the commands, so that `dale --help` answers at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service.cli import (
    access,
    datasets,
    exports,
    jobs,
    metrics,
    models,
    one_sample,
    pictures,
    predictions,
    reproduce,
    reviews,
    samples,
    versions,
)
from service.cli.options import Key, Url, connect

app = typer.Typer(
    help="Train lesion segmentation on masks that cannot all be trusted, and learn which ones to look at.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(access.keys, name="keys")
app.add_typer(access.projects, name="projects")
app.add_typer(reviews.app, name="review")
app.add_typer(models.app, name="models")
app.command()(datasets.upload)
app.command()(datasets.datasets)
app.command()(versions.correct)
app.command()(versions.diff)
app.command("delete-dataset")(versions.delete_dataset)
app.command()(access.audit)
app.command()(access.whoami)
app.command()(jobs.train)
app.command()(jobs.jobs)
app.command("job")(jobs.show_job)
# A priority can be negative, which click would take for an option.
app.command("priority", context_settings={"ignore_unknown_options": True})(jobs.set_priority)
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
app.command()(exports.export)
app.command("import")(exports.import_decisions)


@app.command()
def serve(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of everything it keeps (default: dale-data).")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one (default: 8000).")] = None,
    ray_address: Annotated[
        str | None, typer.Option(help="Jobs URL of a Ray cluster (default: it starts a Ray head of its own).")
    ] = None,
) -> None:
    """Run the service until Ctrl-C.

    API, review pages and training in one. Everything can also be set by environment variables: DALE_DATA_DIR,
    DALE_HOST, DALE_PORT, DALE_API_KEY, ...
    """
    from service.cli import terminal

    with terminal.expected_errors():
        from service.embedded import CannotServeError
        from service.embedded import serve as run
        from service.settings import Settings

        options = {"data_dir": data_dir, "host": host, "port": port, "ray_address": ray_address}
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        try:
            run(Settings(**given))
        except CannotServeError as error:
            raise ValueError(str(error)) from error


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


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="Your own folder of images/ and masks/ (else synthetic).")] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service running until Ctrl-C, to look at it.")
    ] = False,
) -> None:
    """See it work, in some minutes.

    Spoils some masks, trains on them, and shows whether they are found.
    """
    from service import demo as demonstration

    raise typer.Exit(demonstration.run(data, keep=keep))
