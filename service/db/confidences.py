"""An epoch's confidences, in bulk: into the history, and over the newest confidence of each sample."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.csv
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Insert,
    MetaData,
    Select,
    Table,
    bindparam,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.db.datasets import ROWS_AT_ONCE
from service.db.listed import listed
from service.db.tables import Confidence, Job, JobSample, Sample

HISTORY = ("ordinal", "confidence", "score", "dice", "expected_dice")
# The rows arrive here: both tables are then filled inside the database. Seen by this connection alone.
INCOMING = Table(
    "incoming_confidences",
    MetaData(),
    Column("ordinal", BigInteger),
    Column("rank", BigInteger),
    *(Column(name, Double) for name in HISTORY[1:]),
    prefixes=["TEMPORARY"],
)


def insert_epoch(session: Session, job: Job, epoch: int, rows: pa.Table) -> None:
    """Add an epoch of a job to its history, and make it the newest.

    Args:
        session: a transaction; the epoch is in the database when it commits.
        job: the job.
        epoch: counted from 0.
        rows: one for each sample of the job's dataset version, with the columns of `INCOMING` in their order.
    """
    connection = session.connection()
    INCOMING.create(connection)
    _fill(connection, rows)
    given = [INCOMING.c[name] for name in HISTORY]
    history = select(literal(job.id), literal(epoch), *given)
    session.execute(insert(Confidence).from_select(["job_id", "epoch", *HISTORY], history))
    newest = select(literal(job.id), literal(epoch), Sample.name, INCOMING.c.rank, *given).where(
        Sample.dataset_id == job.dataset_id,
        Sample.version == job.dataset_version,
        Sample.ordinal == INCOMING.c.ordinal,
    )
    session.execute(_upsert(connection, ["job_id", "epoch", "name", "rank", *HISTORY], newest))
    INCOMING.drop(connection)


def update_reasons(session: Session, job: Job, reasons: pa.Table) -> None:
    """Say of each sample of a job why its label is doubted.

    Args:
        session: a transaction.
        job: the job, with an epoch taken in.
        reasons: `tables.REASONS`, of any of its samples.
    """
    table: Any = JobSample.__table__
    statement = (
        table.update()
        .where(table.c.job_id == job.id, table.c.ordinal == bindparam("which"))
        .values(reason_kind=bindparam("kind"), reason=bindparam("text"), predicted_classes=bindparam("classes"))
    )
    for start in range(0, reasons.num_rows, ROWS_AT_ONCE):
        some = reasons[start : start + ROWS_AT_ONCE].rename_columns({"ordinal": "which"})
        rows = some.select(["which", "kind", "text", "predicted"]).to_pylist()
        for row in rows:
            predicted = row.pop("predicted")
            row["classes"] = None if predicted is None else listed(predicted)
        session.connection().execute(statement, rows)


def _fill(connection: Connection, rows: pa.Table) -> None:
    """Send the rows by the fastest way that each driver has: SQLAlchemy has no COPY."""
    if connection.dialect.name == "postgresql":
        sink = io.BytesIO()
        pa.csv.write_csv(rows, sink, pa.csv.WriteOptions(include_header=False))
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor, cursor.copy(f"COPY {INCOMING.name} FROM STDIN (FORMAT csv)") as copy:
            copy.write(sink.getbuffer())
        return
    values = list(zip(*(column.to_pylist() for column in rows.columns), strict=True))
    places = ", ".join("?" * rows.num_columns)
    connection.exec_driver_sql(f"INSERT INTO {INCOMING.name} VALUES ({places})", values)  # noqa: S608 - our own names


def _upsert(connection: Connection, columns: list[str], rows: Select[Any]) -> Insert:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement: Any = dialect.insert(JobSample).from_select(columns, rows)
    changing = ("epoch", "rank", *HISTORY[1:])
    replaced: Insert = statement.on_conflict_do_update(
        index_elements=["job_id", "ordinal"], set_={name: statement.excluded[name] for name in changing}
    )
    return replaced
