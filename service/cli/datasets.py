"""`dale upload`, `dale datasets`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from service.cli.options import InProject, Json, Key, Url, connect

WHOLE_BYTES = 64 << 20  # an upload that is no larger goes up in one piece


def upload(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER_OR_ZIP", help="images/ and masks/; nnU-Net's raw format; COCO's; DICOM series and SEG."
        ),
    ],
    name: Annotated[str, typer.Option(help="A name for people (default: that of the folder or zip).")] = "",
    mask_threshold: Annotated[
        int | None, typer.Option(help="Mask pixels from this value on are lesion, all others background.")
    ] = None,
    layout: Annotated[
        Literal["auto", "folders", "nnunet", "coco", "dicom"],
        typer.Option(help="How it is laid out, where that is not plain."),
    ] = "auto",
    remap: Annotated[
        str | None, typer.Option(metavar="A=B,…", help="Mask values to replace first, e.g. 255=1,3=0 (0: background).")
    ] = None,
    group_pattern: Annotated[
        str | None, typer.Option(help=r"Finds the group (patient, …) in a sample's name, such as '^(P\d+)_'.")
    ] = None,
    test_share: Annotated[float, typer.Option(help="Share of the groups to hold out, to judge the network by.")] = 0.0,
    validation_share: Annotated[
        float, typer.Option(help="Share of the groups to compare the epochs of a training on.")
    ] = 0.0,
    split_seed: Annotated[int, typer.Option(help="Which groups these are.")] = 0,
    resume: Annotated[str, typer.Option(help="Go on with an upload in parts of the same files that broke off.")] = "",
    project: Annotated[str | None, typer.Option(help="For the operator: the project that it goes to.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Upload a dataset. Every file is checked; a refusal names every bad file. A large one goes up in parts."""
    from service.cli import terminal
    from service.cli.packing import as_archive
    from service.datasets.options import ImportOptions

    with terminal.expected_errors(), connect(url, key) as dale, terminal.file_progress() as bar:
        task = bar.add_task("packing", total=None, visible=source.is_dir())
        with as_archive(source, layout=layout) as archive:
            bar.update(task, description="uploading", visible=True)

            def tell(done: int, size: int) -> None:
                bar.update(
                    task, completed=done, total=size, description="uploading" if done < size else "being checked"
                )

            options = ImportOptions(
                mask_threshold=mask_threshold,
                layout=layout,
                remap=remap,
                group_pattern=group_pattern,
                test_share=test_share,
                validation_share=validation_share,
                split_seed=split_seed,
            )
            title = name or source.resolve().name.removesuffix(".zip")

            def begun(upload_id: str) -> None:
                asked = "" if layout == "auto" else f" --layout {layout}"
                again = f"dale upload {shlex.quote(str(source))}{asked} --resume {upload_id}"
                terminal.err().print(f"If it breaks off, go on with: {again}", soft_wrap=True, markup=False)

            if resume or archive.stat().st_size > WHOLE_BYTES:
                dataset = dale.upload_in_parts(
                    archive,
                    name=title,
                    options=options,
                    project=project,
                    resume=resume or None,
                    begun=begun,
                    progress=tell,
                )
            else:
                dataset = dale.upload(
                    archive,
                    name=title,
                    options=options,
                    project=project,
                    progress=tell,
                )
    if as_json:
        terminal.say_json(dataset)
        return
    terminal.say(f"Dataset {dataset.id}, version {dataset.newest.number}: {terminal.splits(dataset.newest)}.")
    for line in terminal.annotators(dataset.newest):
        terminal.say(f"  {line}")
    for warning in dataset.newest.warnings:
        where = f"{warning.file}: " if warning.file else ""
        terminal.say(
            f"  note: {where}{warning.reason} {f'({warning.hint})' if warning.hint else ''}".rstrip(), "yellow"
        )
    terminal.say(f"Train on it: dale train {dataset.id} --follow")


def datasets(
    project: InProject = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the datasets, newest first."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(dale.datasets(project=project))
    if as_json:
        terminal.say_json(found)
    else:
        terminal.out().print(terminal.datasets_table(found))
