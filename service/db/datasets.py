"""Every query about datasets, their versions and samples.

`get`, `find` and `page` know who asks; the others are of a dataset that the caller is known to see.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, tuple_
from sqlalchemy.orm import Session

from service.actions import Action
from service.datasets.kinds import UploadState
from service.db.tables import (
    AuditEntry,
    CrossValidation,
    Dataset,
    DatasetVersion,
    Job,
    Review,
    ReviewEvent,
    Sample,
    Upload,
)
from service.errors import NotFound
from workers.contract.tables import TRAIN, VALIDATION

ROWS_AT_ONCE = 5_000


def add(
    session: Session,
    dataset: Dataset,
    *,
    mask_values: list[int],
    warnings: list[dict[str, str]],
    samples: Sequence[Mapping[str, Any]],
    layout: str = "folders",
    spatial_dims: int = 2,
    channels: list[str] | None = None,
    agreement: dict[str, Any] | None = None,
) -> Dataset:
    """Add a dataset with its version 1; `samples` are rows without dataset and version."""
    session.add(dataset)
    session.flush()
    add_version(
        session,
        DatasetVersion(
            dataset_id=dataset.id,
            number=1,
            mask_values=mask_values,
            warnings=warnings,
            layout=layout,
            spatial_dims=spatial_dims,
            channels=channels,
            agreement=agreement,
        ),
        samples,
    )
    return dataset


def labelled(session: Session, version: DatasetVersion) -> bool:
    """Whether any sample that is trained on has a mask that is not empty."""
    here = (Sample.dataset_id == version.dataset_id, Sample.version == version.number)
    query = select(Sample.ordinal).where(*here, Sample.ordinal < version.train_count, Sample.foreground > 0)
    return session.scalars(query.limit(1)).first() is not None


def image_files(session: Session, version: DatasetVersion) -> int:
    """How many files hold the image of a sample: one, or one for each channel; it is the same for all samples."""
    here = (Sample.dataset_id == version.dataset_id, Sample.version == version.number)
    further = session.scalars(select(Sample.channels).where(*here).limit(1)).first()
    return 1 + len(further or [])


def add_version(session: Session, version: DatasetVersion, samples: Sequence[Mapping[str, Any]]) -> DatasetVersion:
    """Add a version with its samples, which are rows without dataset and version.

    Raises:
        IntegrityError: the dataset has a version of that number, or is gone.
    """
    version.sample_count = len(samples)
    splits = Counter(row.get("split") or TRAIN for row in samples)
    version.train_count, version.validation_count = splits[TRAIN], splits[VALIDATION]
    session.add(version)
    session.flush()
    for start in range(0, len(samples), ROWS_AT_ONCE):
        some = samples[start : start + ROWS_AT_ONCE]
        rows = [{"dataset_id": version.dataset_id, "version": version.number, **row} for row in some]
        session.execute(insert(Sample), rows)
    return version


def get(session: Session, dataset_id: str, seen: str | None) -> Dataset:
    """One dataset, if it is of the project that is `seen` (None: all are); raises `NotFound`."""
    dataset = find(session, dataset_id, seen)
    if dataset is None:
        raise NotFound(f"There is no dataset {dataset_id!r}; GET /v1/datasets lists those there are.")
    return dataset


def find(session: Session, dataset_id: str, seen: str | None) -> Dataset | None:
    """One dataset, if it is of the project that is `seen` (None: all are), or None."""
    dataset = session.get(Dataset, dataset_id)
    return dataset if dataset is not None and seen in {None, dataset.project_id} else None


def page(session: Session, seen: str | None, size: int, after: tuple[datetime, str] | None) -> Sequence[Dataset]:
    """Datasets of the project that is `seen` (None: of all), newest first, from behind `after` on: time and id."""
    query = select(Dataset).order_by(Dataset.created_at.desc(), Dataset.id.desc()).limit(size)
    if seen is not None:
        query = query.where(Dataset.project_id == seen)
    if after:
        query = query.where(tuple_(Dataset.created_at, Dataset.id) < after)
    return session.scalars(query).all()


def version(session: Session, dataset_id: str, number: int) -> DatasetVersion:
    """One version; raises `NotFound`."""
    found = session.get(DatasetVersion, (dataset_id, number))
    if found is None:
        raise NotFound(f"Dataset {dataset_id!r} has no version {number}.")
    return found


def versions(session: Session, dataset_id: str, *, derived: bool = False) -> Sequence[DatasetVersion]:
    """The versions of a dataset, newest first; `derived`: also those that are folds of a cross-validation."""
    query = select(DatasetVersion).where(DatasetVersion.dataset_id == dataset_id)
    if not derived:
        query = query.where(DatasetVersion.derived.is_(None))
    return session.scalars(query.order_by(DatasetVersion.number.desc())).all()


def newest_versions(session: Session, dataset_ids: Sequence[str]) -> dict[str, DatasetVersion]:
    """The newest version of each of these datasets; folds of a cross-validation do not count."""
    mine = (DatasetVersion.dataset_id.in_(dataset_ids), DatasetVersion.derived.is_(None))
    query = select(DatasetVersion).where(*mine).order_by(DatasetVersion.number)
    return {found.dataset_id: found for found in session.scalars(query)}


def samples(session: Session, dataset_id: str, number: int, size: int, after: int) -> Sequence[Sample]:
    """Samples in the order of their ordinals, from behind ordinal `after` on; raises `NotFound`."""
    version(session, dataset_id, number)
    query = select(Sample).where(Sample.dataset_id == dataset_id, Sample.version == number, Sample.ordinal > after)
    return session.scalars(query.order_by(Sample.ordinal).limit(size)).all()


def shapes(session: Session, dataset_id: str, number: int) -> list[tuple[tuple[int, ...], int]]:
    """The sizes of a version's samples, edges in pixels or voxels, each with how many samples have it."""
    edges = (Sample.width, Sample.height, Sample.depth)
    query = select(*edges, func.count()).where(Sample.dataset_id == dataset_id, Sample.version == number)
    found = session.execute(query.group_by(*edges))
    return [(tuple(edge for edge in size if edge is not None), count) for *size, count in found]


