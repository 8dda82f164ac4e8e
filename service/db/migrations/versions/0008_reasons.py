"""Why labels are doubted, in words."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Of jobs that are over nobody says it any more."""
    op.add_column("job_samples", sa.Column("reason_kind", sa.String(16), nullable=True))
    op.add_column("job_samples", sa.Column("reason", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("job_samples", "reason")
    op.drop_column("job_samples", "reason_kind")
