"""`python -m tests.benchmarks.predictions`: the service's predictions beside onnxruntime, on the same images.

The peer is called as `onnx.zip`'s own script calls it, with its default threads: once on arrays that are ready, once
from the file to the mask. The network is the default one, of random weights: what is computed does not depend on them.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from service.db import jobs
from service.db.tables import DEFAULT_PROJECT, Artifact, Dataset, DatasetVersion
from service.jobs.lifecycle import State
from service.main import open_context
from service.settings import Settings
from tests.benchmarks.server import service_in
from tests.unit.workers.export.models import describe, leave
from workers.contract import inference, keys
from workers.contract.request import JobSpec
from workers.export.__main__ import Exporter

EDGE, IMAGES, IN_FLIGHT, REPEATS = 256, 48, 8, 5
JOB = "job-predicts"
Rates = np.ndarray[Any, np.dtype[np.float64]]


def measure(images: int = IMAGES, repeats: int = REPEATS) -> Rates:
    """Images a second, (repeats, 3): over HTTP, onnxruntime on arrays, onnxruntime from file to mask."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        workplace = leave(folder / "model", describe(arguments={}, edge=EDGE))
        assert not Exporter(workplace).make("onnx").disagreement
        zipfile.ZipFile(workplace.file("onnx")).extractall(folder / "onnx")
        about, network = inference.load(folder / "onnx")
        files = [picture(number) for number in range(images)]
        arrays = [inference.normalise(inference.image_channels([file], EDGE), about)[None] for file in files]
        service = service_in(folder)
        _publish(folder / "data", workplace.file("onnx"))
        service.start()
        try:

            def ask(file: bytes) -> bytes:
                kind = {"Content-Type": "image/png"}
                return (
                    service.http.post(f"/v1/models/{JOB}:predict", content=file, headers=kind)
                    .raise_for_status()
                    .content
                )

            truth = [inference.predict(about, network, [file]).encoded for file in files]
            assert [ask(file) for file in files] == truth  # and everybody is warm
            ways: list[tuple[Callable[[Any], Any], Sequence[Any]]] = [
                (ask, files),
                (network, arrays),
                (lambda file: inference.predict(about, network, [file]), files),
            ]
            return np.array([[rate(*way) for way in ways] for _ in range(repeats)])
        finally:
            service.stop()


def rate(way: Callable[[Any], Any], items: Sequence[Any]) -> float:
    """Items a second, `IN_FLIGHT` at a time."""
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        begun = time.perf_counter()
        for _ in pool.map(way, items):
            pass
        return len(items) / (time.perf_counter() - begun)


def picture(number: int) -> bytes:
    """A PNG that compresses as photographs do."""
    random = np.random.default_rng(number)
    coarse = Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize((EDGE, EDGE))
    values = np.clip(np.asarray(coarse) + random.normal(0, 6, (EDGE, EDGE, 3)), 0, 255).astype(np.uint8)
    sink = io.BytesIO()
    Image.fromarray(values).save(sink, "PNG")
    return sink.getvalue()


def _publish(data: Path, onnx: Path) -> None:
    """Put a finished job with that model where the service will look."""
    data.mkdir(mode=0o700)
    context = open_context(Settings(data_dir=data))
    content, key = onnx.read_bytes(), keys.result(JOB, "onnx.zip")
    context.store.put(key, content)
    with context.sessions.begin() as session:
        session.add(Dataset(id="ds-predicts", project_id=DEFAULT_PROJECT, name="none"))
        session.flush()
        session.add(
            DatasetVersion(dataset_id="ds-predicts", number=1, sample_count=1, mask_values=[0, 255], warnings=[])
        )
        session.flush()
        job = jobs.add_job(session, JOB, JobSpec(dataset_id="ds-predicts"))
        jobs.begin_attempt(session, job, f"{JOB}-1")
        for state in (State.RUNNING, State.SUCCEEDED):
            jobs.set_state(session, job, state)
        row = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "media_type": "application/zip"}
        session.add(Artifact(job_id=JOB, name="onnx.zip", key=key, **row))
    context.database.close()


def main() -> None:
    """Print what was measured."""
    for ours, bare, script in measure():
        print(
            f"{ours:.1f} a second; onnxruntime {bare:.1f}: {ours / bare:.2f}; script {script:.1f}: {ours / script:.2f}"
        )


if __name__ == "__main__":
    main()
