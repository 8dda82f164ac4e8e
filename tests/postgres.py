"""A private PostgreSQL server from the installed binaries, for tests and benchmarks."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url


@contextmanager
def server() -> Iterator[str]:
    """URL of a PostgreSQL server: that of DALE_TEST_POSTGRES_URL, or a private one on a socket, without fsync."""
    if given := os.environ.get("DALE_TEST_POSTGRES_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        return
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    assert found, "install PostgreSQL (apt-get install postgresql) or set DALE_TEST_POSTGRES_URL"
    binaries = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="dale-pg-", dir="/tmp"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]
    data, sockets = folder / "data", folder

    def run(*command: str | Path) -> None:
        subprocess.run([*as_user, *command], check=True, stdout=subprocess.DEVNULL, cwd=folder)

    run(binaries / "initdb", "-D", data, "-U", "dale", "-A", "trust", "-N")
    options = f"-c listen_addresses='' -c unix_socket_directories={sockets} -c fsync=off"
    control = (binaries / "pg_ctl", "-D", data, "-w")
    run(*control, "-o", options, "-l", folder / "log", "start")
    try:
        yield f"postgresql+psycopg://dale@/postgres?host={sockets}"
    finally:
        run(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder)


@contextmanager
def new_database(server_url: str, template: str | None = None) -> Iterator[str]:
    """URL of a database on a server, empty or a copy of another; dropped afterwards."""
    name = f"dale_{secrets.token_hex(6)}"
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else "")))
    yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
