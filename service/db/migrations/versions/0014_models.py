"""Models have a name, a number, a stage and what people say of them."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

IN_PRODUCTION = sa.text("stage = 'production'")


def upgrade() -> None:
    """Apply. Jobs that have succeeded get their models, in the order in which they were over."""
    op.create_table(
        "model_series",
        sa.Column("project_id", sa.String(64), sa.ForeignKey("projects.id", name="fk_model_series_project_id")),
        sa.Column("name", sa.String(200)),
        sa.Column("newest", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "name", name="pk_model_series"),
    )
    op.create_table(
        "models",
        sa.Column("job_id", sa.String(64), sa.ForeignKey("jobs.id", name="fk_models_job_id"), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("series", sa.String(200), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("intended_use", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_models"),
        sa.ForeignKeyConstraint(
            ["project_id", "series"],
            ["model_series.project_id", "model_series.name"],
            name="fk_models_project_id_series",
        ),
    )
    op.create_index("ix_models_number", "models", ["project_id", "series", "number"], unique=True)
    op.create_index(
        "ix_models_production",
        "models",
        ["project_id", "series"],
        unique=True,
        sqlite_where=IN_PRODUCTION,
        postgresql_where=IN_PRODUCTION,
    )
    _register()


def _register() -> None:
    connection = op.get_bind()
    metadata = sa.MetaData()
    names = ("jobs", "datasets", "models", "model_series")
    metadata.reflect(connection, only=names)
    jobs, datasets, models, series = (metadata.tables[name] for name in names)
    found = connection.execute(
        sa.select(jobs.c.id, jobs.c.project_id, jobs.c.name, datasets.c.name.label("dataset"))
        .join(datasets, datasets.c.id == jobs.c.dataset_id)
        .where(jobs.c.state == "SUCCEEDED")
        .order_by(sa.func.coalesce(jobs.c.finished_at, jobs.c.created_at), jobs.c.id)
    ).all()
    numbers: dict[tuple[str, str], int] = {}
    rows = []
    for job in found:
        place = (job.project_id, job.name.strip() or job.dataset)
        numbers[place] = numbers.get(place, 0) + 1
        said = {"stage": "none", "tags": {}, "description": "", "intended_use": "", "revision": 1}
        rows.append({"job_id": job.id, "project_id": place[0], "series": place[1], "number": numbers[place], **said})
    if rows:
        newest = [{"project_id": project, "name": name, "newest": last} for (project, name), last in numbers.items()]
        connection.execute(sa.insert(series), newest)
        connection.execute(sa.insert(models), rows)


def downgrade() -> None:
    """Take back. What people said of models is lost."""
    op.drop_table("models")
    op.drop_table("model_series")
