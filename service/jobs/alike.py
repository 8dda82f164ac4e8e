"""Which samples of a job look alike: read from what the run wrote, the few rows that are asked for."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from service.jobs.ingest import read_result
from workers.contract import keys, tables
from workers.contract.request import Shard
from workers.contract.store import ObjectMissing, ObjectStore


class NeighboursDamagedError(Exception):
    """What the run wrote is not of the contract's shape; says what."""


@dataclass(frozen=True)
class Alike:
    """The samples that look most like one.

    Attributes:
        ordinals: of them, the nearest first.
        similarities: cosines of the network's features, in [-1, 1], 1 = alike.
        among: how many samples were compared.
    """

    ordinals: list[int]
    similarities: list[float]
    among: int


def read_alike(store: ObjectStore, job_id: str, ordinal: int) -> Alike | None:
    """The neighbours of one sample; None where the run is not over, or has written none.

    Of a shard only its end and one row group are read.

    Args:
        store: where the run has written.
        job_id: the job.
        ordinal: of a sample that it was trained on.

    Raises:
        NeighboursDamagedError: a shard is gone, or is not what the manifest says.
        DamagedError: the manifest is not of the contract's shape.
    """
    manifest = read_result(store, job_id)
    if manifest is None or not manifest.neighbours:
        return None
    rank, place = ordinal % len(manifest.neighbours), ordinal // len(manifest.neighbours)
    shard = manifest.neighbours[rank]
    if shard.key != keys.neighbours(job_id, rank, len(manifest.neighbours)):
        raise NeighboursDamagedError(f"{shard.key} is no place of neighbours of {job_id}")
    try:
        file = pq.ParquetFile(StoredFile(store, shard))
        if not file.schema_arrow.equals(tables.NEIGHBOURS, check_metadata=False):
            raise NeighboursDamagedError(f"{shard.key} has the columns {file.schema_arrow.names}")
        row = file.read_row_group(place // tables.NEIGHBOURS_AT_ONCE).slice(place % tables.NEIGHBOURS_AT_ONCE, 1)
        among = int((file.schema_arrow.metadata or {})[tables.AMONG])
    except (pa.ArrowException, IndexError, KeyError, ValueError, ObjectMissing) as error:
        raise NeighboursDamagedError(f"{shard.key}: {error}") from error
    if row["ordinal"].to_pylist() != [ordinal]:
        raise NeighboursDamagedError(f"{shard.key} has no row {place} about sample number {ordinal}")
    ordinals, similarities = row["neighbours"][0].as_py(), row["similarity"][0].as_py()
    return Alike(ordinals, [min(max(value, -1.0), 1.0) for value in similarities], among)


class StoredFile(io.RawIOBase):
    """An object of the store as a file that is read here and there."""

    def __init__(self, store: ObjectStore, shard: Shard) -> None:
        self._store, self._key, self._size, self._at = store, shard.key, shard.size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many bytes, or all of the rest."""
        length = self._size - self._at if size < 0 else min(size, self._size - self._at)
        data = b"".join(self._store.read(self._key, self._at, length)) if length > 0 else b""
        self._at += len(data)
        return data
