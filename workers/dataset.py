"""A dataset version as a run sees it: images, or volumes by patches."""

from __future__ import annotations

from typing import TypeAlias

from workers.contract import keys, tables
from workers.contract.request import JobSpec
from workers.contract.store import ObjectStore
from workers.data import Samples
from workers.run import Run
from workers.volumes import Volumes

AnySamples: TypeAlias = Samples | Volumes


def open_dataset(store: ObjectStore, spec: JobSpec, run: Run | None = None) -> AnySamples:
    """The samples that a job trains on, of the kind that the dataset version's table says. With a run a collective.

    Args:
        store: where the dataset lies.
        spec: the job.
        run: whose ranks share what they have decoded; None: every sample is decoded whenever it is asked for.
    """
    if tables.holds_volumes(tables.schema_of(store.get(keys.version(spec.dataset_id, spec.dataset_version)))):
        return Volumes(store, spec.dataset_id, spec.dataset_version, spec.patch_size, spec.seed, run)
    return Samples(store, spec.dataset_id, spec.dataset_version, spec.image_size, run)
