"""Metrics as an SVG file that carries its own colours: strips of dots below one another, and reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from service.web.evaluation import MOST_DOTS, WIDTH, Strip, diagram, strip_of, title_of
from workers.contract.evaluation import ClassValues, Evaluation, MetricName, MetricSummary
from workers.contract.summaries import mean_over_classes

_templates = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True)
Scores = Sequence[tuple[str, ClassValues | None]]


@dataclass(frozen=True)
class Line:
    """A strip with what the metric comes to.

    Attributes:
        strip: the dots.
        summary: mean and interval in words.
        interval: x of the mean and of the ends of its interval; None where there is none.
    """

    strip: Strip
    summary: str
    interval: tuple[float, float, float] | None


def drawing(title: str, evaluation: Evaluation, scores: Scores) -> str:
    """The picture: each metric over all classes, Dice also by class, and the calibration of each class.

    Args:
        title: above it.
        evaluation: the numbers.
        scores: of each sample its name and class values.
    """
    drawn = [one for one in evaluation.metrics if one.metric == "dice" or one == evaluation.overall(one.metric)]
    values = {
        "title": _printable(title),
        "of": evaluation,
        "lines": [line for one in drawn if (line := _line(one, evaluation.hd95_unit, scores))],
        "diagrams": [diagram(one) for one in evaluation.calibration],
    }
    return _templates.get_template("metrics.svg").render(values)


def _line(one: MetricSummary, unit: str, scores: Scores) -> Line | None:
    found = _values(one.metric, one.label_class, scores)
    classes = "mean of classes" if one.label_class is None else f"class {one.label_class}"
    some = found[:: max(1, -(-len(found) // MOST_DOTS))]
    strip = strip_of(f"{title_of(one.metric, unit)}, {classes}", one.metric, some)
    if strip is None or one.mean is None:
        return None
    words, interval = f"mean {one.mean:.3f}", None
    if one.low is not None and one.high is not None:
        words += f" ({one.low:.3f} to {one.high:.3f})"
        mean, low, high = (WIDTH * value / strip.top for value in (one.mean, one.low, one.high))
        interval = (mean, low, high)
    if one.undefined:
        words += f", undefined: {one.undefined}"
    return Line(strip, words, interval)


def _values(metric: MetricName, label_class: int | None, scores: Scores) -> list[tuple[str, float]]:
    found = []
    for name, classes in scores:
        if classes is not None:
            column = classes[metric]
            value = mean_over_classes(column) if label_class is None else column[label_class - 1]
            if value is not None:
                found.append((_printable(name), value))
    return found


def _printable(text: str) -> str:
    """Text that XML can hold: it has no place for control characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
