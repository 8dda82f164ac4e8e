"""What a job does: train, as all did until now, or predict."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("jobs", sa.Column("task", sa.String(16), nullable=False, server_default="train"))


def downgrade() -> None:
    """Take back. Jobs that predict go: who knows of no task would take them for trainings."""
    for table in ("events", "attempts", "artifacts"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM jobs WHERE task <> 'train')")  # noqa: S608 - our own names
    op.execute("DELETE FROM jobs WHERE task <> 'train'")
    op.drop_column("jobs", "task")
