"""Imports of uploads behind the answers: a thread each, and one at work at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service import logging
from service.actions import Action
from service.api.dependencies import Context
from service.datasets import parts
from service.datasets.importing import Import
from service.datasets.kinds import UploadState
from service.datasets.options import ImportOptions
from service.db import audit, datasets, uploads
from service.db.base import now
from service.db.tables import Upload
from service.errors import FieldError, Invalid
from service.roles import Caller
from workers.contract.store import StoreUnavailable

log = logging.get(__name__)
HEARTBEAT_S = 5.0
_turn = threading.Lock()


def start(context: Context, upload: Upload, sha256: str, caller: Caller) -> threading.Thread:
    """Import an upload that is claimed (`uploads.claim`), in a thread that ends with the process.

    A process that ends in the middle leaves the upload as it is: it is silent from then on, and can be claimed again.
    """
    thread = threading.Thread(target=_run, args=(context, upload, sha256, caller), name=upload.id, daemon=True)
    thread.start()
    return thread


def _run(context: Context, upload: Upload, sha256: str, caller: Caller) -> None:
    try:
        with _alive(context, upload.id) as progress, _turn:
            _import(context, upload, sha256, caller, progress)
        parts.discard(context.store, upload.id)
    except Invalid as error:
        _fail(context, upload.id, error.errors or [FieldError(reason=error.detail)])
    except StoreUnavailable as error:
        log.warning("import without store", upload_id=upload.id, error=str(error))
        hint = "POST :complete again when it does; the parts are kept"
        _fail(context, upload.id, [FieldError(reason="the object store does not answer", hint=hint)])
    except Exception:  # the thread's end: who uploaded is told, the cause is in the log
        log.exception("import failed", upload_id=upload.id)
        hint = "POST :complete again; if it fails again, the operator finds the cause in the service's log"
        _fail(context, upload.id, [FieldError(reason="the import failed for a reason inside the service", hint=hint)])


def _import(context: Context, upload: Upload, sha256: str, caller: Caller, progress: _Progress) -> None:
    """Make a dataset of the parts; all of it, or nothing."""
    fields = upload.fields
    options = ImportOptions.model_validate({field: value for field, value in fields.items() if field != "name"})
    with parts.assembled(context.store, upload.id, upload.size, upload.part_size, sha256) as file:
        work = Import(
            context.store,
            context.settings.import_limits,
            file,
            options,
            dataset_id=upload.id.replace("upl-", "ds-", 1),  # a second try writes over what the first one left
        )
        try:
            work.check(progress)
            work.store()
            with context.sessions.begin() as session:
                dataset = work.record(session, fields["name"], upload.project_id)
                count = datasets.version(session, dataset.id, 1).sample_count
                facts = {"name": dataset.name, "samples": count, "upload_id": upload.id}
                audit.add(session, caller, Action.DATASET_CREATE, dataset.id, upload.project_id, **facts)
                row = uploads.get(session, upload.id, None, lock=True)
                row.state, row.dataset_id, row.updated_at = UploadState.SUCCEEDED, dataset.id, now()
        except BaseException:
            work.undo()
            raise
        work.finish()
    log.info("dataset stored", upload_id=upload.id, dataset_id=work.dataset_id, samples=count)


class _Progress:
    """Files checked so far, of how many; called by the check."""

    def __init__(self) -> None:
        self.done, self.total = 0, 0

    def __call__(self, done: int, total: int) -> None:
        self.done, self.total = done, total


@contextmanager
def _alive(context: Context, upload_id: str) -> Iterator[_Progress]:
    """Report progress again and again while this lasts, so that nobody takes the import for abandoned."""
    progress, over = _Progress(), threading.Event()

    def beat() -> None:
        while not over.wait(HEARTBEAT_S):
            with context.sessions.begin() as session:
                uploads.report(session, upload_id, progress.done, progress.total)

    heart = threading.Thread(target=beat, name=f"{upload_id}-heart", daemon=True)
    heart.start()
    try:
        yield progress
    finally:
        over.set()
        heart.join()


def _fail(context: Context, upload_id: str, errors: list[FieldError]) -> None:
    with context.sessions.begin() as session:
        row = uploads.get(session, upload_id, None, lock=True)
        row.state, row.updated_at = UploadState.FAILED, now()
        row.errors = [error.model_dump(exclude_none=True) for error in errors]
