"""Which values the mask of a sample has, and which classes a job predicts in it: what the review grid filters by."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply. Of what there is it is not known: masks are read at their import, predictions when a job succeeds."""
    op.add_column("samples", sa.Column("label_values", sa.Text(), nullable=True))
    op.add_column("job_samples", sa.Column("predicted_classes", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("job_samples", "predicted_classes")
    op.drop_column("samples", "label_values")
