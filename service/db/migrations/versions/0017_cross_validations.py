"""Cross-validations: versions that are derived from others, jobs that are a fold; images keep their fingerprints."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Columns come and go in place, not by a copy of the table (`batch_alter_table`): rows of other tables refer to these.


def upgrade() -> None:
    """Apply. Images from before have no fingerprint: of them only equal ones go into one fold."""
    op.create_table(
        "cross_validations",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("dataset_id", sa.String(64), nullable=False),
        sa.Column("dataset_version", sa.Integer(), nullable=False),
        sa.Column("first_version", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("folds", sa.JSON(), nullable=False),
        sa.Column("left_out", sa.Integer(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cross_validations"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name="fk_cross_validations_project_id"),
        sa.ForeignKeyConstraint(
            ["dataset_id", "dataset_version"],
            ["dataset_versions.dataset_id", "dataset_versions.number"],
            name="fk_cross_validations_dataset_id_dataset_version",
        ),
    )
    op.create_index("ix_cross_validations_project_id", "cross_validations", ["project_id", "created_at", "id"])
    op.add_column("dataset_versions", sa.Column("derived", sa.JSON(), nullable=True))
    op.add_column("samples", sa.Column("fingerprint", sa.String(64), nullable=True))
    op.add_column("jobs", sa.Column("cross_validation_id", sa.String(64), nullable=True))
    op.add_column("jobs", sa.Column("fold", sa.Integer(), nullable=True))
    op.create_index("ix_jobs_cross_validation_id", "jobs", ["cross_validation_id", "fold"])


def downgrade() -> None:
    """Take back. What the folds were trained on stays as versions, their jobs as jobs."""
    op.drop_index("ix_jobs_cross_validation_id", "jobs")
    op.drop_column("jobs", "fold")
    op.drop_column("jobs", "cross_validation_id")
    op.drop_column("samples", "fingerprint")
    op.drop_column("dataset_versions", "derived")
    op.drop_table("cross_validations")
