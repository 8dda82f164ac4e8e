"""Jobs that are over can be tried again: when that was asked, and how many attempts were made before."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Columns come and go in place, not by a copy of the table (`batch_alter_table`): rows of other tables refer to these.


def upgrade() -> None:
    """Apply. Nobody has retried what there is."""
    op.add_column("jobs", sa.Column("retried_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("attempts_before", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Take back."""
    op.drop_column("jobs", "attempts_before")
    op.drop_column("jobs", "retried_at")
