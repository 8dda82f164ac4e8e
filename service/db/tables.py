"""The database, table by table. Queries live in `repository`, changes of shape in `migrations/`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.db.base import Base, RowId, now

DEFAULT_PROJECT = "prj-default"  # made by the migration; where an operator's uploads go if nothing else is said


class Project(Base):
    """What datasets, jobs and keys belong to; who has a key of one project sees nothing of another."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    max_running_jobs: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=now)


class ApiKey(Base):
    """A key that opens the API. Only its SHA-256 is kept: keys are 256 random bits, so no salt is needed.

    Keys are revoked, never deleted: the audit trail names them. A key of no project is the operator's.
    """

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("project_id IS NOT NULL OR role = 'admin'", name="operator"),
        Index("ix_api_keys_project_id", "project_id", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(16))
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"))
    created_by: Mapped[str] = mapped_column(String(64))  # id of a key, or BY_… of `service.db.access`
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class BrowserSession(Base):
    """A second secret for a key, kept in a browser's cookie: good for as long as the key is, and no longer than it."""

    __tablename__ = "browser_sessions"
    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]


class AuditEntry(Base):
    """Who changed what; the database itself refuses to change or delete an entry (see migration 0002)."""

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_project_id", "project_id", "id"),
        Index("ix_audit_key_id", "key_id", "id"),
        Index("ix_audit_target", "target", "id"),
    )
    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=now)
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id"))
    key_id: Mapped[str] = mapped_column(String(64))
    key_name: Mapped[str] = mapped_column(String(200))
    action: Mapped[str] = mapped_column(String(32))
    target: Mapped[str] = mapped_column(String(64))
    details: Mapped[dict[str, Any]]
    request_id: Mapped[str | None] = mapped_column(String(64))


class Dataset(Base):
    """A named series of immutable versions."""

    __tablename__ = "datasets"
    __table_args__ = (Index("ix_datasets_project_id", "project_id", "created_at", "id"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Upload(Base):
    """An archive on its way here, part by part, and then its import as a dataset."""

    __tablename__ = "uploads"
    __table_args__ = (Index("ix_uploads_expires_at", "expires_at"),)
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))
    fields: Mapped[dict[str, Any]]
    size: Mapped[int] = mapped_column(BigInteger)
    part_size: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    errors: Mapped[list[Any]]
    dataset_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]


class DatasetVersion(Base):
    """An immutable list of samples; its Parquet twin in the store is what workers read.

    The first `train_count` samples by ordinal are trained on, the next `validation_count` tell the epochs apart, and
    the others are held out. One that is `derived` is a fold of a cross-validation: nobody uploaded or corrected it, and
    its number is `service.datasets.folds.FIRST_NUMBER` or above.
    """

    __tablename__ = "dataset_versions"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sample_count: Mapped[int]
    train_count: Mapped[int] = mapped_column(default=lambda context: context.get_current_parameters()["sample_count"])
    validation_count: Mapped[int] = mapped_column(default=0)
    mask_values: Mapped[list[Any]]
    warnings: Mapped[list[Any]]
    layout: Mapped[str] = mapped_column(String(16), default="folders")
    spatial_dims: Mapped[int] = mapped_column(default=2)
    channels: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # their names; null: the usual ones
    agreement: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # of annotators, if any is known
    derived: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # `service.datasets.folds.Derived`
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def held_out_from(self) -> int:
        """Ordinal of the first sample that is held out."""
        return self.train_count + self.validation_count

    @property
    def test_count(self) -> int:
        """How many samples are held out."""
        return self.sample_count - self.held_out_from


class Sample(Base):
    """An image with its label."""

    __tablename__ = "samples"
    __table_args__ = (
        ForeignKeyConstraint(["dataset_id", "version"], ["dataset_versions.dataset_id", "dataset_versions.number"]),
        Index("ix_samples_name", "dataset_id", "version", "name", unique=True),
    )
    dataset_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ordinal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(255))
    image_sha256: Mapped[str] = mapped_column(String(64))
    mask_sha256: Mapped[str] = mapped_column(String(64))
    width: Mapped[int]
    height: Mapped[int]
    depth: Mapped[int | None]  # of a volume
    spacing: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))  # of a volume: mm along each axis
    foreground: Mapped[float]
    fingerprint: Mapped[str | None] = mapped_column(String(64))  # of the image, in hex; null: none, or from before 0017
    label_values: Mapped[str | None] = mapped_column(Text)  # in the mask, `service.db.listed`; null: from before 0013
    # Where each channel is a file of its own: sha256 of those behind the first, which `image_sha256` is.
    channels: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    # What is known beside the files, as `workers.contract.tables.FACTS` says.
    group: Mapped[str | None] = mapped_column(String(255))
    split: Mapped[str | None] = mapped_column(String(16))
    annotator: Mapped[str | None] = mapped_column(String(255))
    verified: Mapped[bool | None]
    agreement: Mapped[float | None]


