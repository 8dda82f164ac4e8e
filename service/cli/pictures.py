"""Commands about pictures of samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import JobId, Key, Url, connect


def fetch_map(
    job_id: JobId,
    sample: Annotated[str, typer.Argument(help="Name of a sample.")],
    out: Annotated[Path, typer.Argument(help="Folder for the file.")] = Path(),
    drawn: Annotated[
        bool, typer.Option("--drawn", help="As a picture instead: over the image, with label and prediction outlined.")
    ] = False,
    size: Annotated[int, typer.Option(min=64, max=2048, help="With --drawn: longer side, in pixels.")] = 1024,
    url: Url = None,
    key: Key = None,
) -> None:
    """Download which pixels of a label a job doubts.

    8 bits of grey (.png, of volumes .nii.gz): 0 = nothing speaks against the label, 255 = surely another class.
    """
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        file = dale.fetch_picture(job_id, sample, out, size=size) if drawn else dale.fetch_map(job_id, sample, out)
    terminal.say(str(file))
