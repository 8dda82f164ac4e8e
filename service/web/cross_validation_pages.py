"""Pages of cross-validations: the state of the folds, what all together say, and the samples that were missed most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from service.api.cross_validations import resource, sample_resource
from service.api.dependencies import SessionDep
from service.db import cross_validations, datasets
from service.db.tables import CrossValidation
from service.jobs import pooled
from service.resources.cross_validations import CrossValidationMetrics
from service.roles import Role
from service.web.evaluation import TITLES, WIDTH, summary_of, title_of
from service.web.pages import VisitorDep, missing, page, to_sign_in
from workers.contract.evaluation import METRICS, MetricName

router = APIRouter(include_in_schema=False)
PER_PAGE = 24
MOST = 200
LANE = 16  # height of a fold's dots
MOST_DOTS = 1000  # of a metric


@dataclass(frozen=True)
class FoldStrip:
    """Every sample as a dot in the lane of its fold, with a mark at the mean of each fold.

    Attributes:
        title: of the metric, with its unit.
        top: value of the right edge; that of the left is 0.
        height: of all lanes.
        lanes: number of a fold that counts, and y of the middle of its lane.
        dots: x, y, and what the dot is.
        means: x and y of each fold's mean, and what it is.
        text: the same in words.
    """

    title: str
    top: float
    height: int
    lanes: list[tuple[int, float]]
    dots: list[tuple[float, float, str]]
    means: list[tuple[float, float, str]]
    text: str


@router.get("/cross-validations")
def show_cross_validations(request: Request, session: SessionDep, visitor: VisitorDep) -> Response:
    """The newest cross-validations."""
    if visitor is None:
        return to_sign_in(request)
    found = cross_validations.page(session, visitor.project_id, None, MOST, None)
    names = {one.dataset_id: datasets.get(session, one.dataset_id, None).name for one in found}
    return page(request, "cross_validations.html", {"found": resource(session, found), "names": names})


@router.get("/cross-validations/{cross_validation_id}")
def show_cross_validation(
    request: Request,
    cross_validation_id: str,
    session: SessionDep,
    visitor: VisitorDep,
    sort: str = "dice",
    fold: str = "",
    contains: Annotated[str, Query(alias="name", max_length=255)] = "",
    number: Annotated[int, Query(alias="page", ge=1, le=100_000)] = 1,
) -> Response:
    """A cross-validation live, and below it the samples that the networks which have not seen them miss most."""
    if visitor is None:
        return to_sign_in(request)
    row = cross_validations.find(session, cross_validation_id)
    if row is None or not visitor.sees(row.project_id):
        return missing(request, f"There is no cross-validation {cross_validation_id}.")
    metric: MetricName = next((one for one in METRICS if one == sort), "dice")
    chosen = next((one for one in range(1, len(row.folds) + 1) if str(one) == fold), None)
    wanted = cross_validations.Wanted(chosen, contains.replace("\0", "") or None)
    total = cross_validations.count(session, row, wanted)
    found = cross_validations.samples(session, row, wanted, number * PER_PAGE, None, metric)
    (shown,) = resource(session, [row])
    metrics = pooled.metrics_of(session, row)
    may = visitor.role.includes(Role.TRAIN)
    values = {
        "cv": shown,
        "dataset": datasets.get(session, row.dataset_id, visitor.project_id),
        "metrics": metrics,
        "titles": TITLES,
        "unit": metrics.evaluation.hd95_unit if metrics.evaluation else "",
        "evaluation": evaluated(session, row, metrics),
        "samples": [sample_resource(one) for one in found[(number - 1) * PER_PAGE :]],
        "total": total,
        "sort": metric,
        "fold": chosen,
        "name": contains,
        "number": number,
        "pages": max(1, -(-total // PER_PAGE)),
        "may": {"cancel": may and not shown.state.over, "delete": may and shown.state.over},
    }
    return page(request, "cross_validation.html", values)


def evaluated(session: Session, row: CrossValidation, metrics: CrossValidationMetrics) -> dict[str, Any] | None:
    """What `evaluation_parts.html` and the strips draw; None while no fold counts."""
    if metrics.evaluation is None:
        return None
    unit = metrics.evaluation.hd95_unit
    strips = [strip(metric, unit, metrics, cross_validations.values(session, row, metric)) for metric in METRICS]
    return {**summary_of(metrics.evaluation), "strips": [one for one in strips if one is not None]}


def strip(
    metric: MetricName, unit: str, metrics: CrossValidationMetrics, found: Sequence[tuple[int, str, float]]
) -> FoldStrip | None:
    """The strip of a metric; None where it is defined for no sample.

    Args:
        metric: which.
        unit: of HD95.
        metrics: of the cross-validation.
        found: fold, name and value of each sample.
    """
    if not found:
        return None
    top = max(value for _, _, value in found) or 1.0 if metric == "hd95" else 1.0
    lane = {fold: LANE * (place + 0.5) for place, fold in enumerate(metrics.counted)}
    some = found[:: -(-len(found) // MOST_DOTS)]
    title = title_of(metric, unit)
    spread = next(one for one in metrics.spread if one.metric == metric)  # the first is the mean over classes
    means = [(fold, mean) for fold, mean in zip(metrics.counted, spread.folds, strict=True) if mean is not None]
    words = ", ".join(f"fold {fold} {mean:.3f}" for fold, mean in means)
    return FoldStrip(
        title=title,
        top=top,
        height=LANE * len(lane),
        lanes=list(lane.items()),
        dots=[
            (
                WIDTH * value / top,
                lane[fold] + (place % 3 - 1) * 3,
                f"{name}, fold {fold}: {value:.3f}",
            )
            for place, (fold, name, value) in enumerate(some)
        ],
        means=[(WIDTH * mean / top, lane[fold], f"mean of fold {fold}: {mean:.3f}") for fold, mean in means],
        text=f"{title} of {len(found)} samples by fold; means: {words}",
    )