class Review(Base):
    """What is decided of a label now. A label is a sample's name and mask, in whichever version."""

    __tablename__ = "reviews"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    sample: Mapped[str] = mapped_column(String(255), primary_key=True)
    mask_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    revision: Mapped[int]  # grows with every change, undone or not
    event_id: Mapped[int | None] = mapped_column(BigInteger)  # of `review_events`, in force; None: undone to nothing
    decision: Mapped[str | None] = mapped_column(String(16))
    new_mask_sha256: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text, default="")
    key_id: Mapped[str] = mapped_column(String(64))
    key_name: Mapped[str] = mapped_column(String(200))
    at: Mapped[datetime] = mapped_column(default=now)


class ReviewEvent(Base):
    """A decision, or that one was undone; rows are added and never changed."""

    __tablename__ = "review_events"
    __table_args__ = (Index("ix_review_events_label", "dataset_id", "sample", "mask_sha256", "id"),)
    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"))
    sample: Mapped[str] = mapped_column(String(255))
    mask_sha256: Mapped[str] = mapped_column(String(64))
    undo: Mapped[bool]
    previous_id: Mapped[int | None] = mapped_column(BigInteger)  # in force before; an undo goes back to it
    decision: Mapped[str | None] = mapped_column(String(16))  # in force from here on
    new_mask_sha256: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str] = mapped_column(Text, default="")
    key_id: Mapped[str] = mapped_column(String(64))
    key_name: Mapped[str] = mapped_column(String(200))
    at: Mapped[datetime] = mapped_column(default=now)


class Job(Base):
    """A job of a task. `state` moves only by `service.jobs.lifecycle`."""

    __tablename__ = "jobs"
    __table_args__ = (
        ForeignKeyConstraint(
            ["dataset_id", "dataset_version"], ["dataset_versions.dataset_id", "dataset_versions.number"]
        ),
        Index("ix_jobs_state", "state"),
        Index("ix_jobs_created_at", "created_at", "id"),
        Index("ix_jobs_project_id", "project_id", "created_at", "id"),
        Index("ix_jobs_dataset_id", "dataset_id", "created_at", "id"),
        Index("ix_jobs_cross_validation_id", "cross_validation_id", "fold"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))  # that of its dataset
    task: Mapped[str] = mapped_column(String(16), default="train")  # `service.jobs.tasks.Task`
    name: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(16))
    waiting_for: Mapped[str] = mapped_column(Text, default="")
    priority: Mapped[int] = mapped_column(default=0)
    reproduces: Mapped[str | None] = mapped_column(String(64))  # a job that may be deleted by now
    cross_validation_id: Mapped[str | None] = mapped_column(String(64))  # that it is a fold of
    fold: Mapped[int | None]  # which, counted from 1
    spec: Mapped[dict[str, Any]]
    dataset_id: Mapped[str] = mapped_column(String(64))
    dataset_version: Mapped[int]
    attempt: Mapped[int] = mapped_column(default=0)
    attempts_before: Mapped[int] = mapped_column(default=0)  # the last retry that somebody asked for
    epochs_done: Mapped[int] = mapped_column(default=0)
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    metrics: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    # `workers.contract.evaluation.Evaluation`: some kilobytes, which no list of jobs needs
    evaluation: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True), deferred=True)
    # `workers.contract.request.KeptCheckpoint` of each; null: as before it was known, the weights at the end
    checkpoints: Mapped[list[Any] | None] = mapped_column(JSON(none_as_null=True))
    failure: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(default=now)
    retried_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class CrossValidation(Base):
    """Jobs that train on all but one fold of a version each; its state is theirs."""

    __tablename__ = "cross_validations"
    __table_args__ = (
        ForeignKeyConstraint(
            ["dataset_id", "dataset_version"], ["dataset_versions.dataset_id", "dataset_versions.number"]
        ),
        Index("ix_cross_validations_project_id", "project_id", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"))  # that of its dataset
    name: Mapped[str] = mapped_column(String(200))
    dataset_id: Mapped[str] = mapped_column(String(64))
    dataset_version: Mapped[int]
    first_version: Mapped[int]  # number of the first fold's; the others follow
    seed: Mapped[int] = mapped_column(BigInteger)
    folds: Mapped[list[Any]]  # of each how many samples and groups it has
    left_out: Mapped[int]  # samples that the version holds out
    spec: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Attempt(Base):
    """One submission of a job to Ray, with the end of its log."""

    __tablename__ = "attempts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    submission_id: Mapped[str] = mapped_column(String(128), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]
    log: Mapped[str] = mapped_column(Text, default="")
    environment: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class Epoch(Base):
    """Metrics of a committed epoch; the row's key is what makes ingestion happen once."""

    __tablename__ = "epochs"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Confidence(Base):
    """The history: what was believed of a sample at the end of an epoch."""

    __tablename__ = "confidences"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    confidence: Mapped[float]
    score: Mapped[float]
    dice: Mapped[float]
    expected_dice: Mapped[float]


class JobSample(Base):
    """The newest confidence of each sample of a job: one indexed row, so that browsing stays fast."""

    __tablename__ = "job_samples"
    __table_args__ = (
        Index("ix_job_samples_score", "job_id", "score", "ordinal"),
        Index("ix_job_samples_confidence", "job_id", "confidence", "ordinal"),
        Index("ix_job_samples_dice", "job_id", "dice", "ordinal"),
        Index("ix_job_samples_name", "job_id", "name"),
    )
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(255))
    epoch: Mapped[int]
    rank: Mapped[int] = mapped_column(BigInteger)
    reason_kind: Mapped[str | None] = mapped_column(String(16))  # once the job has succeeded
    reason: Mapped[str | None] = mapped_column(Text)
    predicted_classes: Mapped[str | None] = mapped_column(Text)  # `service.db.listed`; null: no run has said it
    confidence: Mapped[float]
    score: Mapped[float]
    dice: Mapped[float]
    expected_dice: Mapped[float]


class HeldOutSample(Base):
    """How well the network that a job delivered does on a sample that it was not trained on."""

    __tablename__ = "held_out_samples"
    __table_args__ = (Index("ix_held_out_samples_dice", "job_id", "dice", "ordinal"),)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    ordinal: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(255))
    # Means over the foreground classes for which they are defined; all but the Dice came later.
    dice: Mapped[float]
    iou: Mapped[float | None]
    hd95: Mapped[float | None]  # px of images, mm of volumes
    precision: Mapped[float | None]
    recall: Mapped[float | None]
    classes: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))  # by metric a list, class by class


