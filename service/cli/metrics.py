"""The command `dale metrics`: how well a job's network does on the samples that were held out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Json, Key, Url, connect

if TYPE_CHECKING:
    from rich.table import Table

    from workers.contract.evaluation import Evaluation

TITLES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "precision": "precision", "recall": "recall"}


def show_metrics(
    job_id: Annotated[str, typer.Argument(metavar="JOB|CV", help="Id of a job, or of a cross-validation (cv-…).")],
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Write them as a picture (SVG) instead.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show how well a job does on held-out samples, or a cross-validation on those of all folds.

    Metrics by class with 95 % intervals of their means, and how far the network's probabilities are to be believed.
    Single samples: dale samples JOB --held-out, dale cross-validations samples CV.
    """
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        cross_validated = job_id.startswith("cv-")
        if svg is not None:
            draw = dale.cross_validated_metrics_svg if cross_validated else dale.metrics_svg
            svg.write_text(draw(job_id), encoding="utf-8")
            terminal.say(str(svg))
            return
        if cross_validated:
            from service.cli.cross_validation_tables import say_metrics

            pooled = dale.cross_validated_metrics(job_id)
            terminal.say_json(pooled) if as_json else say_metrics(pooled)
            return
        found = dale.metrics(job_id)
        if as_json:
            terminal.say_json(found)
            return
        if found.evaluation is None:
            reason = "the job is not over" if found.state == "not-yet" else "no sample was held out, or none was scored"
            raise ValueError(f"there are no metrics: {reason}")
        one = found.evaluation
        terminal.say(f"{one.samples} held-out samples in {one.groups} groups; intervals of the mean: {one.level:.0%}.")
        terminal.out().print(summary_table(one))
        terminal.out().print(calibration_table(one))


def summary_table(found: Evaluation) -> Table:
    """Metrics by class."""
    from service.cli.terminal import columns

    table = columns("metric", "class", "mean", "interval", "median", "std", "samples", "undefined")
    for one in found.metrics:
        unit = f" ({found.hd95_unit})" if one.metric == "hd95" else ""
        interval = "" if one.low is None else f"{number(one.low)} to {number(one.high)}"
        table.add_row(
            TITLES[one.metric] + unit,
            "mean of all" if one.label_class is None else str(one.label_class),
            number(one.mean),
            interval,
            number(one.median),
            number(one.std),
            str(one.samples),
            str(one.undefined or ""),
        )
    return table


def calibration_table(found: Evaluation) -> Table:
    """Calibration by class."""
    from service.cli.terminal import columns

    table = columns("class", "calibration error", "Brier score", "pixels")
    for one in found.calibration:
        table.add_row(str(one.label_class), f"{one.ece:.4f}", f"{one.brier:.4f}", str(one.pixels))
    return table


def number(value: float | None) -> str:
    """Three digits; nothing where it is undefined."""
    return "" if value is None else f"{value:.3f}"
