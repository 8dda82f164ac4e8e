"""Small line charts as SVG points, and names of versions: computed here, drawn by the templates."""

from __future__ import annotations

from collections.abc import Sequence

from service.datasets.folds import FIRST_NUMBER


def points(values: Sequence[float], width: float, height: float, top: float = 1.0, bottom: float = 0.0) -> str:
    """Points of an SVG polyline: the first value at the left, the last at the right, `top` at y = 0.

    Args:
        values: at least one.
        width: of the chart.
        height: of the chart.
        top: the value of the upper edge.
        bottom: the value of the lower edge; values beyond the edges are drawn on them.
    """
    step = width / max(len(values) - 1, 1)
    spread = (top - bottom) or 1.0
    levels = [min(max((value - bottom) / spread, 0.0), 1.0) for value in values]
    return " ".join(f"{i * step:.1f},{height * (1 - level):.1f}" for i, level in enumerate(levels))


def version_name(number: int) -> str:
    """What a version of a dataset is called: the numbers of folds say nothing to people."""
    return f"v{number}" if number < FIRST_NUMBER else "all but a fold"
