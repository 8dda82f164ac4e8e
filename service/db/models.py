"""Every query about registered models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, select, tuple_
from sqlalchemy.orm import Session

from service.db.tables import Dataset, Job, ModelSeries, Project, TrainedModel
from service.jobs.lifecycle import State
from service.models.stages import Stage

TOO_LONG = 10  # digits, for a number of a model: databases hold fewer


@dataclass(frozen=True)
class Wanted:
    """Which models; None: any.

    Attributes:
        name: of their series.
        version: number within it.
        stage: where they stand.
        tag: one that they have, whatever its value.
        value: of that tag.
    """

    name: str | None = None
    version: int | None = None
    stage: Stage | None = None
    tag: str | None = None
    value: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        conditions: list[ColumnElement[bool]] = []
        if self.name is not None:
            conditions.append(TrainedModel.series == self.name)
        if self.version is not None:
            conditions.append(TrainedModel.number == self.version)
        if self.stage is not None:
            conditions.append(TrainedModel.stage == self.stage.value)
        if self.tag is not None:
            tag = TrainedModel.tags[self.tag].as_string()
            conditions.append(tag.is_not(None) if self.value is None else tag == self.value)
        return conditions


def register(session: Session, job: Job) -> TrainedModel:
    """Give the model of a job that succeeds its name and number: the name is the job's, else its dataset's.

    Args:
        session: the transaction in which the job succeeds.
        job: the job, locked.
    """
    # Two jobs may end at once; others who refer to the project do not wait for this lock.
    session.get_one(Project, job.project_id, with_for_update={"key_share": True})
    name = job.name.strip() or session.get_one(Dataset, job.dataset_id).name
    series = session.get(ModelSeries, (job.project_id, name), populate_existing=True)
    if series is None:
        series = ModelSeries(project_id=job.project_id, name=name, newest=0)
        session.add(series)
    series.newest += 1
    session.flush()
    model = TrainedModel(job_id=job.id, project_id=job.project_id, series=name, number=series.newest)
    session.add(model)
    return model


def get(session: Session, job_id: str) -> TrainedModel | None:
    """The registered model of a job, or None."""
    return session.get(TrainedModel, job_id)


def lock(session: Session, model: TrainedModel) -> TrainedModel:
    """The model as it is now; nobody else changes one of its series until this transaction ends."""
    session.get_one(ModelSeries, (model.project_id, model.series), with_for_update=True)
    return session.get_one(TrainedModel, model.job_id, populate_existing=True)


def in_production(session: Session, model: TrainedModel) -> TrainedModel | None:
    """The model of the same series that is in production, or None; read anew."""
    query = select(TrainedModel).where(
        TrainedModel.project_id == model.project_id,
        TrainedModel.series == model.series,
        TrainedModel.stage == Stage.PRODUCTION.value,
    )
    return session.scalar(query.execution_options(populate_existing=True))


def page(
    session: Session, seen: str | None, wanted: Wanted, limit: int, after: tuple[datetime, str] | None = None
) -> Sequence[tuple[Job, TrainedModel]]:
    """Models with their jobs, that of the newest job first, from behind a position on.

    Args:
        session: its transaction.
        seen: the project whose models are shown; None: all.
        wanted: which of them.
        limit: at most so many.
        after: time and id of the job to begin behind.
    """
    query = _models().where(*wanted.conditions())
    if seen is not None:
        query = query.where(Job.project_id == seen)
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < after)
    query = query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    return [(job, model) for job, model in session.execute(query)]


def find(session: Session, job_id: str) -> tuple[Job, TrainedModel] | None:
    """A model with its job, or None."""
    found = session.execute(_models().where(Job.id == job_id)).one_or_none()
    return (found[0], found[1]) if found is not None else None


def named(session: Session, project_id: str, name: str) -> tuple[Job, TrainedModel] | None:
    """The only model of a project that is called so, with its job: by its job's id, `NAME:3`, or `NAME:production`."""
    found = find(session, name)
    if found is not None:
        return found if found[0].project_id == project_id else None
    series, _, which = name.rpartition(":")
    if which.isdecimal() and len(which) < TOO_LONG:
        wanted = Wanted(name=series, version=int(which))
    elif which == Stage.PRODUCTION:
        wanted = Wanted(name=series, stage=Stage.PRODUCTION)
    else:
        return None
    listed = page(session, project_id, wanted, limit=1)
    return listed[0] if listed else None


def count_in_series(session: Session, model: TrainedModel) -> int:
    """How many models there are of the name of this one."""
    query = select(func.count()).select_from(TrainedModel)
    same = (TrainedModel.project_id == model.project_id, TrainedModel.series == model.series)
    return session.scalar(query.where(*same)) or 0


def _models() -> Select[Job, TrainedModel]:
    """A job that is being deleted has its row still, and no model any more."""
    query = select(Job, TrainedModel).join(TrainedModel, TrainedModel.job_id == Job.id)
    return query.where(Job.state == State.SUCCEEDED.value)
