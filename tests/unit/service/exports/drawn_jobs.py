"""A job over photographs with three classes and odd names, and what tests of the tools' formats ask of it."""

from __future__ import annotations

import io
from types import ModuleType
from typing import Any

import httpx
import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from service.api.dependencies import Context
from service.db import jobs
from tests.conftest import png
from tests.records import succeed
from tests.volume_jobs import zipped
from workers.contract import keys
from workers.contract.request import JobSpec

JOB = "job-tools"
VALUES = [0, 1, 2]
NAMES = ["plain", "Läsion 1 & <2>", 'a "quoted" = [50%]#?', "two.dots.v1", "case large", "seen by nobody"]
LARGE = (2100, 3000)  # height, width


def shape(number: int) -> tuple[int, int]:
    """Height and width of an image."""
    return LARGE if NAMES[number] == "case large" else (40 + number, 61)


def label(number: int) -> np.ndarray:
    """What is labelled, (H, W), in the dataset's values; one is all lesion."""
    height, width = shape(number)
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    mask = np.where(np.hypot(y - 0.5, x - 0.4) < 0.3, 2, 0)
    mask[np.hypot(y - 0.5, x - 0.45) < 0.1] = 1
    return (mask if number != 3 else np.full((height, width), 2)).astype(np.uint8)


def prediction(number: int) -> np.ndarray:
    """What the network sees, likewise; speckled, and nothing in the last."""
    random = np.random.default_rng(number)
    share = 0.0005 if shape(number) == LARGE else 0.02
    drawn = np.where(random.random(shape(number)) < share, 2, np.roll(label(number), 3, axis=1))
    return drawn.astype(np.uint8) * (number != 5)


def tools_job(client: TestClient, context: Context, scripted: ModuleType) -> str:
    """Upload the dataset and finish the job over it; gives the dataset's id. One is JPEG, one 16-bit TIFF."""
    members: dict[str, bytes] = {}
    for number, name in enumerate(NAMES):
        height, width = shape(number)
        random = np.random.default_rng(number)
        image = random.integers(60, 200, (1, width // 20 + 1, 3), dtype=np.uint8)
        picture = Image.fromarray(image).resize((width, height))
        kind = {0: "JPEG", 1: "TIFF"}.get(number, "PNG")
        if kind == "TIFF":
            picture = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 200)
        sink = io.BytesIO()
        picture.save(sink, kind)
        ending = {"JPEG": "jpg", "TIFF": "tif", "PNG": "png"}[kind]
        members[f"images/{name}.{ending}"] = sink.getvalue()
        members[f"masks/{name}.png"] = png(label(number))
    answer = client.post("/v1/datasets", data={"name": "tools"}, files={"file": ("x.zip", zipped(members))})
    assert answer.status_code == 201, answer.text
    dataset_id: str = answer.json()["id"]
    with context.sessions.begin() as session:
        job = jobs.add_job(session, JOB, JobSpec(dataset_id=dataset_id, epochs=3))
        jobs.begin_attempt(session, job, f"{JOB}-1")
    for epoch in range(3):
        scripted.write_epoch(context.store, JOB, 1, epoch, len(NAMES))
    for sample in samples(client, dataset_id):
        classes = np.searchsorted(VALUES, prediction(NAMES.index(sample["sample"]))).astype(np.uint8)
        context.store.put(keys.prediction(JOB, sample["ordinal"]), png(classes))
    succeed(context, JOB)
    return dataset_id


def samples(client: TestClient, dataset_id: str) -> list[dict[str, Any]]:
    """The samples as the API lists them."""
    found: list[dict[str, Any]] = client.get(f"/v1/datasets/{dataset_id}/versions/1/samples").json()["samples"]
    return found


def export(client: TestClient, kind: str, **query: Any) -> bytes:
    """A file of the job."""
    answer = client.get(f"/v1/jobs/{JOB}/export", params={"format": kind, **query})
    assert answer.status_code == 200, answer.text
    return answer.content


def send(client: TestClient, kind: str, content: bytes, **query: Any) -> httpx.Response:
    """A file for the job."""
    return client.post(f"/v1/jobs/{JOB}/import", params={"format": kind, **query}, content=content)


def reviews(client: TestClient, dataset_id: str) -> dict[str, str]:
    """The decisions by sample."""
    listed = client.get(f"/v1/datasets/{dataset_id}/versions/1/reviews").json()["reviews"]
    return {row["sample"]: row["decision"] for row in listed}


def new_mask(client: TestClient, dataset_id: str, sample: str) -> np.ndarray:
    """The mask of a correction, (H, W)."""
    rows = client.get(f"/v1/datasets/{dataset_id}/versions/1/reviews").json()["reviews"]
    row = next(row for row in rows if row["sample"] == sample)
    assert row["decision"] == "corrected", row
    return np.asarray(Image.open(io.BytesIO(client.get(row["new_mask"]).content)))
