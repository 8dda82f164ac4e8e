"""One sample in tables: over jobs, beside its neighbours, by other annotators."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel
from rich.table import Table
from rich.text import Text

from service.cli.terminal import columns, when
from service.resources.neighbours import Availability, Neighbour, Neighbours
from service.resources.other_masks import Annotation, Annotations
from service.resources.over_jobs import JobBelief
from service.resources.samples import SampleResource

WITHOUT_NEIGHBOURS = {
    Availability.KNOWN: "No other sample has another image.",
    Availability.NOT_YET: "Which samples look alike is known once the job has succeeded.",
    Availability.NONE: "Which samples look alike was not found out by this job.",
}


class SampleReport(BaseModel):
    """All that `dale sample` says."""

    sample: SampleResource
    jobs: list[JobBelief]
    neighbours: Neighbours
    annotations: Annotations


def over_jobs_table(beliefs: Sequence[JobBelief], job_id: str) -> Table:
    """What jobs believed of a sample; the one that was asked for is marked."""
    table = columns("job", "version", "created", "rank", "confidence", "score", "Dice", "label", "decision")
    for one in beliefs:
        numbers = (f"{number:.3f}" for number in (one.confidence, one.score, one.dice))
        table.add_row(
            Text(one.job_id, "bold" if one.job_id == job_id else ""),
            str(one.dataset_version),
            when(one.created_at),
            f"{one.rank} of {one.samples}",
            *numbers,
            "the same" if one.same_label else "another",
            Text(f"{one.decision} by {one.decided_by}" if one.decision else ""),
        )
    return table


def neighbours_table(neighbours: Sequence[Neighbour]) -> Table:
    """Samples that look alike, the most alike first."""
    table = columns("sample", "similarity", "confidence", "score", "Dice", "decision", "why")
    for one in neighbours:
        numbers = (f"{number:.3f}" for number in (one.similarity, one.confidence, one.score, one.dice))
        table.add_row(Text(one.sample), *numbers, one.decision or "", Text(one.reason or ""))
    return table


def annotations_table(others: Sequence[Annotation]) -> Table:
    """Other masks of the same image."""
    table = columns("annotator", "sample", "Dice", "agreement with all")
    for one in others:
        numbers = ("" if number is None else f"{number:.3f}" for number in (one.dice, one.agreement))
        table.add_row(Text(one.annotator), Text(one.sample), *numbers)
    return table