class Artifact(Base):
    """A file of a finished job."""

    __tablename__ = "artifacts"
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    key: Mapped[str] = mapped_column(String(512))
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    media_type: Mapped[str] = mapped_column(String(128))


class ModelSeries(Base):
    """The models of a project that have one name, numbered 1, 2, 3, …; no number is given twice."""

    __tablename__ = "model_series"
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    newest: Mapped[int]  # number that was given last, also where that model is deleted by now


class TrainedModel(Base):
    """What people say of the model of a job that has succeeded; what the job knows is not repeated here."""

    __tablename__ = "models"
    __table_args__ = (
        ForeignKeyConstraint(["project_id", "series"], ["model_series.project_id", "model_series.name"]),
        Index("ix_models_number", "project_id", "series", "number", unique=True),
        Index(
            "ix_models_production",
            "project_id",
            "series",
            unique=True,
            sqlite_where=text("stage = 'production'"),
            postgresql_where=text("stage = 'production'"),
        ),
    )
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    project_id: Mapped[str] = mapped_column(String(64))
    series: Mapped[str] = mapped_column(String(200))
    number: Mapped[int]
    stage: Mapped[str] = mapped_column(String(16), default="none")
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    description: Mapped[str] = mapped_column(Text, default="")
    intended_use: Mapped[str] = mapped_column(Text, default="")
    revision: Mapped[int] = mapped_column(default=1)  # grows with every change


class Event(Base):
    """What happened to a job, in order; the id is the SSE id."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_job_id", "job_id", "id"),)
    id: Mapped[int] = mapped_column(RowId, primary_key=True, autoincrement=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    kind: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class IdempotencyKey(Base):
    """The answer to a creating POST, kept 24 hours. `status` 0: still being answered."""

    __tablename__ = "idempotency_keys"
    owner: Mapped[str] = mapped_column(String(64), primary_key=True)  # id of the API key: nobody gets another's answer
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    body: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    location: Mapped[str | None] = mapped_column(String(512))
    created_at: Mapped[datetime] = mapped_column(default=now)
