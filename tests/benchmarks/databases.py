"""`python -m tests.benchmarks.databases`: a large job in SQLite and in PostgreSQL, beside bare SQL on the same tables.

The job has 200,000 samples and 50 epochs. Listing: pages of its samples by confidence through the API, each beside the
same rows from the database's driver. Ingestion: the 51st epoch as the reconciler takes it in, beside a bare COPY
(PostgreSQL) or executemany (SQLite) of the same rows into the history alone. Deletion: the whole job, beside how long
somebody else had to wait at most who wrote meanwhile.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from sqlalchemy import text
from sqlalchemy.engine import make_url

from service.db import datasets, jobs, removal
from service.db.tables import DEFAULT_PROJECT, Dataset
from service.jobs.intake import take_in, view_of
from service.jobs.lag import IngestLag
from service.jobs.lifecycle import State
from service.main import Context, open_context
from service.metrics import Metrics
from service.settings import Settings
from tests import postgres
from tests.integration.harness import Service
from workers.contract import keys, tables
from workers.contract.request import EpochManifest, JobSpec, Shard

SAMPLES, EPOCHS, SHARDS = 200_000, 50, 8
PAGES, PAGE_SIZE, REPEATS = 200, 50, 3
JOB = "job-large"
COLUMNS = ("job_id", "ordinal", "epoch", "confidence", "score", "dice", "expected_dice")
PAGE = (
    "SELECT ordinal, name, rank, epoch, confidence, score, dice, expected_dice FROM job_samples "
    "WHERE job_id = {0} AND (confidence, ordinal) > ({0}, {0}) "
    "ORDER BY confidence, ordinal LIMIT {0}"
)
Times = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Measured:
    """Seconds of the service and of its peer, in pairs.

    Attributes:
        listing: (pages, 2).
        ingestion: (repeats, 2).
        deletion: of the job, and the longest that another writer waited meanwhile; no peer.
    """

    listing: Times
    ingestion: Times
    deletion: tuple[float, float]


class Peer:
    """The database without us: its driver, the same tables."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        self.connection: Any = (
            sqlite3.connect(str(parsed.database), timeout=60, isolation_level=None)
            if self._sqlite
            else psycopg.connect(parsed.set(drivername="postgresql").render_as_string(hide_password=False))
        )

    def page(self, confidence: float, ordinal: int) -> list[tuple[Any, ...]]:
        """A page of samples from behind a position on."""
        query = PAGE.format("?" if self._sqlite else "%s")
        rows: list[tuple[Any, ...]] = self.connection.execute(query, (JOB, confidence, ordinal, PAGE_SIZE)).fetchall()
        if not self._sqlite:
            self.connection.rollback()
        return rows

    def insert(self, rows: list[tuple[Any, ...]]) -> None:
        """Put rows of the history in, and take them back after the clock has stopped: `undo`."""
        if self._sqlite:
            self.connection.execute("BEGIN IMMEDIATE")
            self.connection.executemany(f"INSERT INTO confidences ({', '.join(COLUMNS)}) VALUES (?,?,?,?,?,?,?)", rows)
            return
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"COPY confidences ({', '.join(COLUMNS)}) FROM STDIN") as sink,
        ):
            for row in rows:
                sink.write_row(row)

    def change(self) -> None:
        """Change a row, in a transaction of its own."""
        if self._sqlite:
            self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute("UPDATE projects SET name = name")
        self.connection.commit()

    def undo(self) -> None:
        """Take back what `insert` put in."""
        self.connection.rollback()


