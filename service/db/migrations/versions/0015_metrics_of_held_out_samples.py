"""More metrics of held-out samples, by class, and their summary over a job."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

MEANS = ("iou", "hd95", "precision", "recall")


def upgrade() -> None:
    """Apply. Of what there is only the Dice is known."""
    for name in MEANS:
        op.add_column("held_out_samples", sa.Column(name, sa.Double(), nullable=True))
    op.add_column("held_out_samples", sa.Column("classes", sa.JSON(), nullable=True))
    op.add_column("jobs", sa.Column("evaluation", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("jobs", "evaluation")
    for name in ("classes", *reversed(MEANS)):
        op.drop_column("held_out_samples", name)
