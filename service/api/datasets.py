"""Datasets: upload, list, look into a version."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from service import logging
from service.actions import Action
from service.api.blobs import MEDIA_TYPES, blob_response
from service.api.dependencies import CallerDep, ContextDep, SessionDep, ShownProjectDep, TrainDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.problems import problems
from service.api.uploading import BODY, TargetDep, Upload, read_upload
from service.datasets.importing import Import
from service.datasets.kinds import LayoutKind
from service.datasets.rows import channel_names
from service.db import audit, datasets, tables
from service.errors import FieldError, NotFound
from service.resources.annotators import Agreement
from service.resources.cross_validations import Derived
from service.resources.datasets import (
    DatasetPage,
    DatasetResource,
    DatasetSample,
    DatasetSamplePage,
    Splits,
    VersionList,
    VersionResource,
)
from workers.contract.tables import TRAIN

router = APIRouter(
    prefix="/v1/datasets", tags=["datasets"], dependencies=[Depends(require_key)], responses=problems(401)
)
log = logging.get(__name__)
VersionNumber = Annotated[int, Path(ge=1, le=2**31 - 1, description="of the version, counted from 1")]


@router.post(
    "",
    status_code=201,
    response_model=DatasetResource,
    responses=problems(400, 403, 404, 409, 413, 422, 503),
    openapi_extra=BODY,
)
def post_dataset(
    context: ContextDep,
    caller: TrainDep,
    target: TargetDep,
    idempotency: IdempotencyDep,
    upload: Annotated[Upload, Depends(read_upload)],
) -> JSONResponse:
    """Upload a dataset. Every file is checked first; a refusal lists every bad file and leaves nothing behind."""
    limits = context.settings.import_limits
    work = Import(context.store, limits, upload.file, upload.fields)
    # A session of our own: what is in the store must be undone even if the commit is what fails.
    with context.sessions() as session:

        def create() -> Answer:
            work.check()
            work.store()
            dataset = work.record(session, upload.fields.name, target)
            version = datasets.version(session, dataset.id, 1)
            facts = {"name": dataset.name, "samples": version.sample_count}
            audit.add(session, caller, Action.DATASET_CREATE, dataset.id, target, **facts)
            return Answer(dataset_resource(dataset, version), location=f"/v1/datasets/{dataset.id}")

        try:
            answer = idempotency.answer(session, upload.fingerprint(), create)
            session.commit()
        except BaseException:
            session.rollback()
            work.undo()
            raise
        work.finish()
    log.info("dataset stored", location=answer.headers["location"])
    return answer


@router.get("", responses=problems(400, 404, 422))
def list_datasets(
    session: SessionDep, project: ShownProjectDep, page_size: PageSize = 50, page_token: PageToken = None
) -> DatasetPage:
    """Datasets, newest first."""
    arguments = {"list": "datasets", "project": project}
    position = decode(page_token, arguments, str, str)
    after = (decode_time(position[0]), position[1]) if position else None
    limit = page_limit(page_size)
    found = datasets.page(session, project, limit + 1, after)
    token = None
    if len(found) > limit:
        last = found[limit - 1]
        token = encode([last.created_at.isoformat(), last.id], arguments)
    newest = datasets.newest_versions(session, [dataset.id for dataset in found[:limit]])
    listed = [dataset_resource(dataset, newest[dataset.id]) for dataset in found[:limit]]
    return DatasetPage(datasets=listed, next_page_token=token)


def get_dataset(dataset_id: str, session: SessionDep, caller: CallerDep) -> tables.Dataset:
    """The dataset that the path names; raises `NotFound`."""
    return datasets.get(session, dataset_id, caller.project_id)


DatasetDep = Annotated[tables.Dataset, Depends(get_dataset, scope="function")]


@router.get("/{dataset_id}", responses=problems(404))
def read_dataset(dataset: DatasetDep, session: SessionDep) -> DatasetResource:
    """A dataset with its newest version."""
    return dataset_resource(dataset, datasets.newest_versions(session, [dataset.id])[dataset.id])


@router.get("/{dataset_id}/versions", responses=problems(404, 422))
def list_versions(
    dataset: DatasetDep,
    session: SessionDep,
    derived: Annotated[bool, Query(description="also those that are a fold of a cross-validation")] = False,
) -> VersionList:
    """The versions of a dataset, newest first."""
    found = datasets.versions(session, dataset.id, derived=derived)
    return VersionList(versions=[version_resource(one) for one in found])


@router.get("/{dataset_id}/versions/{number}", responses=problems(404, 422))
def read_version(dataset: DatasetDep, number: VersionNumber, session: SessionDep) -> VersionResource:
    """One version with its warnings."""
    return version_resource(datasets.version(session, dataset.id, number))


@router.get("/{dataset_id}/versions/{number}/samples", responses=problems(400, 404, 422))
def list_samples(
    dataset: DatasetDep,
    number: VersionNumber,
    session: SessionDep,
    page_size: PageSize = 50,
    page_token: PageToken = None,
) -> DatasetSamplePage:
    """Samples of a version: in the order of their names those that are trained on, then those that are held out."""
    arguments = {"list": "dataset samples", "dataset": dataset.id, "version": number}
    position = decode(page_token, arguments, int)
    limit = page_limit(page_size)
    found = datasets.samples(session, dataset.id, number, limit + 1, after=position[0] if position else -1)
    token = encode([found[limit - 1].ordinal], arguments) if len(found) > limit else None
    return DatasetSamplePage(samples=[sample_resource(row) for row in found[:limit]], next_page_token=token)


IMAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the file; of a volume NIfTI, application/gzip where it is packed",
        "content": {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES},
    },
    304: {"description": "the client's copy is the file"},
    **problems(404, 422, 503),
}


@router.get("/{dataset_id}/versions/{number}/samples/{sample}/image", response_class=Response, responses=IMAGE)
def read_image(
    dataset: DatasetDep,
    number: VersionNumber,
    sample: str,
    session: SessionDep,
    context: ContextDep,
    request: Request,
    channel: Annotated[int, Query(ge=0, le=9999, description="which file, where each channel has its own")] = 0,
) -> Response:
    """The image as it was uploaded."""
    row = datasets.sample(session, dataset.id, number, sample)
    files = [row.image_sha256, *(row.channels or ())]
    if channel >= len(files):
        raise NotFound(f"The image of sample {sample!r} is {len(files)} files: there is no file of channel {channel}.")
    return blob_response(request, context.store, dataset.id, files[channel])


@router.get("/{dataset_id}/versions/{number}/samples/{sample}/mask", response_class=Response, responses=IMAGE)
def read_mask(
    dataset: DatasetDep, number: VersionNumber, sample: str, session: SessionDep, context: ContextDep, request: Request
) -> Response:
    """The mask as it is stored: 8-bit greyscale; of a volume the NIfTI file that was uploaded."""
    row = datasets.sample(session, dataset.id, number, sample)
    return blob_response(request, context.store, dataset.id, row.mask_sha256)


def dataset_resource(dataset: tables.Dataset, newest: tables.DatasetVersion) -> DatasetResource:
    """A dataset as the API shows it."""
    return DatasetResource(
        id=dataset.id,
        project_id=dataset.project_id,
        name=dataset.name,
        created_at=dataset.created_at,
        newest=version_resource(newest),
        versions=f"/v1/datasets/{dataset.id}/versions",
    )


def version_resource(version: tables.DatasetVersion) -> VersionResource:
    """A version as the API shows it."""
    return VersionResource(
        dataset_id=version.dataset_id,
        number=version.number,
        sample_count=version.sample_count,
        splits=Splits(train=version.train_count, validation=version.validation_count, test=version.test_count),
        layout=LayoutKind(version.layout),
        spatial_dims=version.spatial_dims,
        channels=channel_names(version),
        mask_values=version.mask_values,
        agreement=Agreement.model_validate(version.agreement) if version.agreement else None,
        derived=Derived.model_validate(version.derived) if version.derived else None,
        warnings=[FieldError.model_validate(warning) for warning in version.warnings],
        created_at=version.created_at,
        samples=f"/v1/datasets/{version.dataset_id}/versions/{version.number}/samples",
    )


def sample_resource(row: tables.Sample) -> DatasetSample:
    """A sample of a version as the API shows it."""
    base = f"/v1/datasets/{row.dataset_id}/versions/{row.version}/samples/{quote(row.name, safe='')}"
    return DatasetSample(
        sample=row.name,
        ordinal=row.ordinal,
        width=row.width,
        height=row.height,
        depth=row.depth,
        spacing=row.spacing,
        foreground=row.foreground,
        group=row.group,
        split=row.split or TRAIN,
        annotator=row.annotator,
        agreement=row.agreement,
        verified=row.verified,
        image_sha256=row.image_sha256,
        channels=row.channels or [],
        mask_sha256=row.mask_sha256,
        image=f"{base}/image",
        mask=f"{base}/mask",
    )
