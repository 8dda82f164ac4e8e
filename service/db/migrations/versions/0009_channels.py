"""Channels: their names by version, and the further image files of samples whose channels are files of their own."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Columns come and go in place, not by a copy of the table (`batch_alter_table`): rows of other tables refer to these.


def upgrade() -> None:
    """Apply. What there is has one file an image, and no names of channels: null says both."""
    op.add_column("dataset_versions", sa.Column("channels", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("samples", sa.Column("channels", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("samples", "channels")
    op.drop_column("dataset_versions", "channels")
