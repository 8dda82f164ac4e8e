"""The options by which samples of a job are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.reviews.decisions import DecisionState
from service.reviews.reasons import ReasonKind

if TYPE_CHECKING:
    from service.client.queries import SampleQuery

Text = Annotated[str | None, typer.Option("--text", help="Part of the name, or of the note of the decision.")]
Reason = Annotated[ReasonKind | None, typer.Option("--reason", help="Why the label is doubted.")]
DecisionIs = Annotated[
    DecisionState | None, typer.Option("--decided", "--decision", help="What is decided of the label.")
]
Annotator = Annotated[str | None, typer.Option("--annotator", help="Who drew the label.")]
LabelClass = Annotated[int | None, typer.Option("--class", min=1, help="Number of a class that the label has.")]
PredictedClass = Annotated[
    int | None, typer.Option("--predicted-class", min=1, help="Number of a class that the prediction has.")
]
Verified = Annotated[bool | None, typer.Option("--verified/--not-verified", help="Known to be right, or not.")]
ConfidenceMin = Annotated[float | None, typer.Option("--confidence-min", min=0, max=1, help="From this on.")]
ConfidenceMax = Annotated[float | None, typer.Option("--confidence-max", min=0, max=1, help="Up to this.")]
ScoreMin = Annotated[float | None, typer.Option("--score-min", min=0, max=1, help="Scores from this on.")]
ScoreMax = Annotated[float | None, typer.Option("--score-max", min=0, max=1, help="Scores up to this.")]


def query(
    text: str | None,
    reason: ReasonKind | None,
    decided: DecisionState | None,
    annotator: str | None,
    label_class: int | None,
    predicted_class: int | None,
    verified: bool | None,
    confidence_min: float | None,
    confidence_max: float | None,
    score_min: float | None = None,
    score_max: float | None = None,
) -> SampleQuery:
    """What these options ask for."""
    from service.client.queries import SampleQuery

    return SampleQuery(
        text=text,
        reason=reason,
        decision=decided,
        annotator=annotator,
        label_class=label_class,
        predicted_class=predicted_class,
        verified=verified,
        confidence_min=confidence_min,
        confidence_max=confidence_max,
        score_min=score_min,
        score_max=score_max,
    )


def page_address(url: str, job_id: str, wanted: SampleQuery) -> str:
    """Address of the review page that shows these samples, as `service/web/static/review/place.js` writes it.

    Raises:
        ValueError: the page has no filter for that.
    """
    from urllib.parse import quote, urlencode

    if wanted.score_min is not None or wanted.score_max is not None:
        raise ValueError("the page has no filter for scores: leave --score-min and --score-max out, or --open")
    if wanted.label_class is not None and wanted.predicted_class is not None:
        raise ValueError("the page shows --class or --predicted-class, not both at once")
    chosen = {
        "text": wanted.text,
        "min": wanted.confidence_min,
        "max": wanted.confidence_max,
        "decision": wanted.decision,
        "reason": wanted.reason,
        "annotator": wanted.annotator,
        "class": f"label:{wanted.label_class}" if wanted.label_class is not None else None,
        "verified": None if wanted.verified is None else str(wanted.verified).lower(),
    }
    if wanted.predicted_class is not None:
        chosen["class"] = f"prediction:{wanted.predicted_class}"
    named = urlencode({name: value for name, value in chosen.items() if value is not None})
    return f"{url}/jobs/{quote(job_id, safe='')}/review{'?' if named else ''}{named}"
