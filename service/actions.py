"""What the audit trail puts down."""

from __future__ import annotations

from enum import StrEnum


class Action(StrEnum):
    """What is put down. Refused attempts are not: they change nothing, and the log has them."""

    DATASET_CREATE = "dataset.create"
    DATASET_DELETE = "dataset.delete"
    VERSION_CREATE = "version.create"
    REVIEW_DECIDE = "review.decide"
    REVIEW_UNDO = "review.undo"
    JOB_CREATE = "job.create"
    JOB_CANCEL = "job.cancel"
    JOB_RETRY = "job.retry"
    JOB_PRIORITY = "job.priority"
    JOB_DELETE = "job.delete"
    MODEL_CHANGE = "model.change"
    PROJECT_CREATE = "project.create"
    PROJECT_CHANGE = "project.change"
    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"
    SESSION_CREATE = "session.create"
    SESSION_END = "session.end"
