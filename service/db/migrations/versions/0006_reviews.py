"""What people decide about labels."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "reviews",
        sa.Column("dataset_id", sa.String(64), nullable=False),
        sa.Column("sample", sa.String(255), nullable=False),
        sa.Column("mask_sha256", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("event_id", sa.BigInteger()),
        *_decided(),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_reviews_dataset_id"),
        sa.PrimaryKeyConstraint("dataset_id", "sample", "mask_sha256", name="pk_reviews"),
    )
    op.create_table(
        "review_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("dataset_id", sa.String(64), nullable=False),
        sa.Column("sample", sa.String(255), nullable=False),
        sa.Column("mask_sha256", sa.String(64), nullable=False),
        sa.Column("undo", sa.Boolean(), nullable=False),
        sa.Column("previous_id", sa.BigInteger()),
        *_decided(),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_review_events_dataset_id"),
        sa.PrimaryKeyConstraint("id", name="pk_review_events"),
    )
    op.create_index("ix_review_events_label", "review_events", ["dataset_id", "sample", "mask_sha256", "id"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("review_events")
    op.drop_table("reviews")


def _decided() -> list[sa.Column[Any]]:
    """What both tables have."""
    return [
        sa.Column("decision", sa.String(16)),
        sa.Column("new_mask_sha256", sa.String(64)),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("key_name", sa.String(200), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    ]
