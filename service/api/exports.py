"""A job's samples as a file for other tools, and what was decided there, taken back in."""

from __future__ import annotations

from array import array
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO, Annotated, cast

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from service.api.dependencies import Context, ContextDep, ReviewDep, require_key
from service.api.jobs import JobDep
from service.api.problems import problems
from service.api.sample_filters import SampleFilterDep
from service.datasets.kinds import LayoutKind, Media
from service.db import datasets, exports, jobs, tables
from service.errors import Conflict, FieldError, Invalid, NotFound, PayloadTooLarge
from service.exports import as_masks
from service.exports.applying import MOST_FAULTS, apply, match
from service.exports.drawing import corrections
from service.exports.formats import DRAWINGS, JSON, TABLES, ZIP
from service.exports.kinds import Format, Source
from service.exports.rows import Placed, parse, row
from service.exports.wanted import Wanted
from service.jobs.lifecycle import State
from service.resources.exports import Imported
from service.reviews.decisions import DecisionState
from workers.contract.store import ObjectMissing

router = APIRouter(
    prefix="/v1/jobs/{job_id}", tags=["exports"], dependencies=[Depends(require_key)], responses=problems(401, 404, 422)
)
BATCH = 1000
MAX_IMPORT_BYTES = 256 << 20
IN_MEMORY = 8 << 20
BINARY = {"type": "string", "format": "binary"}
FormatQuery = Annotated[Format, Query(alias="format", description="what the file is")]


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "the file, the most doubted sample first",
            "content": {
                kind: {"schema": BINARY}
                for kind in (*(table.media_type.partition(";")[0] for table in TABLES.values()), ZIP)
            }
            | {JSON: {"schema": {"type": "object"}}},
        },
        **problems(409),
    },
)
def export_samples(
    job: JobDep,
    context: ContextDep,
    kind: FormatQuery,
    wanted: SampleFilterDep,
    limit: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="at most so many")] = None,
    masks: Annotated[Source, Query(description="with `coco` and the tools' formats: whose masks")] = Source.BOTH,
    all_masks: Annotated[
        bool, Query(alias="all", description="with `masks`: also the labels that nobody corrected")
    ] = False,
    image_root: Annotated[
        str | None,
        Query(
            max_length=1000,
            pattern=r"^(https?://|/|s3://|gs://|azure-blob://)[^\x00-\x20]*$",
            description="with `label-studio`: what the URL of an image begins with, before the name of its file; left "
            "out, that of files which Label Studio serves itself, in a folder called as the job",
        ),
    ] = None,
) -> StreamingResponse:
    """Samples with scores and decisions as CSV, lines of JSON, or Parquet; or corrected masks as a zip.

    The filter is that of the list of samples. It is streamed, whatever the number of samples. The zip has the layout
    that was uploaded, and its folder is what a correction of the dataset takes.

    `revision` says which state of a review the line shows; an import needs it to see what was decided since.
    """
    if job.epochs_done == 0:
        raise Conflict(f"Job {job.id} has finished no epoch yet, so it believes nothing of its samples.")
    if all_masks and kind is not Format.MASKS:
        raise _refused("all", "is of format=masks only", "leave it out")
    if image_root is not None and kind is not Format.LABEL_STUDIO:
        raise _refused("image_root", "is of format=label-studio only", "leave it out")
    if kind is Format.MASKS and not all_masks:
        if wanted.decision not in {None, DecisionState.CORRECTED}:
            raise _refused("decision", "leaves no corrected mask", "leave it out, or say all=true")
        wanted = replace(wanted, decision=DecisionState.CORRECTED)
    with context.database.read() as session:
        version = datasets.version(session, job.dataset_id, job.dataset_version)
        if kind in DRAWINGS:
            _flat(version)
            if masks is Source.PREDICTION and job.state != State.SUCCEEDED:
                raise Conflict(f"Job {job.id} is {job.state}: it has predictions once it has succeeded.")
        chosen = exports.ordinals(session, job, wanted, limit)
    batches = _batches(context, job, chosen)
    if kind is Format.MASKS:
        content, media_type = as_masks.write(context.store, LayoutKind(version.layout), batches), ZIP
    elif kind in DRAWINGS:
        again = partial(_batches, context, job, chosen)
        asked = Wanted(context.store, job.id, version.mask_values, masks, again, image_root)
        content, media_type = DRAWINGS[kind].write(asked), DRAWINGS[kind].media_type
    else:
        rows = ([row(line) for line in batch] for batch in batches)
        content, media_type = TABLES[kind].write(rows), TABLES[kind].media_type
    try:
        first = next(content, b"")  # what fails at once is still answered as a problem
    except ObjectMissing as error:
        raise NotFound(f"A mask of job {job.id} is gone from the object store.") from error
    headers = {
        "Content-Disposition": f'attachment; filename="{job.id}.{kind.ending}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(chain((first,), content), headers=headers, media_type=media_type)


def _batches(context: Context, job: tables.Job, wanted: array[int]) -> Iterator[list[exports.Line]]:
    """The rows, a batch to a transaction: a slow reader holds no connection, and memory stays flat."""
    for start in range(0, len(wanted), BATCH):
        with context.database.read() as session:
            found = exports.lines(session, job, wanted[start : start + BATCH])
        yield found


def _flat(version: tables.DatasetVersion) -> None:
    if version.spatial_dims != Media.IMAGE.spatial_dims:
        raise _refused("format", "is for images", "volumes go out as csv, jsonl, parquet or masks")


def _drawn(context: Context, job: tables.Job, kind: Format, file: IO[bytes]) -> list[Placed]:
    """The lines of a file with masks, these stored before anything is locked."""
    drawn = DRAWINGS[kind].read(file, context.settings.import_limits)
    with context.database.read() as session:
        version = datasets.version(session, job.dataset_id, job.dataset_version)
        _flat(version)
        found: dict[str, tuple[tables.Sample, tables.Review | None]] = {}
        for start in range(0, len(drawn), BATCH):
            found |= exports.by_name(session, job, [one.said.sample for one in drawn[start : start + BATCH]])
    return corrections(context.store, context.settings.import_limits, job, version, drawn, found)


def _refused(field: str, reason: str, hint: str) -> Invalid:
    return Invalid("Such an export cannot be made.", [FieldError(field=field, reason=reason, hint=hint)])


def get_job(job_id: str, context: ContextDep, caller: ReviewDep) -> tables.Job:
    """The job that the path names, before any of the body is read; raises `NotFound`."""
    with context.database.read() as session:
        job = jobs.get_training(session, job_id)
    if job is None or not caller.sees(job.project_id):
        raise NotFound(f"There is no job {job_id!r}; GET /v1/jobs lists those there are.")
    return job


ImportJobDep = Annotated[tables.Job, Depends(get_job)]


async def read_body(request: Request, _job: ImportJobDep) -> AsyncIterator[IO[bytes]]:
    """Receive the file, once the caller is known to be allowed to send it; raises `PayloadTooLarge`."""
    with SpooledTemporaryFile(max_size=IN_MEMORY) as file:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_IMPORT_BYTES:
                raise PayloadTooLarge(f"The file is larger than the {MAX_IMPORT_BYTES} bytes that are accepted here.")
            await run_in_threadpool(file.write, chunk)
        file.seek(0)
        yield cast("IO[bytes]", file)


@router.post(
    "/import",
    responses=problems(403, 409, 412, 413),
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": BINARY}}},
    },
)
def import_decisions(
    job: ImportJobDep,
    context: ContextDep,
    caller: ReviewDep,
    file: Annotated[IO[bytes], Depends(read_body)],
    kind: FormatQuery,
    force: Annotated[bool, Query(description="also where somebody decided since the export")] = False,
) -> Imported:
    """Take decisions from an exported file that was filled in: columns sample, mask_sha256, decision, note, revision.

    Lines are matched by name and label hash, never by their order. One that matches nothing, or a label that somebody
    decided about since the export, refuses the whole file, and every such line is named. In formats with masks, those
    that were changed or added become corrections.
    """
    if kind is Format.MASKS:
        raise _refused(
            "format", "is not one of an import", "make the next version of the dataset of them: dale correct"
        )
    if kind in DRAWINGS:
        lines = _drawn(context, job, kind, file)
    else:
        lines, faults = parse(TABLES[kind].read(file))
        if faults:
            raise Invalid(f"{len(faults)} values cannot be read; nothing was changed.", faults[:MOST_FAULTS])
    with context.database.read() as session:
        found = match(session, job, lines)
    with context.sessions.begin() as session:
        done = apply(session, job, caller, lines, found, kind, force=force)
    return Imported(decided=done.decided, unchanged=done.unchanged, undecided=done.undecided)