@contextmanager
def databases(kind: str, folder: Path) -> Iterator[str]:
    """URL of an empty database of a kind."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'data' / 'dale.db'}"
        return
    with postgres.server() as server, postgres.new_database(server) as url:
        yield url


def measure(kind: str, samples: int = SAMPLES, epochs: int = EPOCHS) -> Measured:
    """Fill a database and time both sides of it.

    Args:
        kind: "sqlite" or "postgres".
        samples: of the job.
        epochs: that are in the database already.
    """
    with tempfile.TemporaryDirectory() as name, databases(kind, folder := Path(name)) as url:
        context = open_context(Settings(data_dir=folder / "data", database_url=url, network_check=False))
        try:
            fill(context, samples, epochs)
            peer = Peer(url)
            ingestion = np.array([time_ingestion(context, peer, epochs + number, samples) for number in range(REPEATS)])
            listing = time_listing(folder / "data", url, peer)
            deletion = time_deletion(context, peer)
            peer.connection.close()
        finally:
            context.database.close()
    return Measured(listing, ingestion, deletion)


def fill(context: Context, samples: int, epochs: int) -> None:
    """A dataset, a running job and its history, with confidences from a generator."""
    with context.sessions.begin() as session:
        rows = [
            {
                "ordinal": ordinal,
                "name": f"case_{ordinal:07}",
                "image_sha256": f"{ordinal:064x}",
                "mask_sha256": f"{ordinal:064x}",
                "width": 64,
                "height": 64,
                "foreground": 0.1,
            }
            for ordinal in range(samples)
        ]
        dataset = Dataset(id="ds-large", project_id=DEFAULT_PROJECT, name="large")
        datasets.add(session, dataset, mask_values=[0, 255], warnings=[], samples=rows)
        job = jobs.add_job(session, JOB, JobSpec(dataset_id="ds-large", epochs=100_000))
        jobs.begin_attempt(session, job, f"{JOB}-1")
        jobs.set_state(session, job, State.RUNNING)
    with context.sessions.begin() as session:
        drawn = "abs(random() % 1000000) / 1e6" if session.get_bind().dialect.name == "sqlite" else "random()"
        series = (
            "(WITH RECURSIVE s(epoch) AS (SELECT 0 UNION ALL SELECT epoch + 1 FROM s WHERE epoch + 1 < :epochs) "
            "SELECT epoch FROM s) AS series"
        )
        values = f"{drawn}, {drawn}, {drawn}, {drawn}"
        session.execute(
            text(
                f"INSERT INTO confidences ({', '.join(COLUMNS)}) SELECT :job, ordinal, epoch, {values} "
                f"FROM samples CROSS JOIN {series} ORDER BY ordinal, epoch"
            ),
            {"job": JOB, "epochs": epochs},
        )
        session.execute(
            text(
                "INSERT INTO job_samples (job_id, ordinal, name, epoch, rank, confidence, score, dice, expected_dice) "
                f"SELECT :job, ordinal, name, :last, ordinal + 1, {values} FROM samples"
            ),
            {"job": JOB, "last": epochs - 1},
        )
        job = jobs.lock_job(session, JOB)
        assert job is not None
        job.epochs_done = epochs
    with context.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE")


def time_ingestion(context: Context, peer: Peer, epoch: int, samples: int) -> tuple[float, float]:
    """Seconds to take in an epoch, and those of the bare insert of its history just before."""
    values = np.random.default_rng(epoch).random((samples, 4), dtype=np.float32)
    rows = [(JOB, ordinal, epoch, *row) for ordinal, row in enumerate(values.tolist())]
    bare = seconds_of(lambda: peer.insert(rows))
    peer.undo()
    shards = []
    for shard in range(SHARDS):
        own = np.arange(shard, samples, SHARDS)
        columns = dict(zip(COLUMNS[3:], values[own].T, strict=True))
        data = tables.to_parquet(pa.table({"ordinal": own, **columns}, schema=tables.CONFIDENCE))
        key = f"{keys.epoch_manifest(JOB, epoch).rpartition('/')[0]}/confidence-{shard}-of-{SHARDS}.parquet"
        context.store.put(key, data)
        shards.append(Shard(key=key, rows=len(own), size=len(data), sha256=hashlib.sha256(data).hexdigest()))
    manifest = EpochManifest(
        job_id=JOB, attempt=1, epoch=epoch, world_size=SHARDS, metrics={"dice": 0.5}, shards=shards
    )
    context.store.put(keys.epoch_manifest(JOB, epoch), manifest.model_dump_json().encode())
    with context.database.read() as session:
        view = view_of(jobs.unfinished(session)[0])

    def ours() -> None:
        assert take_in(context, view, IngestLag(Metrics())) is None

    took = seconds_of(ours)
    with context.database.read() as session:
        job = jobs.get_job(session, JOB)
        assert job is not None
        assert job.epochs_done == epoch + 1
    return took, bare


def time_deletion(context: Context, peer: Peer) -> tuple[float, float]:
    """Seconds to delete the job, and the longest that a small change by somebody else took meanwhile."""
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, JOB)
        assert job is not None
        for state in (State.SUCCEEDED, State.DELETING):
            jobs.set_state(session, job, state)
    deleting = threading.Thread(
        target=lambda: took.append(seconds_of(lambda: removal.remove_job(context.database, JOB)))
    )
    took: list[float] = []
    waited = []
    deleting.start()
    while deleting.is_alive():
        waited.append(seconds_of(peer.change))
        time.sleep(0.02)
    with context.database.read() as session:
        assert jobs.get_job(session, JOB) is None
    return took[0], max(waited)


def time_listing(folder: Path, url: str, peer: Peer) -> Times:
    """Seconds of pages by confidence from the service in its own process, and of the same rows from the driver."""
    service = Service(folder, ("true",), DALE_DATABASE_URL=url, DALE_RAY_ADDRESS="http://127.0.0.1:1")
    service.start()
    try:
        taken, token, position = [], None, (-1.0, -1)
        for _ in range(PAGES):
            query = {"order_by": "confidence", "page_size": PAGE_SIZE, **({"page_token": token} if token else {})}
            answers: list[Any] = []
            ours = seconds_of(lambda: answers.append(service.http.get(f"/v1/jobs/{JOB}/samples", params=query)))  # noqa: B023
            bare = seconds_of(lambda: answers.append(peer.page(*position)))  # noqa: B023
            page = answers[0].raise_for_status().json()
            assert [row["ordinal"] for row in page["samples"]] == [row[0] for row in answers[1]]
            token, last = page["next_page_token"], page["samples"][-1]
            position = (last["confidence"], last["ordinal"])
            taken.append((ours, bare))
    finally:
        service.stop()
    return np.array(taken[1:])  # the first one opens connections


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Print what was measured."""
    for kind in ("sqlite", "postgres"):
        found = measure(kind)
        (ours, bare), tail = 1e3 * np.median(found.listing, 0), 1e3 * np.quantile(found.listing, 0.99, axis=0)
        print(f"{kind}: a page in {ours:.2f} ms (p99 {tail[0]:.2f}), bare {bare:.2f} (p99 {tail[1]:.2f})")
        for mine, theirs in found.ingestion:
            print(f"{kind}: an epoch in {mine:.1f} s, bare {theirs:.1f} s: {mine / theirs:.2f}")
        print(f"{kind}: deleted in {found.deletion[0]:.1f} s; others waited {found.deletion[1]:.2f} s at most")


if __name__ == "__main__":
    main()
