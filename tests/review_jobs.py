"""A small dataset, uploaded, and a job that has succeeded over it and predicts something else than the labels."""

from __future__ import annotations

import io
from types import ModuleType

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import Context
from service.db import jobs
from tests.records import succeed
from tests.volume_jobs import zipped
from workers.contract import keys
from workers.contract.request import JobSpec

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
