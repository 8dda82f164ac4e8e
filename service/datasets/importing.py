"""From an uploaded zip to version 1 of a dataset: all of it, or nothing."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from service import logging
from service.datasets.archive import Archive
from service.datasets.checked import CheckedDataset, CheckedSample
from service.datasets.checking import Progress, check, sha256
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.datasets.pixels import inspect_mask
from service.datasets.rows import sample_rows, sample_table
from service.db import datasets
from service.db.tables import Dataset
from workers.contract import keys, tables
from workers.contract.store import ObjectStore, StoreUnavailable

log = logging.get(__name__)


class Import:
    """One upload on its way into store and database.

    `check` writes nothing. `store` writes the objects, `record` the rows. Whoever drives it calls `undo` when any
    step fails after `store` began, the commit included; the dataset's id is new, so nothing else can be under it.
    """

    def __init__(
        self,
        store: ObjectStore,
        limits: ImportLimits,
        file: IO[bytes],
        options: ImportOptions,
        dataset_id: str | None = None,
    ) -> None:
        self.dataset_id = dataset_id or f"ds-{secrets.token_hex(8)}"
        self._store, self._limits, self._options = store, limits, options
        self._file = file
        self._written: list[str] = []
        self._archive: Archive | None = None
        self._checked: CheckedDataset | None = None

    def check(self, progress: Progress = lambda done, total: None) -> CheckedDataset:
        """Check every file; raises `Invalid` with all faults."""
        self._archive = Archive(self._file, self._limits)
        with tempfile.TemporaryDirectory(prefix="dale-check-") as scratch:
            self._checked = check(self._archive, self._limits, self._options, Path(scratch), progress)
        return self._checked

    def store(self) -> None:
        """Write each blob once, then the list of samples, which is the sign that all blobs are there."""
        checked = self._passed()
        with tempfile.TemporaryDirectory(prefix="dale-store-") as scratch:
            for digest, path, media_type in self._blobs(checked, Path(scratch)):
                self._put(keys.blob(self.dataset_id, digest), path, media_type)
            table = Path(scratch) / "samples.parquet"
            table.write_bytes(tables.to_parquet(sample_table(sample_rows(checked), checked.mask_values, checked.media)))
            self._put(keys.version(self.dataset_id, 1), table, "application/vnd.apache.parquet")

    def record(self, session: Session, name: str, project_id: str) -> Dataset:
        """Write the rows, in a project; the commit is the caller's."""
        checked = self._passed()
        return datasets.add(
            session,
            Dataset(id=self.dataset_id, project_id=project_id, name=name),
            mask_values=list(checked.mask_values),
            warnings=[warning.model_dump(exclude_none=True) for warning in checked.warnings],
            layout=checked.layout,
            spatial_dims=checked.media.spatial_dims,
            samples=sample_rows(checked),
        )

    def undo(self) -> None:
        """Remove what this upload wrote; keeps going where the store fails, and logs what is left."""
        left = []
        for key in reversed(self._written):
            try:
                self._store.delete(key)
            except StoreUnavailable as error:
                left.append(key)
                log.error("could not remove object of a failed upload", key=key, error=str(error))
        self._written = left

    def _put(self, key: str, path: Path, media_type: str) -> None:
        self._written.append(key)  # before the write: one that fails may still have arrived
        self._store.put_file(key, path, media_type)

    def _blobs(self, checked: CheckedDataset, scratch: Path) -> Iterator[tuple[str, Path, str]]:
        """Every distinct blob as a file, one at a time."""
        seen: set[str] = set()
        for sample in checked.samples:
            if sample.image_sha256 not in seen:
                seen.add(sample.image_sha256)
                yield sample.image_sha256, self._extracted(sample, scratch, mask=False), sample.media_type
            if sample.mask_sha256 not in seen:
                seen.add(sample.mask_sha256)
                yield sample.mask_sha256, self._extracted(sample, scratch, mask=True), sample.mask_media_type

    def _extracted(self, sample: CheckedSample, scratch: Path, *, mask: bool) -> Path:
        assert self._archive is not None  # noqa: S101 - `_passed` was called
        path = scratch / "member"
        (sample.pair.mask if mask else sample.pair.image).extract(self._archive, path)
        if mask and sample.mask_encoded:
            inspect_mask(path, self._limits.max_pixels, self._options.mask_threshold, scratch / "stored")
            path = scratch / "stored"
        if sha256(path) != (sample.mask_sha256 if mask else sample.image_sha256):
            raise RuntimeError(f"{sample.pair.name} changed between check and storing")
        return path

    def _passed(self) -> CheckedDataset:
        if self._checked is None:
            raise RuntimeError("the upload has not been checked")
        return self._checked
