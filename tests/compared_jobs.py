"""A job that has compared its epochs on validation samples and has succeeded, without a cluster."""

from __future__ import annotations

import hashlib
from types import ModuleType

from service.api.dependencies import Context
from service.db import jobs
from service.jobs import transitions
from service.jobs.intake import take_in, view_of
from service.jobs.lag import IngestLag
from service.jobs.lifecycle import RunStatus, State
from service.jobs.outcome import outcome_of
from service.jobs.submission import Run
from service.metrics import Metrics
from workers.contract import keys
from workers.contract.request import (
    CheckpointKind,
    EpochManifest,
    JobSpec,
    KeptCheckpoint,
    ResultFile,
    ResultManifest,
)

TRAINED, VALIDATED, HELD_OUT = 4, 3, 2
DICE = [0.5, 0.8, 0.75, 0.7]  # on the validation samples, by epoch
LAST, BEST = b"weights at the end", b"weights of the best epoch"


def finish_compared(context: Context, scripted: ModuleType, dataset_id: str, deliver: CheckpointKind = "last") -> str:
    """Id of such a job over `add_dataset(9, held_out=2, validation=3)`; what a run writes is taken in as ever."""
    job_id = f"job-{deliver}"
    with context.sessions.begin() as session:
        spec = JobSpec(dataset_id=dataset_id, epochs=len(DICE), deliver=deliver)
        job = jobs.add_job(session, job_id, spec)
        jobs.begin_attempt(session, job, f"{job_id}-1")
        jobs.set_state(session, job, State.RUNNING)
        view = view_of(job)
    store = context.store
    scripted.write_environment(store, job_id, 1, spec)
    for epoch, dice in enumerate(DICE):
        scripted.write_epoch(store, job_id, 1, epoch, TRAINED)
        key = keys.epoch_manifest(job_id, epoch)
        manifest = EpochManifest.model_validate_json(store.get(key))
        judged = manifest.model_copy(update={"metrics": manifest.metrics | {"dice": 0.6, "validation_dice": dice}})
        store.put(key, judged.model_dump_json().encode())
    held_out = {TRAINED + VALIDATED + number: 0.5 + number / 4 for number in range(HELD_OUT)}
    scripted.write_result(store, job_id, 1, len(DICE), held_out=held_out)
    names = {"last": "last.safetensors", "best": "best.safetensors"} | {deliver: "model.safetensors"}
    files = []
    for name, content in ((names["last"], LAST), (names["best"], BEST), ("model.json", b"{}")):
        key, digest = keys.result(job_id, name), hashlib.sha256(content).hexdigest()
        store.put(key, content)
        files.append(ResultFile(key=key, size=len(content), sha256=digest, name=name, media_type="application/json"))
    kept = [
        KeptCheckpoint(kind="last", epoch=3, validation_dice=DICE[3], file=names["last"]),
        KeptCheckpoint(kind="best", epoch=1, validation_dice=DICE[1], file=names["best"]),
    ]
    result = ResultManifest.model_validate_json(store.get(keys.result_manifest(job_id)))
    result = result.model_copy(update={"files": files, "checkpoints": kept})
    store.put(keys.result_manifest(job_id), result.model_dump_json().encode())
    assert take_in(context, view, IngestLag(Metrics())) is None
    outcome = outcome_of(context, view, Run(RunStatus.SUCCEEDED), None)
    assert outcome.result is not None, outcome.damage
    assert transitions.succeed(context, view, outcome, "")
    return job_id
