"""The commands about versions of a dataset: `dale correct`, `dale diff`, `dale delete-dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli import completion
from service.cli.options import Json, Key, Url, connect

Dataset = Annotated[
    str,
    typer.Argument(
        metavar="DATASET",
        help="Id of a dataset, as `dale datasets` lists them.",
        autocompletion=completion.datasets,
    ),
]


def correct(
    dataset: Dataset,
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER_OR_ZIP", help="Corrected masks, named as their samples; or images/ and masks/: new samples."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave this sample out; may be said again.")
    ] = None,
    base: Annotated[int | None, typer.Option(min=1, help="The version to correct (default: the newest).")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make the next version of a dataset, with corrected masks, with new samples, and without some."""
    from service.cli import terminal
    from service.cli.packing import masks_as_archive

    with terminal.expected_errors(), connect(url, key) as dale, masks_as_archive(masks) as archive:
        version = dale.correct(dataset, masks=archive, exclude=exclude or [], base=base)
    if as_json:
        terminal.say_json(version)
        return
    terminal.say(f"Dataset {dataset}, version {version.number}: {terminal.splits(version)}.")
    for warning in version.warnings:
        terminal.say(f"  note: {warning.file}: {warning.reason}", "yellow")
    terminal.say(f"Train on it: dale train {dataset}:{version.number} --follow")


def diff(
    dataset: Dataset,
    before: Annotated[int, typer.Argument(metavar="A", min=1, help="Number of a version.")],
    now: Annotated[int, typer.Argument(metavar="B", min=1, help="Number of another.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the samples that differ between two versions."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(dale.difference(dataset, before, now))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.difference_table(found))


def delete_dataset(
    dataset: Dataset,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Delete a dataset with all of its versions.

    Refused while a job is over one of them. There is no way back.
    """
    from service.cli import terminal

    if not yes:
        typer.confirm(f"Delete dataset {dataset} with all versions, for ever?", abort=True)
    with terminal.expected_errors(), connect(url, key) as dale:
        dale.delete_dataset(dataset)
        terminal.say(f"Dataset {dataset} is deleted.")
