"""From what is posted as a cross-validation to its versions and jobs: all of it, or nothing that anybody can see."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Self

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.actions import Action
from service.api.dependencies import Context
from service.datasets.folds import FIRST_NUMBER, LAST_NUMBER, check, deal, fold_rows, version_of_fold
from service.datasets.kinds import Media
from service.datasets.rows import Row, channel_names, sample_table
from service.db import audit, datasets, jobs
from service.db.tables import CrossValidation, Dataset, DatasetVersion
from service.errors import Conflict, FieldError, Invalid
from service.jobs import checks
from service.jobs.posting import queue
from service.models.lineage import ancestors
from service.resources.cross_validations import MOST_FOLDS, Derived, PostedCrossValidation
from service.roles import Caller
from workers.contract import keys, tables
from workers.contract.request import JobSpec
from workers.contract.store import ObjectStore


@dataclass(frozen=True)
class Folding:
    """A cross-validation whose folds are dealt and whose lists are in the store; `record` makes it one.

    Attributes:
        posted: what was asked for.
        version: that is cut.
        rows: its samples.
        fold_of: of each the fold, as `folds.deal` gives it.
        counts: of each fold its samples and groups.
        first_number: of the folds' versions, drawn at random: a number is not given twice, so that what is left of a
            deleted list is nobody's.
        store: where the lists are.
    """

    posted: PostedCrossValidation
    version: DatasetVersion
    rows: list[Row]
    fold_of: list[int | None]
    counts: list[dict[str, int]]
    first_number: int
    store: ObjectStore

    @classmethod
    def prepare(cls, context: Context, caller: Caller, posted: PostedCrossValidation) -> Self:
        """Check everything and write the lists that workers read. Slow: not while a lock is held.

        Raises:
            Invalid: it cannot be trained, or not be cut; says why.
        """
        spec = posted.job
        version = checks.check(context, caller, spec).version
        if version.derived is not None:
            reason = f"is a fold of version {version.derived['version']}"
            fault = FieldError(field="job.dataset_version", reason=reason, hint="name the version itself")
            raise Invalid("A fold cannot be cut into folds.", [fault])
        with context.database.read() as session:
            _check_start(session, spec)
            rows = datasets.rows(session, spec.dataset_id, spec.dataset_version)
        fold_of, counts = deal(rows, posted.folds, posted.seed)
        check(rows, fold_of, posted.folds)
        blocks = (LAST_NUMBER - FIRST_NUMBER) // MOST_FOLDS
        first = FIRST_NUMBER + MOST_FOLDS * secrets.randbelow(blocks)
        folding = cls(posted, version, rows, fold_of, counts, first, context.store)
        try:
            folding._write()
        except BaseException:
            folding.undo()
            raise
        return folding

    def record(self, session: Session, caller: Caller) -> CrossValidation:
        """Write all rows; the commit is the caller's.

        Raises:
            Conflict: the dataset was deleted meanwhile.
            Invalid: so was the model that training would start from.
        """
        spec, folds = self.posted.job, len(self.counts)
        dataset = session.get(Dataset, spec.dataset_id)
        if dataset is None:
            raise Conflict(f"Dataset {spec.dataset_id!r} was deleted meanwhile.")
        name = spec.name or dataset.name
        row = CrossValidation(
            id=f"cv-{secrets.token_hex(8)}",
            project_id=dataset.project_id,
            name=name,
            dataset_id=spec.dataset_id,
            dataset_version=spec.dataset_version,
            first_version=self.first_number,
            seed=self.posted.seed,
            folds=self.counts,
            left_out=sum(one["split"] == tables.TEST for one in self.rows),
            spec=spec.model_dump(mode="json"),
        )
        session.add(row)
        facts = {"name": name, "dataset_id": row.dataset_id, "dataset_version": row.dataset_version, "folds": folds}
        audit.add(session, caller, Action.CROSS_VALIDATION_CREATE, row.id, row.project_id, **facts)
        try:
            for place in range(folds):
                derived = Derived(version=row.dataset_version, fold=place + 1, folds=folds, cross_validation=row.id)
                number = self.first_number + place
                version = version_of_fold(self.version, number, derived)
                datasets.add_version(session, version, fold_rows(self.rows, self.fold_of, place))
                ending = f", fold {place + 1} of {folds}"
                named = {"dataset_version": number, "name": name[: 200 - len(ending)] + ending}
                job = queue(session, caller, spec.model_copy(update=named), version, self.posted.priority)
                job.cross_validation_id, job.fold = row.id, place + 1
            session.flush()
        except IntegrityError as error:
            raise Conflict(f"Dataset {spec.dataset_id!r} was changed meanwhile: try again.") from error
        return row

    def undo(self) -> None:
        """Remove the lists, where nothing became of them."""
        for place in range(len(self.counts)):
            self.store.delete(self._key(place))

    def _write(self) -> None:
        media = Media.VOLUME if self.version.spatial_dims == Media.VOLUME.spatial_dims else Media.IMAGE
        for place in range(len(self.counts)):
            rows = fold_rows(self.rows, self.fold_of, place)
            table = sample_table(rows, self.version.mask_values, media, channel_names(self.version))
            self.store.put(self._key(place), tables.to_parquet(table), "application/vnd.apache.parquet")

    def _key(self, place: int) -> str:
        return keys.version(self.version.dataset_id, self.first_number + place)


def _check_start(session: Session, spec: JobSpec) -> None:
    """Training must not start from a model that has seen the samples which it is tested on; raises `Invalid`."""
    before = jobs.get_job(session, spec.warm_start) if spec.warm_start else None
    if before is None:
        return
    chain = [(before.id, before.dataset_id), *((one.id, one.dataset_id) for one in ancestors(session, before))]
    for job_id, dataset_id in chain:
        if dataset_id in {None, spec.dataset_id}:
            what = "was trained on this dataset" if dataset_id else "is deleted: nobody knows what it was trained on"
            hint = "leave warm_start out, or name a model of another dataset"
            fault = FieldError(field="job.warm_start", reason=f"{job_id} {what}", hint=hint)
            raise Invalid("The model to start from may have seen the samples that it would be tested on.", [fault])
