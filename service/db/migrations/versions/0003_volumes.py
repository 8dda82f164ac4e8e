"""Volumes: how an upload was laid out, how many axes its samples have, and how they lie in space."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Columns come and go in place, not by a copy of the table (`batch_alter_table`): rows of other tables refer to these.


def upgrade() -> None:
    """Apply. What there is already was uploaded as folders of 2D images, which the columns' defaults say."""
    op.add_column("dataset_versions", sa.Column("layout", sa.String(16), nullable=False, server_default="folders"))
    op.add_column("dataset_versions", sa.Column("spatial_dims", sa.Integer(), nullable=False, server_default="2"))
    op.add_column("samples", sa.Column("depth", sa.Integer(), nullable=True))
    op.add_column("samples", sa.Column("spacing", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("samples", "spacing")
    op.drop_column("samples", "depth")
    op.drop_column("dataset_versions", "spatial_dims")
    op.drop_column("dataset_versions", "layout")
