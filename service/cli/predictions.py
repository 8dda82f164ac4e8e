"""The command `dale predict`: masks of files by a model of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.models import Model
from service.cli.options import Key, Url, connect
from workers.contract.outputs import Output


def predict(
    model: Model,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Images (PNG, JPEG, TIFF) or volumes (NIfTI); where each channel is a file: NAME_0000, NAME_0001, …",
            exists=True,
            dir_okay=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the masks.")],
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also what is believed of each class.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also how unsure the model is, from 0 to 1.")
    ] = False,
    flips: Annotated[
        bool, typer.Option("--flips", help="Mean over all mirror images: 4 times as long, of volumes 8 times.")
    ] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Let a model say where lesions are, in files of your own.

    The masks have the size and place of what was sent. A file that the service refuses is told, and the others go on;
    then the exit code is 2.
    """
    from service.cli import terminal
    from service.client import Refused
    from service.client.files import cases

    outputs = [Output.MASK, *[Output.PROBABILITIES] * probabilities, *[Output.UNCERTAINTY] * uncertainty]
    refused = 0
    with terminal.expected_errors(), connect(url, key) as dale, terminal.job_progress() as bar:
        model = dale.model_id(model)  # once for all files
        found = cases(files, dale.describe(model)["files"])
        task = bar.add_task("predicting", total=len(found), note="")
        for name, paths in found.items():
            bar.update(task, note=name)
            try:
                written = dale.predict(model, paths, out, outputs=outputs, name=name, flips=flips)
            except Refused as error:
                if error.status not in {413, 422}:  # else it is about this file, and not about all of them
                    raise
                refused += 1
                terminal.complain(f"{name}: {error}", error.errors)
            else:
                for path in written.values():
                    terminal.say(str(path))
            bar.advance(task)
    if refused:
        raise typer.Exit(terminal.REFUSED)
