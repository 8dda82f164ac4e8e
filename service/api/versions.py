"""Versions of a dataset: made from earlier ones, never changed."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from service import logging
from service.actions import Action
from service.api.datasets import DatasetDep, VersionNumber, version_resource
from service.api.dependencies import ContextDep, SessionDep, TrainDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.paging import PageSize, PageToken, decode, encode, page_limit
from service.api.problems import field_errors, problems
from service.datasets.correcting import Correction, read_base
from service.db import audit, datasets, differences
from service.errors import FieldError, Invalid
from service.resources.datasets import VersionResource
from service.resources.versions import ChangedSample, Changes, DifferencePage

router = APIRouter(
    prefix="/v1/datasets/{dataset_id}", tags=["datasets"], dependencies=[Depends(require_key)], responses=problems(401)
)
log = logging.get(__name__)
MAX_CHANGES_BYTES = 64 << 20  # of the part `changes`: a million names fit
EXAMPLE = 'curl -F \'changes={"exclude": ["case 7"]}\' -F file=@masks.zip'


@dataclass(frozen=True)
class Corrected:
    """A multipart body that has arrived: changes read, file (if any) on disk."""

    changes: Changes
    file: IO[bytes] | None

    def fingerprint(self) -> bytes:
        """What makes two corrections the same."""
        content = self.changes.model_dump_json().encode()
        if self.file is not None:
            content += hashlib.file_digest(self.file, "sha256").digest()  # type: ignore[arg-type]  # binary by duck type
            self.file.seek(0)
        return content


def get_project(dataset_id: str, context: ContextDep, caller: TrainDep) -> str:
    """Project of the dataset that the path names, before any of the body is read; raises `NotFound`."""
    with context.database.read() as session:
        return datasets.get(session, dataset_id, caller.project_id).project_id


ProjectDep = Annotated[str, Depends(get_project)]


async def read_changes(request: Request, _project: ProjectDep) -> AsyncIterator[Corrected]:
    """Receive the body, once the caller is known to be allowed to send it.

    Raises:
        Invalid: a part is missing, unknown or impossible.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        fault = FieldError(field="Content-Type", reason=f"is {kind or 'missing'}", hint=EXAMPLE)
        raise Invalid("The changes must be multipart/form-data.", [fault])
    async with request.form(max_files=1, max_fields=8, max_part_size=MAX_CHANGES_BYTES) as form:
        faults = [
            FieldError(field=name, reason="is no part of a correction", hint=EXAMPLE)
            for name in form
            if name not in {"changes", "file"}
        ]
        file, text = form.get("file"), form.get("changes", "{}")
        if isinstance(file, str):
            faults.append(FieldError(field="file", reason="is not a file", hint=EXAMPLE))
        try:
            changes = Changes.model_validate_json(text if isinstance(text, str) else await text.read())
        except ValidationError as error:
            faults += field_errors(error.errors())
        if faults:
            raise Invalid(f"{len(faults)} of the parts given cannot be used.", faults)
        yield Corrected(changes, file.file if isinstance(file, UploadFile) else None)


BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "changes": {**Changes.model_json_schema(), "description": "JSON; left out: only the files"},
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "zip of corrected masks, masks/<sample>.png or .nii.gz, and of new samples, "
                            "images/<sample>.… with masks/<sample>.… (as in an upload; of several channels "
                            "images/<sample>_0000.… and so on)",
                        },
                    },
                },
                "encoding": {"changes": {"contentType": "application/json"}},
            }
        },
    }
}


@router.post(
    "/versions",
    status_code=201,
    response_model=VersionResource,
    responses=problems(400, 403, 404, 409, 413, 422, 503),
    openapi_extra=BODY,
)
def post_version(
    dataset_id: str,
    context: ContextDep,
    caller: TrainDep,
    project: ProjectDep,
    idempotency: IdempotencyDep,
    corrected: Annotated[Corrected, Depends(read_changes)],
) -> JSONResponse:
    """Make the next version: a base without some samples, with other masks, with new samples.

    A refusal lists every bad file.
    """
    # A session of our own: files are checked before its first statement, so that no lock is held meanwhile.
    with context.sessions() as session:

        def create() -> Answer:
            with context.database.read() as before:
                base = read_base(before, dataset_id, corrected.changes.base)
            limits = context.settings.import_limits
            work = Correction(context.store, limits, base, corrected.changes.exclude, corrected.file)
            work.check()
            work.store()
            version = work.record(session)
            facts = {"number": version.number, "base": base.number, **work.counts}
            audit.add(session, caller, Action.VERSION_CREATE, dataset_id, project, **facts)
            return Answer(version_resource(version), f"/v1/datasets/{dataset_id}/versions/{version.number}")

        answer = idempotency.answer(session, corrected.fingerprint(), create)
        session.commit()
    log.info("version stored", location=answer.headers["location"])
    return answer


@router.get("/versions/{number}/diff/{other}", responses=problems(400, 404, 422))
def read_difference(
    dataset: DatasetDep,
    number: VersionNumber,
    other: VersionNumber,
    session: SessionDep,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> DifferencePage:
    """What has changed from one version to another: samples by their names, in the order of these."""
    arguments = {"list": "difference", "dataset": dataset.id, "from": number, "to": other}
    position = decode(page_token, arguments, str)
    limit = page_limit(page_size)
    for each in (number, other):
        datasets.version(session, dataset.id, each)
    found = differences.page(session, dataset.id, number, other, limit + 1, after=position[0] if position else None)
    token = encode([found[limit - 1][0]], arguments) if len(found) > limit else None
    return DifferencePage(
        **differences.counts(session, dataset.id, number, other),
        samples=[ChangedSample(sample=name, changes=changes) for name, changes in found[:limit]],
        next_page_token=token,
    )
