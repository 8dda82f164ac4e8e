"""From a version and what is to be changed to the next version: all of it, or nothing that anybody can see."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.datasets.annotators import summary
from service.datasets.archive import Archive
from service.datasets.checked import CheckedSample, Findings
from service.datasets.kinds import Media
from service.datasets.limits import ImportLimits
from service.datasets.masks import CheckedMask, MaskCheck
from service.datasets.options import ImportOptions
from service.datasets.rows import Row, channel_names, sample_row, sample_table
from service.datasets.sent import Expected, read_sent
from service.datasets.splitting import numbered
from service.datasets.storing import Unpacking
from service.datasets.warned import HAS_ALREADY, carried, repetitions
from service.db import datasets
from service.db.listed import listed
from service.db.tables import DatasetVersion
from service.errors import Conflict, FieldError, Invalid
from workers.contract import keys, tables
from workers.contract.store import ObjectStore


@dataclass(frozen=True)
class Base:
    """The version that is corrected, and the number that the corrected one gets."""

    dataset_id: str
    number: int
    next_number: int
    layout: str
    media: Media
    mask_values: list[int]
    channels: list[str]
    warnings: list[FieldError]
    rows: list[Row]  # in the order of their ordinals

    @property
    def files(self) -> int:
        """How many files hold the image of a sample."""
        return 1 + len((self.rows[0]["channels"] if self.rows else None) or ())


def read_base(session: Session, dataset_id: str, number: int | None) -> Base:
    """A version (None: the newest) with its samples; of a fold the version that it was derived from.

    Raises:
        NotFound: there is no such version.
    """
    newest = datasets.newest_versions(session, [dataset_id])[dataset_id]
    version = newest if number is None else datasets.version(session, dataset_id, number)
    if version.derived is not None:
        version = datasets.version(session, dataset_id, version.derived["version"])
    return Base(
        dataset_id=dataset_id,
        number=version.number,
        next_number=newest.number + 1,
        layout=version.layout,
        media=Media.VOLUME if version.spatial_dims == Media.VOLUME.spatial_dims else Media.IMAGE,
        mask_values=version.mask_values,
        channels=channel_names(version),
        warnings=[FieldError.model_validate(warning) for warning in version.warnings],
        rows=datasets.rows(session, dataset_id, version.number),
    )


class Correction:
    """One correction on its way into store and database: `check`, `store`, `record`, and then the caller's commit.

    What fails on the way leaves at most objects that no row names. They are not removed: blobs lie under their hashes,
    so that another correction of the same moment may count on the very same one. They go with the dataset.
    """

    def __init__(
        self,
        store: ObjectStore,
        limits: ImportLimits,
        base: Base,
        exclude: Sequence[str],
        file: IO[bytes] | None,
        verified: Collection[str] = (),
    ) -> None:
        """`verified` names samples whose labels, as they will be, somebody has looked at and found right."""
        self._store, self._limits, self._base = store, limits, base
        self._exclude, self._file, self._verified = frozenset(exclude), file, frozenset(verified)
        self._found = Findings([], [])
        self._masks: dict[str, CheckedMask] = {}
        self._added: list[CheckedSample] = []
        self._archive: Archive | None = None
        self._rows: list[Row] = []

    @property
    def counts(self) -> dict[str, int]:
        """How many samples there are, are left out, have another mask, and are new; once it is checked."""
        return {
            "samples": len(self._rows),
            "excluded": len(self._exclude),
            "relabelled": len(self._masks),
            "added": len(self._added),
        }

    def check(self) -> None:
        """Check every file and name; raises `Invalid` with all faults."""
        samples = {row["name"]: row for row in self._base.rows}
        faults = self._found.faults
        faults += [
            FieldError(field="exclude", reason=f"version {self._base.number} has no sample {name!r}")
            for name in sorted(self._exclude - samples.keys())
        ]
        if self._file is not None:
            self._archive = Archive(self._file, self._limits)
            with tempfile.TemporaryDirectory(prefix="dale-check-") as scratch:
                base, found = self._base, self._found
                sent = read_sent(self._archive, Expected(base.media, base.channels, base.files, samples), found)
                work = MaskCheck(self._archive, self._limits, base.media, Path(scratch), self._fetch)
                self._masks = work.check(sent.masks, samples, base.mask_values, found)
                self._added = work.check_new(sent.pairs, base.mask_values, found)
        for name in sorted(self._masks.keys() & self._exclude):
            self._found.refuse(self._masks[name].member.path, "is of a sample to exclude", "do one or the other")
        self._drop_unchanged(samples)
        self._rows = self._corrected()
        if not faults:
            faults += self._faults_together()
        if faults:
            raise Invalid(f"{len(faults)} of the changes cannot be made; nothing was stored.", faults)

    def store(self) -> None:
        """Write the blob of each new mask, and those of new samples."""
        if self._archive is None:
            return
        source = Unpacking(self._archive, self._limits, self._base.media, ImportOptions())
        with tempfile.TemporaryDirectory(prefix="dale-store-") as scratch:
            for mask in self._masks.values():
                path = source.unpacked(mask.member, mask.sha256, Path(scratch), encoded=mask.encoded)
                self._store.put_file(keys.blob(self._base.dataset_id, mask.sha256), path, mask.media_type)
            for digest, path, media_type in source.blobs(self._added, Path(scratch)):
                self._store.put_file(keys.blob(self._base.dataset_id, digest), path, media_type)

    def record(self, session: Session) -> DatasetVersion:
        """Write the rows, then the list that workers read; the commit is the caller's.

        In this order, since the row is what claims the number: a list written before it could be that of another.

        Raises:
            Conflict: somebody made this version meanwhile, or deleted the dataset.
        """
        base = self._base
        content = tables.to_parquet(sample_table(self._rows, base.mask_values, base.media, base.channels))
        version = DatasetVersion(
            dataset_id=base.dataset_id,
            number=base.next_number,
            mask_values=base.mask_values,
            warnings=[warning.model_dump(exclude_none=True) for warning in self._warnings()],
            layout=base.layout,
            spatial_dims=base.media.spatial_dims,
            channels=base.channels,
            agreement=agreement.model_dump() if (agreement := summary(self._rows)) else None,
        )
        try:
            datasets.add_version(session, version, self._rows)
        except IntegrityError as error:
            reason = f"Version {base.next_number} was made meanwhile, or the dataset deleted"
            raise Conflict(f"{reason}: look at the newest version, and correct that.") from error
        self._store.put(keys.version(base.dataset_id, base.next_number), content, "application/vnd.apache.parquet")
        return version

    def _warnings(self) -> list[FieldError]:
        """Those of the base about samples that stay as they are, then those that this correction gives rise to."""
        samples = {row["name"] for row in self._base.rows}
        kept = carried(self._base.warnings, samples, self._exclude | self._masks.keys())
        return [*kept, *self._found.warnings, *repetitions(self._rows)]

    def _drop_unchanged(self, samples: dict[str, Row]) -> None:
        """Leave aside the masks that are what is there already."""
        for name, mask in list(self._masks.items()):
            if mask.sha256 == samples[name]["mask_sha256"]:
                self._found.warn(mask.member.path, f"{HAS_ALREADY}{self._base.number}")
                del self._masks[name]

    def _corrected(self) -> list[Row]:
        """The rows of the new version, numbered anew; groups, splits and annotators stay."""
        rows: list[Row] = []
        for row in self._base.rows:
            if row["name"] not in self._exclude:
                mask = self._masks.get(row["name"])
                changed: Row = {}
                if mask:  # what was said of the label before is not said of this one
                    changed = {
                        "mask_sha256": mask.sha256,
                        "foreground": mask.foreground,
                        "label_values": listed(mask.label_values),
                        "verified": None,
                    }
                if row["name"] in self._verified:
                    changed["verified"] = True
                rows.append({**row, **changed})
        rows += [sample_row(0, sample) for sample in self._added]
        rows.sort(key=lambda row: str(row["name"]))
        return numbered(_agreed(rows, self._base.rows))

    def _faults_together(self) -> list[FieldError]:
        """What is wrong with the version as a whole."""
        verified = any(row["name"] in self._verified and not row["verified"] for row in self._base.rows)
        if not self._exclude and not self._masks and not self._added and not verified:
            hint = "exclude samples, send other masks, or add samples"
            return [FieldError(field="changes", reason="change nothing", hint=hint)]
        if not self._rows:
            return [FieldError(field="exclude", reason="leaves no sample", hint="to be rid of all: delete the dataset")]
        trained = [row for row in self._rows if row["split"] in {None, tables.TRAIN}]
        if not trained:
            return [FieldError(field="exclude", reason="leaves no sample to train on: the others are held out")]
        if not any(row["foreground"] for row in trained):
            return [FieldError(field="changes", reason="leave only empty masks", hint="there is nothing to learn from")]
        return []

    def _fetch(self, digest: str, target: Path) -> None:
        with target.open("wb") as sink:
            sink.writelines(self._store.read(keys.blob(self._base.dataset_id, digest)))


def _agreed(rows: list[Row], before: list[Row]) -> list[Row]:
    """The rows without the agreements that hold no more: those of images of which a mask is another now, or gone."""
    masks = {(row["image_sha256"], row["mask_sha256"]) for row in rows}
    changed = {row["image_sha256"] for row in before if (row["image_sha256"], row["mask_sha256"]) not in masks}
    return [{**row, "agreement": None} if row["image_sha256"] in changed else row for row in rows]
