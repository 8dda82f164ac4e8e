"""Models as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from service.cli.terminal import columns, when
from service.resources.model_comparison import ModelComparison
from service.resources.models import ModelResource


def models_table(models: Sequence[ModelResource]) -> Table:
    """Models, one a line."""
    table = columns("model", "name", "version", "stage", "test Dice", "dataset", "finished")
    for one in models:
        data = f"{one.dataset_id}:{one.dataset_version}"
        stage = "" if one.stage == "none" else str(one.stage)
        table.add_row(one.id, Text(one.name), str(one.version), stage, dice(one), data, when(one.finished_at))
    return table


def dice(model: ModelResource) -> str:
    """Mean ± standard deviation over the held-out samples; nothing where it was not tested."""
    metrics = model.metrics or {}
    if "test_dice" not in metrics:
        return ""
    spread = f" ± {metrics['test_dice_std']:.3f}" if "test_dice_std" in metrics else ""
    return f"{metrics['test_dice']:.3f}{spread}"


def model_lines(model: ModelResource) -> Table:
    """One model in full."""
    table = Table(show_header=False, box=None)
    rows = [
        ("model", model.id),
        ("name", f"{model.name}:{model.version}"),
        ("stage", str(model.stage)),
        ("tags", ", ".join(f"{name}={value}" for name, value in sorted(model.tags.items()))),
        ("for", model.intended_use),
        ("description", model.description),
        ("network", model.network.name),
        ("dataset", f"{model.dataset_id}:{model.dataset_version}"),
        ("starts from", model.warm_start or ""),
        ("finished", when(model.finished_at)),
        ("metrics", ", ".join(f"{name} {value:.4g}" for name, value in (model.metrics or {}).items())),
        ("files", ", ".join(file.name for file in model.files)),
    ]
    for one in model.checkpoints:
        told = "" if one.validation_dice is None else f", Dice {one.validation_dice:.3f} on validation samples"
        rows.append((f"{one.kind} weights", f"epoch {one.epoch + 1}{told}{', delivered' if one.delivered else ''}"))
    for name, value in rows:
        if value:
            table.add_row(name, Text(value))
    return table


def comparison_table(found: ModelComparison) -> Table:
    """Models beside the first of them."""
    table = columns("model", "name", "Dice", "less the first", "95 % interval", "better / worse / equal", "sign test p")
    apart = {one.model: one for one in found.differences}
    for model in found.models:
        line: list[str | Text] = [
            model.id,
            Text(f"{model.name}:{model.version}"),
            f"{model.dice:.3f} ± {model.dice_std:.3f}",
        ]
        if (one := apart.get(model.id)) is not None:
            interval = f"{one.low:+.3f} to {one.high:+.3f}" if one.low is not None and one.high is not None else ""
            line += [f"{one.dice:+.3f}", interval, f"{one.better} / {one.worse} / {one.equal}", f"{one.sign_p:.3g}"]
        table.add_row(*line)
    return table
