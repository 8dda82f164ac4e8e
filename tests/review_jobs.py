"""A small dataset, uploaded, and a job that has succeeded over it and predicts something else than the labels."""

from __future__ import annotations

import hashlib
import io
from types import ModuleType

import numpy as np
import pyarrow as pa
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import Context
from service.db import jobs
from tests.records import succeed
from tests.volume_jobs import zipped
from workers.contract import keys, tables
from workers.contract.request import JobSpec, ResultManifest, Shard
from workers.contract.store import ObjectStore

COUNT, WIDTH, HEIGHT = 12, 72, 64
JOB = "job-review"


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """Pixels as a file."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return sink.getvalue()


def lesion(number: int) -> np.ndarray:
    """What is really there: bool (HEIGHT, WIDTH)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    angle = np.arctan2(y - 32, x - 30 - number)
    return np.hypot(y - 32, x - 30 - number) < 13 + 3 * np.sin(3 * angle + number)  # type: ignore[no-any-return]


def label(number: int) -> np.ndarray:
    """What was drawn: beside the lesion in every third, else exact; 0 and 255."""
    drawn = np.roll(lesion(number), 11, axis=1) if number % 3 == 0 else lesion(number)
    return drawn.astype(np.uint8) * 255


def doubt(number: int) -> np.ndarray:
    """What is doubted, half as wide and as high: where the label is beside the lesion."""
    apart = lesion(number) != (label(number) > 0)
    return apart[::2, ::2].astype(np.uint8) * np.uint8(255)


def reviewable_job(client: TestClient, context: Context, scripted: ModuleType) -> str:
    """Upload the dataset and finish the job `JOB` over it; gives the dataset's id. One image is a TIFF."""
    members = {}
    for number in range(COUNT):
        noise = np.random.default_rng(number).integers(0, 22, (HEIGHT, WIDTH, 1))
        image = np.where(lesion(number)[..., None], (176, 84, 72), (222, 172, 148)) + noise
        kind, ending = ("TIFF", "tif") if number == 1 else ("PNG", "png")
        members[f"images/case {number:02}.{ending}"] = encoded(image.astype(np.uint8), kind)
        members[f"masks/case {number:02}.png"] = encoded(label(number))
    answer = client.post("/v1/datasets", data={"name": "lesions"}, files={"file": ("x.zip", zipped(members))})
    assert answer.status_code == 201, answer.text
    dataset_id: str = answer.json()["id"]
    with context.sessions.begin() as session:
        jobs.add_job(session, JOB, JobSpec(dataset_id=dataset_id, epochs=3, name="lesions, first look"))
    finish(context, scripted, JOB, COUNT)
    return dataset_id


def finish(context: Context, scripted: ModuleType, job_id: str, count: int) -> str:
    """Make a queued job over the first `count` ordinals of such a dataset succeed; gives its id."""
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.begin_attempt(session, job, f"{job_id}-1")
    for epoch in range(3):
        scripted.write_epoch(context.store, job_id, 1, epoch, count)
    for number in range(count):
        moved = np.roll(lesion(number), 1, axis=0)  # never just the label
        context.store.put(keys.prediction(job_id, number), encoded(moved.astype(np.uint8)))
        context.store.put(keys.doubt_map(job_id, number), encoded(doubt(number)))
    scripted.write_result(context.store, job_id, 1, 3, maps=True)
    succeed(context, job_id)
    return job_id


def alike(context: Context, job_id: str, count: int, ranks: int = 2, near: int = 8) -> None:
    """Put into a finished job's result that the samples look most like those that follow them."""
    rows = {n: {(n + step) % count: 1 - step / 20 for step in range(1, near + 1)} for n in range(count)}
    write_neighbours(context.store, job_id, rows, ranks)


def write_neighbours(store: ObjectStore, job_id: str, rows: dict[int, dict[int, float]], ranks: int) -> None:
    """What a run leaves whose samples have these neighbours, with their similarities."""
    shards = []
    for rank in range(ranks):
        own = {ordinal: rows[ordinal] for ordinal in sorted(rows) if ordinal % ranks == rank}
        columns = {
            "ordinal": list(own),
            "neighbours": [list(row) for row in own.values()],
            "similarity": [list(row.values()) for row in own.values()],
        }
        schema = tables.NEIGHBOURS.with_metadata({tables.AMONG: str(len(rows))})
        data = tables.to_parquet(pa.table(columns, schema=schema), tables.NEIGHBOURS_AT_ONCE)
        key = keys.neighbours(job_id, rank, ranks)
        store.put(key, data)
        shards.append(Shard(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=len(own)))
    manifest = ResultManifest(
        job_id=job_id, attempt=1, epochs=3, metrics={}, files=[], neighbours=shards, predictions=True
    )
    store.put(keys.result_manifest(job_id), manifest.model_dump_json().encode())
