"""Commands about what is stored: a dataset's versions, samples and files, and uploads that are under way."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from service.cli import completion
from service.cli.options import Json, Key, Url, connect
from service.cli.reviews import Version, parsed

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="Id of a dataset, as `dale datasets` lists them.",
        autocompletion=completion.datasets,
    ),
]
UploadId = Annotated[str, typer.Argument(metavar="UPLOAD", help="Id of an upload in parts, as `dale upload` said it.")]
uploads = typer.Typer(help="Look at uploads in parts, and give them up.", no_args_is_help=True)


class File(StrEnum):
    """What is stored of a sample."""

    IMAGE = "image"
    LABEL = "label"
    CORRECTION = "correction"  # that a reviewer put in the label's place
    DRAWN = "drawn"  # a picture: the image with its label outlined


def show_dataset(dataset: Dataset, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show a dataset and its versions, the newest first."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found, versions = dale.dataset(dataset), dale.versions(dataset)
    if as_json:
        terminal.say_json(versions)
        return
    terminal.say(f"{found.id} ({found.name}), of {terminal.when(found.created_at)}")
    table = terminal.columns("version", "samples", "layout", "created")
    for version in versions:
        table.add_row(str(version.number), terminal.splits(version), version.layout, terminal.when(version.created_at))
    terminal.out().print(table)


def list_stored(
    version: Version,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the samples of a version by name; those that are held out come last."""
    from itertools import islice

    from rich.text import Text

    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        dataset, number = parsed(version)
        about = dale.version(dataset, number)
        found = list(islice(dale.dataset_samples(dataset, number), limit))
    if as_json:
        terminal.say_json(found)
        return
    terminal.say(f"{version}: {terminal.splits(about)}.")
    table = terminal.columns("sample", "split", "group", "annotator", "verified")
    for sample in found:
        facts = (Text(sample.group or ""), Text(sample.annotator or ""), "yes" if sample.verified else "")
        table.add_row(Text(sample.sample), sample.split, *facts)
    terminal.out().print(table)


def fetch_file(
    version: Version,
    sample: Annotated[str, typer.Argument(help="Name of a sample.")],
    out: Annotated[Path, typer.Argument(help="Folder for the file.")] = Path(),
    what: Annotated[File, typer.Option(help="What to download.")] = File.IMAGE,
    channel: Annotated[int, typer.Option(min=0, help="With image: which file, where each channel has its own.")] = 0,
    size: Annotated[int, typer.Option(min=64, max=2048, help="With drawn: longer side, in pixels.")] = 1024,
    url: Url = None,
    key: Key = None,
) -> None:
    """Download an image, its label or correction as it is stored, or a picture of the label on the image."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        named = (*parsed(version), sample, out)
        if what is File.IMAGE:
            file = dale.fetch_image(*named, channel=channel)
        elif what is File.LABEL:
            file = dale.fetch_label(*named)
        elif what is File.CORRECTION:
            file = dale.fetch_correction(*named)
        else:
            file = dale.fetch_labelled(*named, size=size)
    terminal.say(str(file))


@uploads.command("show")
def show_upload(upload: UploadId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show how far an upload in parts has come."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.upload_state(upload)
    if as_json:
        terminal.say_json(found)
        return
    became = f", dataset {found.dataset_id}" if found.dataset_id else f"; kept until {terminal.when(found.expires_at)}"
    terminal.say(f"{found.name}: {found.state.lower()}, {len(found.received)} of {found.parts} parts{became}.")
    if found.errors:
        terminal.complain("The import failed:", found.errors)


@uploads.command("discard")
def discard_upload(upload: UploadId, url: Url = None, key: Key = None) -> None:
    """Give an upload in parts up, with the parts that have arrived."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        dale.discard_upload(upload)
    terminal.say(f"Upload {upload} is discarded.")
