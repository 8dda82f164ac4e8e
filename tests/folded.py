"""Datasets with patients, and folds of a cross-validation whose jobs have left what a run leaves."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from service.api.dependencies import Context
from service.db import datasets, jobs
from service.db.tables import DEFAULT_PROJECT, Dataset, Job
from service.jobs import ingest
from service.jobs.intake import take_in, view_of
from service.jobs.lag import IngestLag
from service.jobs.lifecycle import State
from service.metrics import Metrics
from workers.contract.evaluation import LEVEL, METRICS, Calibration, ClassValues, Evaluation, ReliabilityBin
from workers.contract.summaries import RESAMPLES, summaries


def sample_row(name: str, ordinal: int, **facts: Any) -> dict[str, Any]:
    """A row of `samples` whose image is no other's."""
    row = {"name": name, "ordinal": ordinal, "image_sha256": hashlib.sha256(name.encode()).hexdigest()}
    row |= {"mask_sha256": "1" * 64, "width": 64, "height": 48, "depth": None, "spacing": None, "foreground": 0.25}
    row |= {"fingerprint": None, "label_values": None, "channels": None, "group": None, "split": None}
    return row | {"annotator": None, "verified": None, "agreement": None} | facts


def add_patients(context: Context, groups: Sequence[str | None], held_out: int = 0, project: str = "") -> str:
    """Put a dataset into the database, without files: a sample for each entry, those of one group a patient's."""
    dataset_id = f"ds-{secrets.token_hex(8)}"
    first = len(groups) - held_out
    rows = [
        sample_row(f"case {place:03}", place, group=group, split="test" if place >= first else None)
        for place, group in enumerate(groups)
    ]
    with context.sessions.begin() as session:
        dataset = Dataset(id=dataset_id, project_id=project or DEFAULT_PROJECT, name="lesions")
        datasets.add(session, dataset, mask_values=[0, 1, 2], warnings=[], samples=rows)
    return dataset_id


def values_of(name: str) -> ClassValues:
    """How a network does on a sample: any numbers that a test can compute as well; of some HD95 is undefined."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]))
    found: ClassValues = {metric: rng.uniform(0, 1, 2).round(3).astype(np.float32).tolist() for metric in METRICS}
    if rng.uniform() < 0.2:
        found["hd95"] = [None, found["hd95"][1]]
    return found


def calibration_from(number: int) -> list[Calibration]:
    """How far some probabilities are to be believed: other numbers for each `number`."""
    rng = np.random.default_rng(number)
    bins = [
        ReliabilityBin(pixels=int(n), probability=float(p) if n else None, frequency=float(f) if n else None)
        for n, p, f in zip(rng.integers(0, 50, 10), np.arange(10) / 10 + 0.05, rng.uniform(0, 1, 10), strict=True)
    ]
    pixels = sum(one.pixels for one in bins)
    gaps = sum(one.pixels * abs((one.frequency or 0) - (one.probability or 0)) for one in bins)
    return [Calibration(label_class=1, pixels=pixels, ece=gaps / pixels, brier=0.1 * number, bins=bins)]


def finish_fold(context: Context, scripted: ModuleType, job_id: str) -> None:
    """Let a queued job run and succeed, with `values_of` each sample that it holds out."""
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.begin_attempt(session, job, f"{job_id}-1")
        view, fold = view_of(job), job.fold or 0
        version = datasets.version(session, job.dataset_id, job.dataset_version)
        rows = datasets.rows(session, job.dataset_id, job.dataset_version)[version.train_count :]
    for epoch in range(view.spec.epochs):
        scripted.write_epoch(context.store, job_id, 1, epoch, version.train_count)
    values = {row["ordinal"]: values_of(row["name"]) for row in rows}
    groups = [str(row["group"]) for row in rows]
    scripted.write_result(
        context.store,
        job_id,
        1,
        view.spec.epochs,
        held_out={ordinal: float(np.mean(of["dice"])) for ordinal, of in values.items()},
        classes=values,
        evaluation=Evaluation(
            samples=len(rows),
            groups=len(set(groups)),
            level=LEVEL,
            resamples=RESAMPLES,
            hd95_unit="px",
            metrics=summaries(list(values.values()), groups, view.spec.seed),
            calibration=calibration_from(fold),
        ),
    )
    assert take_in(context, view, IngestLag(Metrics())) is None
    result = ingest.read_result(context.store, job_id)
    assert result is not None
    scores = ingest.read_scores(context.store, result, version.train_count, version.sample_count)
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        jobs.set_state(session, job, State.RUNNING)
        jobs.add_result(session, job, result, scores)
        jobs.set_state(session, job, State.SUCCEEDED)


def fail_fold(context: Context, job_id: str, cause: str) -> Job:
    """Let a queued job fail."""
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, job_id)
        assert job is not None
        job.failure = {"kind": "data", "cause": cause, "hint": ""}
        jobs.set_state(session, job, State.FAILED)
        return job
