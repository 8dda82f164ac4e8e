"""Epochs in bulk: history and newest confidences are the rows that came, on both databases, whatever came before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from scipy.stats import rankdata
from sqlalchemy import select

from service.api.dependencies import Context
from service.db import jobs, tables
from service.jobs import ingest
from workers.contract import keys
from workers.contract.request import EpochManifest, JobSpec, Shard
from workers.contract.tables import CONFIDENCE, to_parquet

SAMPLES = 500


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def job_id(context: Context, add_dataset: Callable[..., str]) -> str:
    with context.sessions.begin() as session:
        jobs.add_job(session, "job-1", JobSpec(dataset_id=add_dataset(SAMPLES)))
    return "job-1"


def values_of(seed: int) -> np.ndarray:
    """(n, 4), float32, with extremes and ties of the score."""
    values = np.random.default_rng(seed).random((SAMPLES, 4), dtype=np.float32)
    values[:4] = [[0, 1, 1e-30, 1], [1, 0, 1e-7, 0.1], [1 / 3, 0.5, 0, 0], [0.1, 0.5, 0.2, 0.3]]
    return values


def take(context: Context, job_id: str, epoch: int, values: np.ndarray) -> None:
    """Write an epoch as two ranks do, and take it in."""
    shards = []
    for rank in range(2):
        own = np.arange(rank, SAMPLES, 2)[::-1]
        columns = dict(zip(ingest.COLUMNS, values[own].T, strict=True))
        data = to_parquet(pa.table({"ordinal": own, **columns}, schema=CONFIDENCE))
        key = f"jobs/{job_id}/{epoch}-{rank}.parquet"
        context.store.put(key, data)
        shards.append(Shard(key=key, rows=len(own), size=len(data), sha256=hashlib.sha256(data).hexdigest()))
    manifest = EpochManifest(job_id=job_id, attempt=1, epoch=epoch, world_size=2, metrics={}, shards=shards)
    context.store.put(keys.epoch_manifest(job_id, epoch), manifest.model_dump_json().encode())
    rows = ingest.read_rows(context.store, manifest, SAMPLES)
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.add_epoch(session, job, manifest, rows)


def test_every_epoch_is_kept_and_the_last_one_is_the_newest(context: Context, job_id: str) -> None:
    epochs = [values_of(seed) for seed in range(3)]
    for epoch, values in enumerate(epochs):
        take(context, job_id, epoch, values)
    with context.database.read() as session:
        history = session.scalars(select(tables.Confidence).order_by(tables.Confidence.epoch, "ordinal")).all()
        newest = session.scalars(select(tables.JobSample).order_by(tables.JobSample.ordinal)).all()
    kept = np.array([[getattr(row, name) for name in ingest.COLUMNS] for row in history]).reshape(3, SAMPLES, 4)
    np.testing.assert_array_equal(kept, np.array(epochs, np.float64))
    np.testing.assert_array_equal([[getattr(row, name) for name in ingest.COLUMNS] for row in newest], kept[-1])
    assert {row.epoch for row in newest} == {2}
    assert [row.name for row in newest] == [f"case_{number:03}" for number in range(SAMPLES)]
    np.testing.assert_array_equal([row.rank for row in newest], rankdata(epochs[-1][:, 1], method="ordinal"))


def test_an_epoch_that_is_taken_back_leaves_nothing(context: Context, job_id: str) -> None:
    take(context, job_id, 0, values_of(0))
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        take(context, job_id, 0, values_of(1))
    take(context, job_id, 1, values_of(2))
    with context.database.read() as session:
        kept = session.scalars(select(tables.Confidence.confidence).where(tables.Confidence.epoch == 0)).all()
    assert len(kept) == SAMPLES
    np.testing.assert_array_equal(np.sort(kept), np.sort(values_of(0)[:, 0].astype(float)))


@pytest.mark.parametrize("order_by", ["score", "confidence", "dice", "name"])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_are_the_whole_list_in_order(
    client: TestClient, context: Context, job_id: str, order_by: str, order: str
) -> None:
    assert client.get(f"/v1/jobs/{job_id}/samples").json()["total"] == 0
    values = np.round(values_of(0), 1)  # many ties
    take(context, job_id, 0, values)
    got: list[int] = []
    query: dict[str, str | int] = {"order_by": order_by, "order": order, "page_size": 70}
    while True:
        page = client.get(f"/v1/jobs/{job_id}/samples", params=query).json()
        assert page["total"] == SAMPLES
        got += [row["ordinal"] for row in page["samples"]]
        if page["next_page_token"] is None:
            break
        query["page_token"] = page["next_page_token"]
    column = np.zeros(SAMPLES) if order_by == "name" else values[:, ingest.COLUMNS.index(order_by)]
    expected = np.lexsort((np.arange(SAMPLES), column))
    np.testing.assert_array_equal(got, expected if order == "asc" else expected[::-1])
