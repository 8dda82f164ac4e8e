"""Changes of the database's shape, applied at every start: the only way to a schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

# Two services that start at once must not both migrate; any constant works as the name of PostgreSQL's lock.
_LOCK = 0x44414C45


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to a revision, the newest by default."""
    _run(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take changes back, down to a revision (`base`: to nothing)."""
    _run(engine, command.downgrade, revision)


def _run(engine: Engine, action: Callable[[Config, str], None], revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    writer = engine.execution_options(dale_writes=True)
    with writer.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        action(config, revision)
