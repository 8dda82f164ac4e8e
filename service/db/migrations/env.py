"""Alembic's entry point; the connection comes from `migrations.upgrade`."""

from typing import Any, Literal

from alembic import context

from service.db.base import UtcDateTime
from service.db.tables import Job  # with every other table


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Spell our types as plain SQL types: a migration must not change when the code does."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Job.metadata,
    render_as_batch=True,  # SQLite cannot alter tables in place
    compare_type=True,
    render_item=render_item,
)
with context.begin_transaction():
    context.run_migrations()