def rows(session: Session, dataset_id: str, number: int) -> list[dict[str, Any]]:
    """All samples of a version, in the order of their ordinals, as `add_version` takes them."""
    columns = [column for column in Sample.__table__.columns if column.name not in {"dataset_id", "version"}]
    query = select(*columns).where(Sample.dataset_id == dataset_id, Sample.version == number).order_by(Sample.ordinal)
    return [dict(row) for row in session.execute(query).mappings()]


def sample(session: Session, dataset_id: str, number: int, name: str) -> Sample:
    """One sample by its name; raises `NotFound`."""
    query = select(Sample).where(Sample.dataset_id == dataset_id, Sample.version == number, Sample.name == name)
    found = session.scalars(query).one_or_none()
    if found is None:
        version(session, dataset_id, number)
        raise NotFound(f"Version {number} of dataset {dataset_id!r} has no sample {name!r}.")
    return found


def jobs_of(session: Session, dataset_id: str, limit: int) -> tuple[Sequence[Job], int]:
    """The jobs over any version of a dataset, newest first, at most `limit`; and how many there are."""
    query = select(Job).where(Job.dataset_id == dataset_id).order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    count = session.scalar(select(func.count()).select_from(Job).where(Job.dataset_id == dataset_id)) or 0
    return session.scalars(query).all(), count


def may_come(session: Session, dataset_id: str) -> bool:
    """Whether an upload in parts, which can be gone on with, may still become this dataset."""
    upload = session.get(Upload, dataset_id.replace("ds-", "upl-", 1))
    return upload is not None and upload.state != UploadState.SUCCEEDED


def remove(session: Session, dataset_id: str) -> dict[str, int]:
    """Remove a dataset with all versions and samples; returns how many of these there were.

    Raises:
        IntegrityError: a job names one of its versions.
    """
    counts = {}
    for decisions in (Review, ReviewEvent):
        session.execute(delete(decisions).where(decisions.dataset_id == dataset_id))
    session.execute(delete(CrossValidation).where(CrossValidation.dataset_id == dataset_id))
    for noun, table in (("samples", Sample), ("versions", DatasetVersion)):
        mine = table.dataset_id == dataset_id
        counts[noun] = session.scalar(select(func.count()).select_from(table).where(mine)) or 0
        session.execute(delete(table).where(mine))
    session.execute(delete(Dataset).where(Dataset.id == dataset_id))
    return counts


def deleted(session: Session) -> Sequence[str]:
    """Ids of the datasets that were deleted, by the audit trail."""
    there = select(Dataset.id).where(Dataset.id == AuditEntry.target).exists()
    query = select(AuditEntry.target).where(AuditEntry.action == Action.DATASET_DELETE, ~there)
    return session.scalars(query.order_by(AuditEntry.id)).all()
