"""The filter that every list of a job's samples takes, as arguments of the request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query

from service.api.dependencies import SessionDep
from service.api.jobs import JobDep
from service.db import datasets
from service.db.sample_filters import SampleFilter
from service.errors import FieldError, Invalid
from service.resources.fields import Id
from service.reviews.decisions import DecisionState
from service.reviews.reasons import ReasonKind

Bound = Annotated[float | None, Query(ge=0, le=1)]
Text = Annotated[str | None, Query(max_length=255, pattern=r"^[^\x00]*$")]
ClassNumber = Annotated[int | None, Query(ge=1, le=65535)]


def read_filter(
    job: JobDep,
    session: SessionDep,
    name_contains: Annotated[Text, Query(description="part of the name, any case")] = None,
    text: Annotated[Text, Query(description="part of the name, or of the note of the decision, any case")] = None,
    confidence_min: Bound = None,
    confidence_max: Bound = None,
    score_min: Bound = None,
    score_max: Bound = None,
    reason: Annotated[ReasonKind | None, Query(description="why the label is doubted")] = None,
    decision: Annotated[DecisionState | None, Query(description="what is decided of the label")] = None,
    annotator: Annotated[Text, Query(description="who drew the label, letter by letter")] = None,
    verified: Annotated[bool | None, Query(description="whether the label was known to be right")] = None,
    label_class: Annotated[
        ClassNumber, Query(description="number of a class that the label has; where it is not known, it matches not")
    ] = None,
    predicted_class: Annotated[
        ClassNumber, Query(description="number of a class that the prediction has, once the job has succeeded")
    ] = None,
    disagree: Annotated[
        list[Id] | None,
        Query(min_length=2, max_length=2, description="two ids of keys: labels on which these two people disagree"),
    ] = None,
) -> SampleFilter:
    """The filter; bounds are inclusive, and all of it must hold.

    Raises:
        Invalid: the dataset has no such class.
    """
    label_value = None
    asked = {"label_class": label_class, "predicted_class": predicted_class}
    if any(number is not None for number in asked.values()):
        values = datasets.version(session, job.dataset_id, job.dataset_version).mask_values
        for field, number in asked.items():
            if number is not None and number >= len(values):
                fault = f"there is no class {number}"
                hint = f"classes are numbered from 1 to {len(values) - 1}"
                raise Invalid("The dataset has no such class.", [FieldError(field=field, reason=fault, hint=hint)])
        label_value = values[label_class] if label_class is not None else None
    return SampleFilter(
        name_contains=name_contains,
        text=text,
        confidence=(confidence_min, confidence_max),
        score=(score_min, score_max),
        reason=reason,
        decision=decision,
        annotator=annotator,
        verified=verified,
        label_value=label_value,
        predicted_class=predicted_class,
        disagree=(disagree[0], disagree[1]) if disagree is not None else None,
    )


SampleFilterDep = Annotated[SampleFilter, Depends(read_filter, scope="function")]
