"""Cross-validations on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from service.cli import terminal
from service.cli.metrics import TITLES, calibration_table, number, summary_table
from service.resources.cross_validations import (
    CrossValidation,
    CrossValidationMetrics,
    CrossValidationState,
    OutOfFoldSample,
)

if TYPE_CHECKING:
    from rich.table import Table


def cross_validations_table(found: Sequence[CrossValidation]) -> Table:
    """One line for each."""
    table = terminal.columns("id", "name", "state", "folds", "dataset")
    for one in found:
        done = sum(fold.test_dice is not None for fold in one.folds)
        data = f"{one.dataset_id}:{one.dataset_version}"
        table.add_row(one.id, Text(one.name), one.state, f"{done} of {len(one.folds)}", data)
    return table


def folds_table(found: CrossValidation) -> Table:
    """One line for each fold."""
    table = terminal.columns("fold", "job", "state", "samples", "groups", "Dice", "cause")
    for one in found.folds:
        state = one.state or "DELETED"
        cause = Text(one.cause or "")
        counts = (str(one.samples), str(one.groups))
        table.add_row(str(one.fold), one.job_id or "", state, *counts, number(one.test_dice), cause)
    return table


def samples_table(found: Sequence[OutOfFoldSample]) -> Table:
    """One line for each sample."""
    table = terminal.columns("sample", "fold", "job", *TITLES.values())
    for one in found:
        values = (one.dice, one.iou, one.hd95, one.precision, one.recall)
        table.add_row(Text(one.sample), str(one.fold), one.job_id, *map(number, values))
    return table


def say_metrics(found: CrossValidationMetrics) -> None:
    """What all folds together say, and which are not among them."""
    terminal.say(f"{len(found.counted)} of {found.folds} folds count.")
    for missing in found.missing:
        terminal.say(f"Fold {missing.fold} does not: {missing.reason}.", "yellow")
    one = found.evaluation
    if one is None:
        raise ValueError("there are no metrics: no fold has any so far")
    terminal.say(
        f"{one.samples} samples in {one.groups} groups, each by a network that has not seen it; intervals of the "
        f"mean: {one.level:.0%}."
    )
    terminal.out().print(summary_table(one))
    terminal.out().print(_spread_table(found))
    terminal.out().print(calibration_table(one))


def exit_code(found: CrossValidation) -> int:
    """0 if all folds succeeded."""
    return terminal.OK if found.state is CrossValidationState.SUCCEEDED else terminal.JOB_FAILED


def _spread_table(found: CrossValidationMetrics) -> Table:
    table = terminal.columns("metric", "class", "mean of folds", "std", *(f"fold {fold}" for fold in found.counted))
    for one in found.spread:
        which = "mean of all" if one.label_class is None else str(one.label_class)
        table.add_row(TITLES[one.metric], which, number(one.mean), number(one.std), *map(number, one.folds))
    return table
