"""Reads what a run wrote to the store and holds it to its manifests."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from workers.contract import keys, tables
from workers.contract.environment import Environment
from workers.contract.evaluation import METRICS
from workers.contract.prediction import PredictionManifest
from workers.contract.request import EpochManifest, Failure, Progress, ResultManifest, Shard
from workers.contract.store import ObjectMissing, ObjectStore

M = TypeVar("M", bound=BaseModel)
COLUMNS = ("confidence", "score", "dice", "expected_dice")


class DamagedError(Exception):
    """An object is not what its manifest says, or not of the contract's shape.

    Attributes:
        mark: key of the commit mark to remove, so that the run does the work behind it again.
    """

    def __init__(self, what: str, mark: str) -> None:
        super().__init__(what)
        self.mark = mark


def read_progress(store: ObjectStore, job_id: str, attempt: int) -> Progress | None:
    """How far the run is; None before its first report, which an earlier attempt's does not count as."""
    progress = _read(store, keys.progress(job_id), Progress)
    return progress if progress is not None and progress.attempt == attempt else None


def read_failure(store: ObjectStore, job_id: str, attempt: int) -> Failure | None:
    """Why the run says that it failed; None if it could not say."""
    return _read(store, keys.failure(job_id, attempt), Failure)


def read_environment(store: ObjectStore, job_id: str, attempt: int) -> Environment | None:
    """What an attempt runs in; None before it has written it down."""
    return _read(store, keys.environment(job_id, attempt), Environment)


def read_result(store: ObjectStore, job_id: str) -> ResultManifest | None:
    """What the finished run left; None while it is not finished."""
    return _read(store, keys.result_manifest(job_id), ResultManifest)


def read_prediction(store: ObjectStore, job_id: str, samples: int) -> PredictionManifest | None:
    """What a finished prediction left; None while it is not finished.

    Raises:
        DamagedError: it is not of so many samples, or has a number that is not finite.
    """
    manifest = _read(store, keys.result_manifest(job_id), PredictionManifest)
    if manifest is None:
        return None
    mark = keys.result_manifest(job_id)
    if manifest.samples != samples:
        raise DamagedError(f"the result is of {manifest.samples} samples, {samples} are expected", mark)
    if not np.isfinite([*manifest.metrics.values()]).all():
        raise DamagedError("the result has a number that is not finite", mark)
    return manifest


def read_epoch(store: ObjectStore, job_id: str, epoch: int) -> EpochManifest | None:
    """An epoch's commit mark; None while the epoch is not committed."""
    manifest = _read(store, keys.epoch_manifest(job_id, epoch), EpochManifest)
    if manifest is not None and (manifest.job_id, manifest.epoch) != (job_id, epoch):
        what = f"the manifest of epoch {epoch} is one of {manifest.job_id}, epoch {manifest.epoch}"
        raise DamagedError(what, mark=keys.epoch_manifest(job_id, epoch))
    return manifest


def read_rows(store: ObjectStore, manifest: EpochManifest, samples: int) -> pa.Table:
    """The confidences of an epoch from all shards, ranked by score: rank 1 is looked at first.

    Args:
        store: where the shards are.
        manifest: the epoch's commit mark.
        samples: number of samples; their ordinals are 0, 1, 2, …

    Returns:
        Columns ordinal, rank, confidence, score, dice, expected_dice, in the order of the ordinals.

    Raises:
        DamagedError: a shard is not what the manifest says, or the shards are not one row for each sample.
    """
    mark = keys.epoch_manifest(manifest.job_id, manifest.epoch)
    table = pa.concat_tables([_read_shard(store, shard, mark) for shard in manifest.shards]).sort_by("ordinal")
    ordinals: Any = table["ordinal"].to_numpy()
    if not np.array_equal(ordinals, np.arange(samples)):
        raise DamagedError(
            f"epoch {manifest.epoch} has {len(ordinals)} rows for {np.isin(np.arange(samples), ordinals).sum()} "
            f"of the {samples} samples; one row for each is expected",
            mark,
        )
    values: dict[str, Any] = {name: table[name].to_numpy().astype(np.float64) for name in COLUMNS}
    for name, column in values.items():
        if not np.isfinite(column).all():
            raise DamagedError(f"epoch {manifest.epoch} has values of {name} that are no finite number", mark)
    ranks = np.empty(samples, np.int64)
    ranks[np.argsort(values["score"], kind="stable")] = np.arange(1, samples + 1)
    return pa.table({"ordinal": ordinals, "rank": ranks, **values})


def read_scores(store: ObjectStore, manifest: ResultManifest, first: int, end: int) -> pa.Table:
    """The scores of each held-out sample, in the order of the ordinals (`tables.TEST_SCORES`).

    Args:
        store: where the shards are.
        manifest: the result's commit mark.
        first: ordinal of the first sample that is held out.
        end: number of samples; those held out have the ordinals first, first + 1, … end - 1.

    Raises:
        DamagedError: a shard is not what the manifest says, or the shards are not one row for each sample.
    """
    mark = keys.result_manifest(manifest.job_id)
    shards = [_read_shard(store, shard, mark, tables.TEST_SCORES) for shard in manifest.test]
    table = pa.concat_tables([tables.TEST_SCORES.empty_table(), *shards]).sort_by("ordinal")
    if table["ordinal"].to_pylist() != list(range(first, end)):
        what = f"the result scores {table.num_rows} held-out samples; those from {first} to {end - 1} are expected"
        raise DamagedError(what, mark)
    if not np.isfinite(table["dice"].to_numpy()).all():
        raise DamagedError("the result has a Dice that is no finite number", mark)
    for metric in METRICS:
        by_class = pc.list_flatten(pc.struct_field(table["classes"], metric))
        if not pc.all(pc.is_finite(by_class), min_count=0).as_py():
            raise DamagedError(f"the result has a {metric} that is no finite number", mark)
    return table


def read_reasons(store: ObjectStore, manifest: ResultManifest, samples: int) -> pa.Table | None:
    """Why each sample's label is doubted (`tables.REASONS`); None where the run does not say.

    Raises:
        DamagedError: a shard is not what the manifest says, or the shards are not one row for each of the samples.
    """
    if not manifest.reasons:
        return None
    mark = keys.result_manifest(manifest.job_id)
    shards = [_read_shard(store, shard, mark, tables.REASONS) for shard in manifest.reasons]
    table = pa.concat_tables(shards).sort_by("ordinal")
    if table["ordinal"].to_pylist() != list(range(samples)):
        raise DamagedError(f"the result has {table.num_rows} reasons for {samples} samples", mark)
    return table


def _read_shard(store: ObjectStore, shard: Shard, mark: str, schema: pa.Schema = tables.CONFIDENCE) -> pa.Table:
    try:
        data = store.get(shard.key)
    except ObjectMissing as error:
        raise DamagedError(f"{shard.key} is missing", mark) from error
    if hashlib.sha256(data).hexdigest() != shard.sha256:
        raise DamagedError(f"{shard.key} has another sha256 than its manifest says", mark)
    try:
        table = tables.from_parquet(data, schema)
    except (ValueError, pa.ArrowException) as error:
        raise DamagedError(f"{shard.key}: {error}", mark) from error
    if table.num_rows != shard.rows:
        raise DamagedError(f"{shard.key} has {table.num_rows} rows, its manifest says {shard.rows}", mark)
    return table


def _read(store: ObjectStore, key: str, model: type[M]) -> M | None:
    try:
        return model.model_validate_json(store.get(key))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise DamagedError(f"{key}: {error}", mark=key) from error
