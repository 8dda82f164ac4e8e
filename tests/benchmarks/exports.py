"""How far exports are from the trained network: the largest difference of a probability, over all that a job makes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.unit.workers.export.models import describe, leave
from workers.contract.request import EXPORTS
from workers.export.comparison import TOLERANCE
from workers.export.publish import make

__all__ = ["TOLERANCE", "max_difference"]


def max_difference() -> float:
    """Over the exports of a model of images and of one of volumes; infinite if one was not made."""
    found = []
    for about in (describe(), describe(volume=True, edge=16)):
        with tempfile.TemporaryDirectory() as folder:
            workplace = leave(Path(folder), about)
            make(workplace, list(EXPORTS))
            reports = workplace.reports()
            for name in EXPORTS:
                report = reports.get(name)
                published = report is not None and report.file is not None
                found.append(
                    report.max_difference
                    if published and report and report.max_difference is not None
                    else float("inf")
                )
    return max(found)
