"""Removes the objects of datasets that were deleted."""

from __future__ import annotations

from service import logging
from service.db import datasets
from service.db.session import Database
from workers.contract import keys
from workers.contract.store import ObjectStore, StoreUnavailable

log = logging.get(__name__)


def remove_objects(store: ObjectStore, dataset_id: str) -> int:
    """Remove everything below a dataset whose rows are gone; returns how many objects it was.

    Where the store fails it stops, and says so in the log: `collect` finds what is left.
    """
    removed = 0
    try:
        for key in list(store.list(keys.dataset(dataset_id))):
            store.delete(key)
            removed += 1
    except StoreUnavailable as error:
        log.warning("objects of a deleted dataset are left", dataset_id=dataset_id, error=str(error))
    return removed


def collect(database: Database, store: ObjectStore) -> int:
    """Remove what is left of deleted datasets; returns how many objects it was.

    Left by a store that failed, a service that ended in between, or a correction that was under way. Which datasets
    were deleted the audit trail says: objects without a row alone could be those of an import that goes on elsewhere.
    """
    with database.read() as session:
        deleted = datasets.deleted(session)
    removed = sum(remove_objects(store, dataset_id) for dataset_id in deleted)
    if removed:
        log.info("left objects removed", objects=removed)
    return removed
