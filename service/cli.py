"""The `dale` command: thin over the HTTP API.

Exit codes: 0 done, 1 the job failed or was cancelled, 2 wrong usage or refused, 3 no service at that address.
Heavy modules are imported inside the commands, so that `dale --help` answers at once.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from service import cli_access, cli_versions
from service.cli_options import Json, Key, Url, connect

app = typer.Typer(
    help="Train lesion segmentation on masks that cannot all be trusted, and learn which ones to look at.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(cli_access.keys, name="keys")
app.add_typer(cli_access.projects, name="projects")
app.command()(cli_versions.correct)
app.command()(cli_versions.diff)
app.command("delete-dataset")(cli_versions.delete_dataset)
app.command()(cli_access.audit)
app.command()(cli_access.whoami)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job, as `dale jobs` lists them.")]


WHOLE_BYTES = 64 << 20  # an upload that is no larger goes up in one piece


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
    from service import terminal

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
    from service import credentials, terminal

    with terminal.expected_errors():
        from service.client import Client

        secret = key or typer.prompt("API key", hide_input=True)
        with Client(url, secret) as dale:
            dale.me()
            kept = credentials.save(credentials.Target(dale.url, secret))
        terminal.say(f"The key works. It is kept in {kept}.")


@app.command()
def upload(
    source: Annotated[
        Path, typer.Argument(metavar="FOLDER_OR_ZIP", help="images/ and masks/, or nnU-Net's raw format.")
    ],
    name: Annotated[str, typer.Option(help="A name for people (default: that of the folder or zip).")] = "",
    mask_threshold: Annotated[
        int | None, typer.Option(help="Mask pixels from this value on are lesion, all others background.")
    ] = None,
    layout: Annotated[
        Literal["auto", "folders", "nnunet"], typer.Option(help="How it is laid out, where that is not plain.")
    ] = "auto",
    resume: Annotated[str, typer.Option(help="Go on with an upload in parts of the same files that broke off.")] = "",
    project: Annotated[str | None, typer.Option(help="For the operator: the project that it goes to.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Upload a dataset. Every file is checked; a refusal names every bad file. A large one goes up in parts."""
    from service import terminal
    from service.packing import as_archive

    with terminal.expected_errors(), connect(url, key) as dale, terminal.file_progress() as bar:
        task = bar.add_task("packing", total=None, visible=source.is_dir())
        with as_archive(source) as archive:
            bar.update(task, description="uploading", visible=True)

            def tell(done: int, size: int) -> None:
                bar.update(
                    task, completed=done, total=size, description="uploading" if done < size else "being checked"
                )

            title = name or source.resolve().name.removesuffix(".zip")

            def begun(upload_id: str) -> None:
                again = f"dale upload {shlex.quote(str(source))} --resume {upload_id}"
                terminal.err().print(f"If it breaks off, go on with: {again}", soft_wrap=True, markup=False)

            if resume or archive.stat().st_size > WHOLE_BYTES:
                dataset = dale.upload_in_parts(
                    archive,
                    name=title,
                    mask_threshold=mask_threshold,
                    layout=layout,
                    project=project,
                    resume=resume or None,
                    begun=begun,
                    progress=tell,
                )
            else:
                dataset = dale.upload(
                    archive,
                    name=title,
                    mask_threshold=mask_threshold,
                    layout=layout,
                    project=project,
                    progress=tell,
                )
    if as_json:
        terminal.say_json(dataset)
        return
    terminal.say(f"Dataset {dataset.id}, version {dataset.newest.number}: {dataset.newest.sample_count} samples.")
    for warning in dataset.newest.warnings:
        where = f"{warning.file}: " if warning.file else ""
        terminal.say(
            f"  note: {where}{warning.reason} {f'({warning.hint})' if warning.hint else ''}".rstrip(), "yellow"
        )
    terminal.say(f"Train on it: dale train {dataset.id} --follow")


@app.command()
def datasets(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List the datasets, newest first."""
    from service import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(dale.datasets())
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.datasets_table(found))


@app.command()
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
    timeout_seconds: Annotated[int | None, typer.Option(help="From the POST on (default: no limit).")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Show the progress until the job is over.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Post a training job."""
    from service import following, job_options, terminal

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
            "timeout_seconds": timeout_seconds,
            "name": name,
        }
        job = dale.train(job_options.spec(dataset, given))
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


@app.command()
def jobs(
    state: Annotated[str | None, typer.Option(help="Only jobs in this state, e.g. RUNNING.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the jobs, newest first."""
    from itertools import islice

    from service import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(islice(dale.jobs(state=state.upper() if state else None), limit))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.jobs_table(found))


@app.command("job")
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
    from service import following, terminal

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


@app.command()
def cancel(job_id: JobId, url: Url = None, key: Key = None) -> None:
    """End a job; its workers are gone within seconds."""
    from service import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        terminal.say(f"Job {job_id} is {dale.cancel(job_id).state}.")


@app.command()
def samples(
    job_id: JobId,
    worst: Annotated[int, typer.Option(min=1, help="So many of the most doubted.")] = 20,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the most doubted labels.

    These are the samples to look at first.
    """
    from itertools import islice

    from service import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(islice(dale.samples(job_id, page_size=min(worst, 500)), worst))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.samples_table(found))


@app.command()
def fetch(
    job_id: JobId,
    out: Annotated[Path, typer.Argument(help="Folder for the model's files.")],
    url: Url = None,
    key: Key = None,
) -> None:
    """Download the model of a job.

    Resumes where it was interrupted, and checks the sha256 of every file.
    """
    from service import terminal

    with terminal.expected_errors(), connect(url, key) as dale, terminal.file_progress() as bar:
        tasks: dict[str, Any] = {}

        def tell(name: str, done: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=size)
            bar.update(tasks[name], completed=done)

        files = dale.fetch(job_id, out, progress=tell)
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


if __name__ == "__main__":
    app()
