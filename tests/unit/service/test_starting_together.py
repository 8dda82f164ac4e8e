"""Several processes on one database: one upgrades and the others wait, and the same new key is let in once."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from service.db import access, audit, migrations
from service.db.migrations.__main__ import wait
from service.db.session import open_database
from service.embedded import let_in
from service.main import open_context
from service.settings import Settings

ROOT = Path(__file__).parents[3]
KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"


def run(action: str, url: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service.db.migrations", action, *options],
        env={**os.environ, "DALE_DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_who_waits_goes_on_when_another_has_upgraded(both_databases: str) -> None:
    waiting = run("wait", both_databases)
    assert waiting.stderr is not None
    for line in waiting.stderr:
        if "is to be upgraded first" in line:  # so it was there before
            break
    upgrading = [run("upgrade", both_databases) for _ in range(2)]
    assert [one.communicate(timeout=60)[1] and one.returncode for one in upgrading] == [0, 0]
    waiting.communicate(timeout=60)
    assert waiting.returncode == 0
    database = open_database(both_databases)
    assert migrations.current(database.engine) == migrations.newest()
    database.close()


def test_waiting_ends_and_says_why(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'dale.db'}")
    slept: list[float] = []
    assert wait(database.engine, 3, sleep=slept.append) == 1
    assert len(slept) == 3
    migrations.upgrade(database.engine, "0001")
    assert wait(database.engine, 1, sleep=slept.append) == 1, "an older shape is not enough"
    migrations.upgrade(database.engine)
    slept.clear()
    assert wait(database.engine, 3, sleep=slept.append) == 0
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert wait(database.engine, 600, sleep=slept.append) == 1, "it was written by a newer version"
    assert slept == []
    database.close()


def test_a_database_that_is_away_is_waited_for() -> None:
    database = open_database("postgresql://nobody:x@127.0.0.1:9/none")
    slept: list[float] = []
    assert wait(database.engine, 2, sleep=slept.append) == 1
    assert len(slept) == 2
    database.close()


def test_two_that_start_with_the_same_new_key_let_it_in_once(
    both_databases: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, database_url=both_databases, network_check=False, api_key=KEY)
    old = settings.model_copy(update={"api_key": Settings(api_key=KEY[::-1]).api_key})
    contexts = [open_context(settings) for _ in range(2)]
    let_in(open_context(old))
    both_looked = threading.Barrier(2)
    original, tries, failures = access.made_by, [], []

    def made_by(session, creator):  # type: ignore[no-untyped-def]
        """Reached once it is known that the key is not there; neither goes on before the other is here, too."""
        tries.append(creator)
        # On SQLite one writer waits for the other, and in a second try nobody comes.
        with contextlib.suppress(threading.BrokenBarrierError):
            both_looked.wait(2 if "postgresql" in both_databases else 0.1)
        return original(session, creator)

    monkeypatch.setattr(access, "made_by", made_by)

    def start(number: int) -> None:
        try:
            let_in(contexts[number])
        except Exception as error:  # noqa: BLE001 - whatever it is, the test is to say it
            failures.append(error)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    if "postgresql" in both_databases:
        assert len(tries) == 3, "both tried, and one again"
    with contexts[0].database.read() as session:
        assert access.find_key(session, KEY) is not None
        assert access.find_key(session, KEY[::-1]) is None
        written = [str(entry.action) for entry in audit.oldest(session, None, audit.Filter(), 0, 9)]
    assert written == ["key.create", "key.revoke", "key.create"], "and nothing is in the audit trail twice"
    for context in contexts:
        context.database.close()
