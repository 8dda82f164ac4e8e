"""From an uploaded zip to version 1 of a dataset: all of it, or nothing."""

from __future__ import annotations

import secrets
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from sqlalchemy.orm import Session

from service import logging
from service.datasets.archive import Archive
from service.datasets.checked import CheckedDataset
from service.datasets.checking import Progress, check
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.datasets.rows import sample_rows, sample_table
from service.datasets.storing import Unpacking
from service.db import datasets
from service.db.base import now
from service.db.tables import Dataset
from workers.contract import keys, tables
from workers.contract.store import ObjectStore, StoreUnavailable

log = logging.get(__name__)
MARKED_ANEW = timedelta(minutes=5)


class Import:
    """One upload on its way into store and database.

    `check` writes nothing. `store` writes the objects, `record` the rows. Whoever drives it calls `finish` behind the
    commit, or `undo` when any step fails after `store` began, the commit included; the dataset's id is new, so nothing
    else can be under it. Where a process dies in between, a mark tells `collecting` what it left.
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
        self._marked: datetime | None = None
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
        assert self._archive is not None  # noqa: S101 - it has passed
        with tempfile.TemporaryDirectory(prefix="dale-store-") as scratch:
            source = Unpacking(self._archive, self._limits, checked.media, self._options)
            for digest, path, media_type in source.blobs(checked.samples, Path(scratch)):
                self._put(keys.blob(self.dataset_id, digest), path, media_type)
            table = Path(scratch) / "samples.parquet"
            table.write_bytes(_list_of(checked))
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
            channels=checked.channels,
            samples=sample_rows(checked),
            agreement=checked.agreement.model_dump() if checked.agreement else None,
        )

    def undo(self) -> None:
        """Remove what this upload wrote; keeps going where the store fails, and logs what is left.

        What is left keeps its mark, so that it is collected.
        """
        left = []
        for key in reversed(self._written):
            try:
                self._store.delete(key)
            except StoreUnavailable as error:
                left.append(key)
                log.error("could not remove object of a failed upload", key=key, error=str(error))
        self._written = left
        if not left:
            self.finish()

    def finish(self) -> None:
        """Take the mark away: nothing is under way any more. One that the store keeps is collected later."""
        if self._marked is None:
            return
        self._marked = None
        try:
            self._store.delete(keys.importing(self.dataset_id))
        except StoreUnavailable as error:
            log.warning("mark of a finished import is left", dataset_id=self.dataset_id, error=str(error))

    def _put(self, key: str, path: Path, media_type: str) -> None:
        at = now()
        if self._marked is None or at - self._marked > MARKED_ANEW:
            self._store.put(keys.importing(self.dataset_id), at.isoformat().encode(), "text/plain")
            self._marked = at
        self._written.append(key)  # before the write: one that fails may still have arrived
        self._store.put_file(key, path, media_type)

    def _passed(self) -> CheckedDataset:
        if self._checked is None:
            raise RuntimeError("the upload has not been checked")
        return self._checked


def _list_of(checked: CheckedDataset) -> bytes:
    rows = sample_rows(checked)
    return tables.to_parquet(sample_table(rows, checked.mask_values, checked.media, checked.channels))
