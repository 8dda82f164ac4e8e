"""Removes the objects of datasets that were deleted, and of imports that died half-way."""

from __future__ import annotations

from datetime import datetime, timedelta

from service import logging
from service.db import datasets
from service.db.base import now
from service.db.session import Database
from workers.contract import keys
from workers.contract.store import ObjectMissing, ObjectStore, StoreUnavailable

log = logging.get(__name__)
DEAD = timedelta(days=1)  # without a new mark, which an import makes every few minutes


def remove_objects(store: ObjectStore, dataset_id: str) -> int:
    """Remove everything below a dataset that has no rows; returns how many objects it was.

    Where the store fails it stops, and says so in the log: `collect` finds what is left.
    """
    removed = 0
    try:
        for key in list(store.list(keys.dataset(dataset_id))):
            store.delete(key)
            removed += 1
    except StoreUnavailable as error:
        log.warning("objects of a dataset without rows are left", dataset_id=dataset_id, error=str(error))
    return removed


def collect(database: Database, store: ObjectStore) -> int:
    """Remove what is left of deleted datasets and of imports that died; returns how many objects it was.

    Left by a store that failed, a service that ended in between, or a correction that was under way. Which datasets
    were deleted the audit trail says, which imports began their marks: objects without a row alone are no sign, for
    they could be those of an import that goes on elsewhere, or of a database that was put back to an earlier day.
    """
    with database.read() as session:
        deleted = datasets.deleted(session)
    removed = sum(remove_objects(store, dataset_id) for dataset_id in deleted)
    try:
        removed += _remove_dead_imports(database, store)
    except StoreUnavailable as error:
        log.warning("imports that died are left", error=str(error))
    if removed:
        log.info("left objects removed", objects=removed)
    return removed


def _remove_dead_imports(database: Database, store: ObjectStore) -> int:
    """Remove the objects of imports whose marks are old and whose datasets never came to be, then the marks."""
    removed = 0
    for mark in list(store.list(keys.importing())):
        dataset_id = mark.removeprefix(keys.importing())
        try:
            silent = now() - datetime.fromisoformat(store.get(mark).decode())
        except ObjectMissing:
            continue  # the import has ended just now
        if silent < DEAD:
            continue
        with database.read() as session:
            there = datasets.find(session, dataset_id, None) is not None
            if not there and datasets.may_come(session, dataset_id):
                continue
        if not there:
            removed += remove_objects(store, dataset_id)
        if there or not any(store.list(keys.dataset(dataset_id))):
            store.delete(mark)
    return removed
