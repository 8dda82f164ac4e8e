"""The result of a prediction job, once every shard is written: the table of all samples, then the manifest."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import structlog
from pyarrow import csv

from workers.contract import keys, tables
from workers.contract.prediction import PredictedShard, PredictionManifest, PredictRequest
from workers.contract.request import ResultFile
from workers.contract.store import ObjectMissing, ObjectStore
from workers.predicting.plan import plan_shards
from workers.predicting.shard import PARQUET, write_file

log = structlog.get_logger()


class ShardsMissing(RuntimeError):
    """The workers are done, and not all that they should have written is there."""


def write_result(request: PredictRequest, attempt: int, store: ObjectStore) -> None:
    """Put the rows of all shards into one table, and name everything in the manifest, which is written last.

    A shard at a time is in memory. For the driver: the workers need not know of each other.

    Raises:
        ShardsMissing: one is not there, or its rows are not what its mark says.
    """
    spec, job_id = request.spec, request.job_id
    data = store.get(keys.version(spec.dataset_id, spec.dataset_version))
    volumes = tables.holds_volumes(tables.schema_of(data))
    shards = plan_shards(tables.from_parquet(data, tables.VOLUMES if volumes else tables.SAMPLES), spec.workers)
    files: list[ResultFile] = []
    sums = Sums()
    with tempfile.TemporaryDirectory(prefix="dale-table-") as folder, ExitStack() as stack:
        packed, plain = Path(folder) / "samples.parquet", Path(folder) / "samples.csv"
        writers: list[pq.ParquetWriter | csv.CSVWriter] = []
        for rows in _rows(store, job_id, shards, files):
            if not writers:
                writers.append(stack.enter_context(pq.ParquetWriter(packed, rows.schema, compression="zstd")))
                writers.append(stack.enter_context(csv.CSVWriter(plain, rows.schema)))
            writers[0].write_table(rows)
            writers[1].write_table(harmless(rows))
            sums.add(rows)
        stack.close()
        tables_of_all = [
            write_file(store, job_id, packed, PARQUET),
            write_file(store, job_id, plain, "text/csv"),
        ]
    manifest = PredictionManifest(
        job_id=job_id,
        attempt=attempt,
        samples=sums.samples,
        metrics=sums.metrics(),
        files=[*tables_of_all, *files],
    )
    store.put(keys.result_manifest(job_id), manifest.model_dump_json().encode(), "application/json")
    log.info("result", samples=sums.samples, shards=len(shards), **manifest.metrics)


def harmless(rows: pa.Table) -> pa.Table:
    """The same with names that no spreadsheet takes for a formula: one that might be gets a ' before it."""
    names = pc.replace_substring_regex(rows["name"], r"^([=+\-@\t\r'])", r"'\1")
    return rows.set_column(rows.column_names.index("name"), rows.schema.field("name"), names)


def _rows(store: ObjectStore, job_id: str, shards: list[range], files: list[ResultFile]) -> Iterator[pa.Table]:
    """The rows of each shard, in order; its files are added to `files`."""
    for number, ordinals in enumerate(shards):
        try:
            mark = PredictedShard.model_validate_json(store.get(keys.shard(job_id, number)))
            data = store.get(mark.rows.key)
        except ObjectMissing as error:
            raise ShardsMissing(f"shard {number} of {len(shards)} was not written: {error}") from error
        if hashlib.sha256(data).hexdigest() != mark.rows.sha256:
            raise ShardsMissing(f"{mark.rows.key} has another sha256 than its mark says")
        table = pq.read_table(pa.BufferReader(data))
        if table["ordinal"].to_pylist() != list(ordinals):
            raise ShardsMissing(f"shard {number} has {table.num_rows} rows for {len(ordinals)} samples")
        files.extend(mark.files)
        yield table


class Sums:
    """What the numbers of the whole come from, shard by shard."""

    def __init__(self) -> None:
        self.samples = self.labelled = self.empty = 0
        self.dice = self.uncertainty = 0.0

    def add(self, rows: pa.Table) -> None:
        """Count the samples of a shard."""
        areas = [rows[name].to_pylist() for name in rows.column_names if name.startswith("area_")]
        dice = rows["dice"].drop_null().to_pylist()
        self.samples += rows.num_rows
        self.empty += sum(not any(values) for values in zip(*areas, strict=True))
        self.labelled += len(dice)
        self.dice += math.fsum(dice)
        self.uncertainty += math.fsum(rows["uncertainty_mean"].to_pylist())

    def metrics(self) -> dict[str, float]:
        """Of the job: counts of samples, and means over them."""
        found = {
            "predicted_samples": float(self.samples),
            "samples_without_lesion": float(self.empty),
            "uncertainty": self.uncertainty / self.samples,
        }
        if self.labelled:
            found |= {"labelled_samples": float(self.labelled), "dice": self.dice / self.labelled}
        return found
