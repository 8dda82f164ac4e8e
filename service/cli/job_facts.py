"""Commands about what is known of a job: its epochs, how its confidences are spread, and what it ran in."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from service.cli.options import JobId, Json, Key, Url, connect

BLOCKS = " ▁▂▃▄▅▆▇█"


def show_epochs(job_id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show the metrics of the finished epochs, in order."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = list(dale.epochs(job_id))
    if as_json:
        terminal.say_json(found)
        return
    names = sorted({name for epoch in found for name in epoch.metrics})
    table = terminal.columns("epoch", *names)
    for epoch in found:
        numbers = (epoch.metrics.get(name) for name in names)
        table.add_row(str(epoch.epoch), *("" if number is None else f"{number:.4g}" for number in numbers))
    terminal.out().print(table)


def show_histogram(job_id: JobId, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show how a job's confidences are spread, epoch by epoch: from 0 on the left to 1 on the right."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.histogram(job_id)
    if as_json:
        terminal.say_json(found)
        return
    most = max((count for epoch in found.epochs for count in epoch.counts), default=0) or 1
    table = terminal.columns("epoch", f"confidences of {found.samples} samples")
    for epoch in found.epochs:
        heights = (-(-count * (len(BLOCKS) - 1) // most) for count in epoch.counts)  # what is there is seen
        table.add_row(str(epoch.epoch), "".join(BLOCKS[height] for height in heights))
    terminal.out().print(table)


def show_environment(
    job_id: JobId,
    attempt: Annotated[int | None, typer.Option(min=1, help="Which attempt (default: the newest).")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print what an attempt ran in, as JSON: versions of packages, hardware, data."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        terminal.say_json(dale.environment(job_id, attempt=attempt))


def show_schema(url: Url = None, key: Key = None) -> None:
    """Print the JSON Schema of a job: every option with its bounds and default."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        typer.echo(json.dumps(dale.job_schema(), indent=2))
