"""Changes of the database's shape, applied at every start: the only way to a schema.

Where several services share a database, one `python -m service.db.migrations upgrade` goes before them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

# Two services that start at once must not both migrate; any constant works as the name of PostgreSQL's lock.
_LOCK = 0x44414C45


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to a revision, the newest by default."""
    _run(engine, command.upgrade, revision)


def downgrade(engine: Engine, revision: str) -> None:
    """Take changes back, down to a revision (`base`: to nothing)."""
    _run(engine, command.downgrade, revision)


def newest() -> str:
    """The newest revision that this version knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("there are no migrations beside this file: the package is not whole")
    return head


def known(revision: str) -> bool:
    """Whether this version knows a revision."""
    return revision in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def current(engine: Engine) -> str | None:
    """The revision of a database; None: it has no tables yet."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def _run(engine: Engine, action: Callable[[Config, str], None], revision: str) -> None:
    config = _config()
    writer = engine.execution_options(dale_writes=True)
    with writer.connect() as connection, _unchecked(connection), connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        config.attributes["connection"] = connection
        action(config, revision)
        if engine.dialect.name == "sqlite" and (broken := connection.exec_driver_sql("PRAGMA foreign_key_check").all()):
            raise RuntimeError(f"the migration to {revision} would leave rows that refer to nothing: {broken[:5]}")


@contextmanager
def _unchecked(connection: Connection) -> Iterator[None]:
    """Let SQLite replace tables that others refer to, which is how it changes them; all is checked before the commit.

    The switch does nothing within a transaction, so it is thrown before one begins.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    plain = connection.connection
    plain.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        plain.execute("PRAGMA foreign_keys = ON")
