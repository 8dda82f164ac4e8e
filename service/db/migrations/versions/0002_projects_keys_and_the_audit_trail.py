"""Projects, keys with roles, and the audit trail. What there is goes to the project `default`.

Down, keys of a project and revoked keys go: before this revision every key opened everything.
"""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

DEFAULT_PROJECT = "prj-default"
# A trigger for INSERT as well: SQLite's REPLACE deletes a row without calling the trigger for DELETE.
SQLITE_GUARDS = (
    "CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END",
    "CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit "
    "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END",
    "CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) "
    "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END",
)
POSTGRESQL_GUARDS = (
    "CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$",
    "CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
    "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only()",
)


def upgrade() -> None:
    """Apply."""
    projects = op.create_table(
        "projects",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.execute(projects.insert().values(id=DEFAULT_PROJECT, name="default", created_at=datetime.now(UTC)))
    _upgrade_keys()
    for table in ("datasets", "jobs"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            # The default fills the rows that are there; it goes again, so that no later row lands here unasked.
            batch_op.add_column(
                sa.Column("project_id", sa.String(length=64), nullable=False, server_default=DEFAULT_PROJECT)
            )
            batch_op.create_foreign_key(op.f(f"fk_{table}_project_id"), "projects", ["project_id"], ["id"])
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.alter_column("project_id", server_default=None)
            batch_op.create_index(f"ix_{table}_project_id", ["project_id", "created_at", "id"], unique=False)
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("project_id", sa.String(length=64), nullable=True),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("key_name", sa.String(length=200), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("target", sa.String(length=64), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_audit_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_index("ix_audit_project_id", "audit", ["project_id", "id"], unique=False)
    op.create_index("ix_audit_key_id", "audit", ["key_id", "id"], unique=False)
    op.create_index("ix_audit_target", "audit", ["target", "id"], unique=False)
    for statement in POSTGRESQL_GUARDS if op.get_context().dialect.name == "postgresql" else SQLITE_GUARDS:
        op.execute(statement)


def _upgrade_keys() -> None:
    # Sessions were keys with a prefix. They last 12 hours, and nobody knows of which key they are: sign in anew.
    op.execute("DELETE FROM api_keys WHERE id LIKE 'session-%'")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("role", sa.String(length=16), nullable=False, server_default="admin"))
        batch_op.add_column(sa.Column("project_id", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("created_by", sa.String(length=64), nullable=False, server_default="service"))
        batch_op.add_column(sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_foreign_key(op.f("fk_api_keys_project_id"), "projects", ["project_id"], ["id"])
    op.execute("UPDATE api_keys SET created_by = 'environment' WHERE id = 'environment'")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.alter_column("role", server_default=None)
        batch_op.alter_column("created_by", server_default=None)
        batch_op.create_check_constraint(op.f("ck_api_keys_operator"), "project_id IS NOT NULL OR role = 'admin'")
        batch_op.create_index("ix_api_keys_project_id", ["project_id", "created_at", "id"], unique=False)
    op.create_table(
        "browser_sessions",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name=op.f("fk_browser_sessions_key_id")),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_browser_sessions")),
    )
    # Whose the kept answers are was not written down; all keys were the operator's, so any of them will do.
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("owner", sa.String(length=64), nullable=False, server_default=""))
    op.execute("UPDATE idempotency_keys SET owner = COALESCE((SELECT min(id) FROM api_keys), '')")
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.alter_column("owner", server_default=None)
        batch_op.drop_constraint(op.f("pk_idempotency_keys"), type_="primary")
        batch_op.create_primary_key(op.f("pk_idempotency_keys"), ["owner", "key"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("audit")
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_is_append_only()")
    # Two callers may have used the same key, which is unique again.
    shared = "SELECT key FROM idempotency_keys GROUP BY key HAVING count(*) > 1"
    op.execute(f"DELETE FROM idempotency_keys WHERE key IN ({shared})")  # noqa: S608 - no input is in it
    with op.batch_alter_table("idempotency_keys", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("pk_idempotency_keys"), type_="primary")
        batch_op.create_primary_key(op.f("pk_idempotency_keys"), ["key"])
        batch_op.drop_column("owner")
    op.drop_table("browser_sessions")
    op.execute("DELETE FROM api_keys WHERE project_id IS NOT NULL OR revoked_at IS NOT NULL")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_index("ix_api_keys_project_id")
        batch_op.drop_constraint(op.f("ck_api_keys_operator"), type_="check")
        batch_op.drop_constraint(op.f("fk_api_keys_project_id"), type_="foreignkey")
        for column in ("role", "project_id", "created_by", "revoked_at", "last_used_at"):
            batch_op.drop_column(column)
    for table in ("jobs", "datasets"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_index(f"ix_{table}_project_id")
            batch_op.drop_constraint(op.f(f"fk_{table}_project_id"), type_="foreignkey")
            batch_op.drop_column("project_id")
    op.drop_table("projects")
