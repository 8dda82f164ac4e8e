"""Jobs have a priority, and projects a limit of jobs that run at a time; what an attempt ran in is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Columns come and go in place, not by a copy of the table (`batch_alter_table`): rows of other tables refer to these.


def upgrade() -> None:
    """Apply. What there is has the middle priority, and no project has a limit."""
    op.add_column("jobs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("reproduces", sa.String(64), nullable=True))
    op.add_column("attempts", sa.Column("environment", sa.JSON(), nullable=True))
    op.add_column("projects", sa.Column("max_running_jobs", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("projects", "max_running_jobs")
    op.drop_column("attempts", "environment")
    op.drop_column("jobs", "reproduces")
    op.drop_column("jobs", "priority")
