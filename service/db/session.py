"""The engine and its sessions; one database, SQLite or PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.orm import Session, sessionmaker

BUSY_TIMEOUT_MS = 15_000
CACHE_KIB = 64 << 10  # taken as needed: an epoch of 200,000 samples changes about as much


@dataclass(frozen=True)
class Statement:
    """What was asked of the database, without the values, and how long it took to answer."""

    text: str
    seconds: float
    failed: bool


@dataclass(frozen=True)
class Database:
    """An engine with two kinds of sessions.

    On SQLite a transaction that reads first and writes later fails at once ("database is locked") when
    somebody else wrote in between, whatever the busy timeout. So whoever will write takes the write lock with
    the first statement (`write`), and whoever only reads never waits (`read`). PostgreSQL needs no such care.
    """

    engine: Engine
    read: sessionmaker[Session]
    write: sessionmaker[Session]

    def check(self) -> None:
        """Ask the database for one row; raises what SQLAlchemy raises if it does not answer."""
        with self.engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    def watch(self, done: Callable[[Statement], None]) -> None:
        """Tell `done` of every statement once it was answered, in the thread that asked."""
        slot = object()  # each watcher's own place to note when a connection's statement began

        def before(connection: Connection, *_: Any) -> None:
            connection.info[slot] = time.perf_counter()

        def after(connection: Connection, _cursor: Any, text: str, *_: Any) -> None:
            done(Statement(text, time.perf_counter() - connection.info.pop(slot), failed=False))

        def failed(error: ExceptionContext) -> None:
            # Without a connection none was got; without a beginning the statement never left.
            if error.connection is None or error.statement is None or slot not in error.connection.info:
                return
            done(Statement(error.statement, time.perf_counter() - error.connection.info.pop(slot), failed=True))

        event.listen(self.engine, "before_cursor_execute", before)
        event.listen(self.engine, "after_cursor_execute", after)
        event.listen(self.engine, "handle_error", failed)

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()


def open_database(url: str) -> Database:
    """Open a database; its folder is made if it is missing, its tables are not (see `migrations`)."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database and parsed.database != ":memory:":
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername="postgresql+psycopg")
        engine = create_engine(parsed, pool_pre_ping=True)
    return Database(
        engine=engine,
        read=sessionmaker(engine, expire_on_commit=False),
        write=sessionmaker(engine.execution_options(dale_writes=True), expire_on_commit=False),
    )


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute(f"PRAGMA cache_size = {-CACHE_KIB}")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("dale_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
