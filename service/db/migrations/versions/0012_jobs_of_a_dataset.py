"""The jobs of a dataset are found by an index: a sample's history goes over all of them."""

from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_jobs_dataset_id", "jobs", ["dataset_id", "created_at", "id"])


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_jobs_dataset_id", "jobs")
