"""A training run without training: writes the objects of the contract, and waits where a test tells it to.

The job's name is its script: `hold=2` waits after epoch 2 until the object `jobs/<id>/go` exists; `die=1` kills itself
after epoch 1, with `always` in every attempt; `fail=1` reports a failure after epoch 1; `ignore-term` does not listen
to SIGTERM.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import signal
import sys
import time
import zipfile

import pyarrow as pa

from workers.contract import keys, tables
from workers.contract.environment import Environment, Machine, Worker
from workers.contract.evaluation import Evaluation
from workers.contract.prediction import PredictionManifest
from workers.contract.request import (
    EpochManifest,
    Failure,
    JobSpec,
    Progress,
    ResultFile,
    ResultManifest,
    Shard,
    TrainRequest,
)
from workers.contract.store import ObjectStore, open_store


def confidence(ordinal: int, epoch: int) -> float:
    """What this run believes: any function of sample and epoch that a test can compute as well."""
    return ((ordinal * 37 + epoch * 11) % 101) / 101


def write_epoch(store: ObjectStore, job_id: str, attempt: int, epoch: int, count: int, world_size: int = 2) -> None:
    shards = []
    for rank in range(world_size):
        ordinals = list(range(rank, count, world_size))
        values = [confidence(ordinal, epoch) for ordinal in ordinals]
        columns = {"ordinal": ordinals, "confidence": values, "score": values, "dice": values, "expected_dice": values}
        data = tables.to_parquet(pa.table(columns, schema=tables.CONFIDENCE))
        key = keys.confidence_shard(job_id, epoch, rank, world_size)
        store.put(key, data)
        shards.append(Shard(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=len(ordinals)))
    manifest = EpochManifest(
        job_id=job_id,
        attempt=attempt,
        epoch=epoch,
        world_size=world_size,
        metrics={"loss": 1 / (epoch + 1)},
        shards=shards,
    )
    store.put(keys.epoch_manifest(job_id, epoch), manifest.model_dump_json().encode())


def write_result(
    store: ObjectStore,
    job_id: str,
    attempt: int,
    epochs: int,
    content: bytes = b"weights " * 1000,
    held_out: dict[int, float] | None = None,
    classes: dict[int, dict[str, list[float | None]]] | None = None,
    evaluation: Evaluation | None = None,
    reasons: dict[int, tuple[str, str]] | None = None,
    predicted: dict[int, list[int]] | None = None,
    *,
    maps: bool = False,
) -> None:
    key = keys.result(job_id, "model.bin")
    store.put(key, content)
    file = ResultFile(
        name="model.bin",
        media_type="application/octet-stream",
        key=key,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    metrics, test = {"dice": 0.9}, []
    for rank in range(2 if held_out else 0):
        own = dict(list((held_out or {}).items())[rank::2])
        data = tables.to_parquet(
            pa.Table.from_pylist(
                [{"ordinal": one, "dice": dice, "classes": (classes or {}).get(one)} for one, dice in own.items()],
                schema=tables.TEST_SCORES,
            )
        )
        key = keys.held_out_scores(job_id, rank, 2)
        store.put(key, data)
        test.append(Shard(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=len(own)))
        metrics["test_dice"] = 0.5
    doubted = []
    for rank in range(2 if reasons else 0):
        rows = [
            {"ordinal": ordinal, "kind": kind, "amount": 1.0, "unit": "px", "text": text}
            | {"predicted": (predicted or {}).get(ordinal)}
            for ordinal, (kind, text) in list((reasons or {}).items())[rank::2]
        ]
        data = tables.to_parquet(pa.Table.from_pylist(rows, schema=tables.REASONS))
        key = keys.reasons(job_id, rank, 2)
        store.put(key, data)
        doubted.append(Shard(key=key, size=len(data), sha256=hashlib.sha256(data).hexdigest(), rows=len(rows)))
    manifest = ResultManifest(
        job_id=job_id,
        attempt=attempt,
        epochs=epochs,
        metrics=metrics,
        files=[file],
        test=test,
        evaluation=evaluation,
        reasons=doubted,
        predictions=False,
        maps=maps,
    )
    store.put(keys.result_manifest(job_id), manifest.model_dump_json().encode())


def write_prediction(
    store: ObjectStore,
    job_id: str,
    attempt: int,
    samples: int,
    members: dict[str, bytes] | None = None,
    metrics: dict[str, float] | None = None,
) -> None:
    """What a prediction job leaves: a zip for each member, and the table."""
    files = []
    contents = {"samples.csv": b"ordinal,name\n", "samples.parquet": b"PAR1"}
    for number, (name, content) in enumerate((members or {"masks/a.png": b"a", "masks/b.png": b"b"}).items()):
        sink = io.BytesIO()
        with zipfile.ZipFile(sink, "w") as archive:
            archive.writestr(zipfile.ZipInfo(name), content)
        contents[f"masks-{number:06}.zip"] = sink.getvalue()
    for name, content in contents.items():
        key = keys.result(job_id, name)
        store.put(key, content)
        facts = {"name": name, "key": key, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files.append(ResultFile.model_validate(facts | {"media_type": "application/octet-stream"}))
    manifest = PredictionManifest(
        job_id=job_id, attempt=attempt, samples=samples, metrics=metrics or {"dice": 0.5}, files=files
    )
    store.put(keys.result_manifest(job_id), manifest.model_dump_json().encode())


def write_environment(store: ObjectStore, job_id: str, attempt: int, spec: JobSpec, **changes: object) -> None:
    environment = Environment(
        job_id=job_id,
        attempt=attempt,
        version="0.1.0",
        commit="c0ffee",
        python="3.11.9",
        packages={"numpy": "2.0.0", "torch": "2.9.0"},
        torch_build="for tests",
        cuda=None,
        machines=[
            Machine(
                number=0, platform="Linux-6", cpu="a processor", cpus=2, memory_bytes=2**33, packages_sha256="0" * 64
            )
        ],
        workers=[Worker(rank=0, machine=0, threads=1, gpu=None)],
        seed=spec.seed,
        dataset_id=spec.dataset_id,
        dataset_version=spec.dataset_version,
        dataset_sha256="1" * 64,
        spec=spec,
    ).model_copy(update=changes)
    store.put(keys.environment(job_id, attempt), environment.model_dump_json().encode())


def write_progress(store: ObjectStore, job_id: str, attempt: int, epoch: int, epochs: int) -> None:
    progress = Progress(
        attempt=attempt,
        epoch=epoch,
        epochs=epochs,
        step=epoch,
        steps=epochs,
        loss=0.5,
        samples_per_second=10,
        eta_seconds=1,
        heartbeat=time.time(),
    )
    store.put(keys.progress(job_id), progress.model_dump_json().encode())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--job", required=True)
    parser.add_argument("--attempt", type=int, required=True)
    options = parser.parse_args()
    store = open_store(os.environ["DALE_STORE_URL"])
    store.put(f"{keys.job(options.job)}started/{options.attempt}-{os.getpid()}", b"")
    request = TrainRequest.model_validate_json(store.get(keys.request(options.job)))
    script = dict(part.partition("=")[::2] for part in request.spec.name.split())
    print(f"attempt {options.attempt} in process {os.getpid()}", flush=True)
    if "ignore-term" in script:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    write_environment(store, options.job, options.attempt, request.spec)
    done = 0
    while store.exists(keys.epoch_manifest(options.job, done)):  # as from a checkpoint
        done += 1
    if "always" in script and done > int(script["die"]):
        os.kill(os.getpid(), signal.SIGKILL)
    for epoch in range(done, request.spec.epochs):
        write_progress(store, options.job, options.attempt, epoch, request.spec.epochs)
        write_epoch(store, options.job, options.attempt, epoch, options.count)
        if script.get("hold") == str(epoch):
            while not store.exists(f"{keys.job(options.job)}go"):
                time.sleep(0.05)
        if script.get("die") == str(epoch):
            os.kill(os.getpid(), signal.SIGKILL)
        if script.get("fail") == str(epoch):
            failure = Failure(kind="data", cause="image 7 cannot be read", hint="remove it")
            store.put(keys.failure(options.job, options.attempt), failure.model_dump_json().encode())
            sys.exit(1)
    write_result(store, options.job, options.attempt, request.spec.epochs)


if __name__ == "__main__":
    main()
