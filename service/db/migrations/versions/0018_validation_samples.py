"""Samples that choose an epoch: how many a version has; and which weights of a job can be had."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Versions from before have none; models from before have the weights at the end alone."""
    op.add_column("dataset_versions", sa.Column("validation_count", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("checkpoints", sa.JSON(), nullable=True))
    _resize_split(16)


def downgrade() -> None:
    """Take back. What chose an epoch counts as held out: it must not be trained on where that is no longer known."""
    op.execute("UPDATE samples SET split = 'test' WHERE split = 'validation'")
    _resize_split(8)
    op.drop_column("jobs", "checkpoints")
    op.drop_column("dataset_versions", "validation_count")


def _resize_split(length: int) -> None:
    """Give `samples.split` another length, in place: rows of other tables refer to these."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("samples", "split", type_=sa.String(length))
        return
    op.add_column("samples", sa.Column("resized", sa.String(length), nullable=True))
    op.execute("UPDATE samples SET resized = split WHERE split IS NOT NULL")
    op.drop_column("samples", "split")
    op.alter_column("samples", "resized", new_column_name="split")
