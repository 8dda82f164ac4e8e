"""What is known of samples: groups, splits, annotators; and how well networks do on those that were held out."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FACTS: dict[str, Any] = {
    "group": sa.String(255),
    "split": sa.String(8),
    "annotator": sa.String(255),
    "verified": sa.Boolean(),
    "agreement": sa.Double(),
}


def upgrade() -> None:
    """Apply. Of what there is nothing is known, and every sample is trained on."""
    for name, kind in FACTS.items():
        op.add_column("samples", sa.Column(name, kind, nullable=True))
    op.add_column("dataset_versions", sa.Column("train_count", sa.Integer(), nullable=False, server_default="0"))
    op.execute("UPDATE dataset_versions SET train_count = sample_count")
    op.create_table(
        "held_out_samples",
        sa.Column("job_id", sa.String(64), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("dice", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_held_out_samples_job_id")),
        sa.PrimaryKeyConstraint("job_id", "ordinal", name=op.f("pk_held_out_samples")),
    )
    op.create_index("ix_held_out_samples_dice", "held_out_samples", ["job_id", "dice", "ordinal"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("held_out_samples")
    op.drop_column("dataset_versions", "train_count")
    for name in reversed(FACTS):
        op.drop_column("samples", name)
