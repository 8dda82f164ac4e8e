"""What can be asked of lists of samples."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from service.client.wire import given
from service.reviews.decisions import DecisionState
from service.reviews.reasons import ReasonKind

OrderBy = Literal["score", "confidence", "name", "dice"]


@dataclass(frozen=True)
class SampleQuery:
    """Which samples of a job; None: any. All of it must hold, and bounds are inclusive.

    Attributes:
        name_contains: part of the name, in any case.
        text: part of the name, or of the note of the decision.
        confidence_min, confidence_max, score_min, score_max: in [0, 1].
        reason: why the label is doubted.
        decision: what is decided of the label.
        annotator: who drew the label.
        verified: whether the label was known to be right.
        label_class: number of a class that the label has.
        predicted_class: number of a class that the prediction has.
        disagree: ids of the keys of two people who disagree on the label.
    """

    name_contains: str | None = None
    text: str | None = None
    confidence_min: float | None = None
    confidence_max: float | None = None
    score_min: float | None = None
    score_max: float | None = None
    reason: ReasonKind | None = None
    decision: DecisionState | None = None
    annotator: str | None = None
    verified: bool | None = None
    label_class: int | None = None
    predicted_class: int | None = None
    disagree: tuple[str, str] | None = None

    def parameters(self) -> dict[str, Any]:
        """As arguments of a request."""
        return given(asdict(self))


ALL = SampleQuery()
