"""The database's shape from outside the service: `python -m service.db.migrations upgrade`, or `wait`.

`upgrade` brings it to the newest revision that this version knows. `wait` ends once that has happened: for whoever
starts beside the one that upgrades. Both take the database from the service's settings.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from service import logging
from service.db import migrations
from service.db.session import open_database
from service.settings import Settings

log = logging.get(__name__)
PAUSE_S = 1.0
WAIT_S = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Upgrade, or wait; 0: the database has the newest shape."""
    parser = argparse.ArgumentParser(prog="python -m service.db.migrations", description=__doc__)
    parser.add_argument("action", choices=("upgrade", "wait"))
    parser.add_argument("--seconds", type=int, default=WAIT_S, help=f"how long to wait at most (default {WAIT_S})")
    options = parser.parse_args(arguments)
    settings = Settings()
    logging.configure(settings.log_level)
    database = open_database(settings.database_url)
    try:
        if options.action == "wait":
            return wait(database.engine, options.seconds)
        migrations.upgrade(database.engine)
        log.info("database upgraded", revision=migrations.newest())
        return 0
    finally:
        database.close()


def wait(engine: Engine, seconds: float, *, sleep: Callable[[float], None] = time.sleep) -> int:
    """Wait until the database has the newest revision: 0. 1: it has not, after so many seconds, or is ahead of us."""
    newest = migrations.newest()
    for _ in range(max(1, int(seconds / PAUSE_S))):
        try:
            found = migrations.current(engine)
        except OperationalError as error:
            log.info("database does not answer", error=str(error.orig))
        else:
            if found == newest:
                log.info("database has the newest shape", revision=newest)
                return 0
            if found is not None and not migrations.known(found):
                log.error("database is of a newer version than this program", revision=found, newest_known=newest)
                return 1
            log.info("database is to be upgraded first", revision=found, newest=newest)
        sleep(PAUSE_S)
    log.error("database was not upgraded in time", newest=newest, seconds=seconds)
    return 1


if __name__ == "__main__":
    sys.exit(main())
