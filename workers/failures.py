"""Why a run failed, in words that a person can act on."""

from __future__ import annotations

import traceback
from typing import Literal

from workers.contract.prediction import AnySpec, PredictSpec
from workers.contract.request import Failure
from workers.contract.store import StoreUnavailable

DETAIL_CHARACTERS = 4000
_OUT_OF_MEMORY = ("out of memory", "running low on memory", "can't allocate memory", "OutOfMemoryError")
_LOST = ("WorkerHealthCheckFailedError", "ActorDiedError", "ActorUnavailableError", "NodeDiedError", "SIGKILL")
# Errors of ours, which say themselves what happened: by their names, since a worker's may come as text.
_OWN: dict[str, tuple[Literal["network", "data", "store"], str]] = {
    "NetworkRefused": ("network", "change network or image_size (of volumes: patch_size)"),
    "ModelUnusable": ("data", "post it again with another model"),
    "ShardsMissing": ("store", "see that the object store keeps what is written; a retry does what is missing"),
    "WarmStartRefused": ("data", "post it again with another job in warm_start, or with none"),
}


def describe(error: BaseException, spec: AnySpec) -> Failure:
    """Turn what stopped a run into a cause and a remedy.

    Args:
        error: what the trainer raised; a worker's own error may lie beneath it.
        spec: the job, to say which values to change.
    """
    rank, beneath = _beneath(error)
    name = type(beneath).__name__
    text = f"{name}: {beneath}"
    detail = "".join(traceback.format_exception(beneath))[-DETAIL_CHARACTERS:]
    where = "" if rank is None else f"worker {rank}: "
    if any(sign.lower() in text.lower() for sign in _OUT_OF_MEMORY):
        return _out_of_memory(spec, where, detail)
    if "SampleUnreadable" in text:
        version = f"version {spec.dataset_version} of dataset {spec.dataset_id}"
        hint = f"make a version without it, or upload it anew: dale correct {spec.dataset_id} --exclude NAME"
        return Failure(kind="data", cause=f"{beneath}, in {version}", hint=hint, detail=detail)
    for own, (kind, hint) in _OWN.items():
        if own in text:
            return Failure(kind=kind, cause=str(beneath), hint=hint, detail=detail)
    if isinstance(beneath, StoreUnavailable) or "StoreUnavailable" in text:
        return Failure(kind="store", cause=f"{where}{beneath}", hint="see that the object store runs", detail=detail)
    if any(sign in text for sign in _LOST):
        return Failure(
            kind="worker_lost",
            cause=f"{where}the process was killed or its machine was lost, more often than is borne",
            hint="see the log for signs of memory shortage; a retry resumes from the last checkpoint",
            detail=detail,
        )
    return Failure(cause=f"{where}{text[:500]}", hint="see the log", detail=detail)


def _out_of_memory(spec: AnySpec, where: str, detail: str) -> Failure:
    cause = f"{where}out of memory at batch_size {spec.batch_size}"
    if isinstance(spec, PredictSpec):
        hint = f"try batch_size {max(spec.batch_size // 2, 1)}, or fewer workers on a machine"
        return Failure(kind="out_of_memory", cause=cause, hint=hint, detail=detail)
    smaller = max(spec.batch_size // 2, spec.workers)
    hint = f"try batch_size {smaller}, or a smaller image_size (of volumes: patch_size) or network"
    return Failure(kind="out_of_memory", cause=f"{cause} and image_size {spec.image_size}", hint=hint, detail=detail)


def _beneath(error: BaseException) -> tuple[int | None, BaseException]:
    """A worker's own error beneath Ray Train's, with its rank: one that says what happened before any other.

    The others fail with it, in a collective that it has left, and that is all they can tell.
    """
    failures = getattr(error, "worker_failures", None)
    if failures:
        rank = min(failures, key=lambda rank: (not _says_itself(failures[rank]), rank))
        return rank, failures[rank]
    # Our own errors say best what happened; what they were raised from is a library's word for it.
    return None, error if _says_itself(error) else error.__cause__ or error


def _says_itself(error: BaseException) -> bool:
    text = f"{type(error).__name__}: {error}"
    return any(own in text for own in (*_OWN, "SampleUnreadable"))
