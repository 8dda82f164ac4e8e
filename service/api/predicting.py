"""Predicting: an image or a volume in, its mask out."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from service.api.dependencies import CallerDep, ContextDep, require_key
from service.api.models import ONNX, seen_model
from service.api.problems import problems
from service.db import jobs
from service.errors import Conflict, FieldError, Invalid
from service.predictions.inputs import SentFile
from service.predictions.predictor import Predictor
from service.predictions.sessions import ModelFile
from workers.contract.answers import NIFTI, NUMPY, PNG, ZIP
from workers.contract.outputs import Output

router = APIRouter(prefix="/v1/models", tags=["models"], dependencies=[Depends(require_key)], responses=problems(401))
MULTIPART = "multipart/form-data"
RAW = ("image/png", "image/jpeg", "image/tiff", "application/gzip", "application/x-gzip", "application/octet-stream")
MAX_FILES = 64  # channels of one image


def get_predictor(request: Request) -> Predictor:
    """What predicts in the service that answers this request."""
    predictor: Predictor = request.app.state.predictor
    return predictor


PredictorDep = Annotated[Predictor, Depends(get_predictor)]


def get_model_file(model_id: str, context: ContextDep, caller: CallerDep) -> ModelFile:
    """Where the ONNX file of the model in the path is; nothing stays locked while it predicts.

    Raises:
        NotFound: there is no such model.
        Conflict: it has no such file.
    """
    with context.database.read() as session:
        job, _ = seen_model(session, model_id, caller)
        file = jobs.get_artifact(session, job.id, ONNX)
        if file is None:
            fault = FieldError(
                file=ONNX,
                reason="is not there: the job asked for no such export, or its model.json says why there is none",
                hint="retrain with `onnx` among the job's exports, and begin where this model ended with warm_start",
            )
            raise Conflict(f"Model {job.id} cannot predict here: it has no ONNX file.", [fault])
        return ModelFile(job.id, file.key, file.sha256, file.size)


ModelFileDep = Annotated[ModelFile, Depends(get_model_file)]


async def read_files(request: Request, _file: ModelFileDep, predictor: PredictorDep) -> AsyncIterator[list[SentFile]]:
    """Receive the files, once it is known that they are of use; they are gone after the answer.

    Raises:
        Invalid: there are none, or the body is of another kind.
        TooManyRequests: too many wait for predictions.
    """
    predictor.check_room()
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    with tempfile.TemporaryDirectory(prefix="dale-predict-") as folder:
        root = Path(folder)
        if kind == MULTIPART:
            yield await _parts(request, root)
        elif kind in RAW:
            path = root / "0"
            with path.open("wb") as sink:
                async for chunk in request.stream():
                    sink.write(chunk)
            yield [SentFile("body", path)]
        else:
            hint = "curl --data-binary @x.png -H 'Content-Type: image/png', or -F file=@x.png"
            fault = FieldError(field="Content-Type", reason=f"is {kind[:100] or 'missing'}", hint=hint)
            raise Invalid(f"The body must be a file ({', '.join(RAW)}) or {MULTIPART}.", [fault])


async def _parts(request: Request, root: Path) -> list[SentFile]:
    async with request.form(max_files=MAX_FILES, max_fields=1) as form:
        parts = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
        if not parts or len(parts) != len(form.multi_items()):
            hint = "attach each file as a part named 'file', in the order of the channels"
            raise Invalid(
                "The parts of the body must be files.", [FieldError(field="file", reason="no other", hint=hint)]
            )
        sent = []
        for number, part in enumerate(parts):
            path = root / str(number)
            await run_in_threadpool(_copy, part, path)
            sent.append(SentFile((part.filename or f"file {number}")[:200], path))
        return sent


def _copy(part: UploadFile, path: Path) -> None:
    with path.open("wb") as sink:
        shutil.copyfileobj(part.file, sink)


FilesDep = Annotated[list[SentFile], Depends(read_files)]
FILE: dict[str, Any] = {"type": "string", "format": "binary"}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One file as it is; or a part `file` for each channel, in the order of the channels.",
        "content": {
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "array", "items": FILE, "minItems": 1, "maxItems": MAX_FILES}},
                }
            },
            **{kind: {"schema": FILE} for kind in RAW},
        },
    }
}


@router.post(
    "/{model_id}:predict",
    response_class=Response,
    openapi_extra=BODY,
    responses={
        200: {
            "description": "what was asked for; of several outputs a zip",
            "content": {kind: {"schema": FILE} for kind in (PNG, NIFTI, NUMPY, ZIP)},
        },
        **problems(400, 404, 409, 413, 422, 429, 503),
    },
)
async def predict(
    file: ModelFileDep,
    sent: FilesDep,
    predictor: PredictorDep,
    output: Annotated[
        list[Output],
        Query(
            min_length=1,
            max_length=8,
            description="`mask` (PNG, or of a volume .nii.gz; the dataset's mask values), `probabilities` (.npz: "
            "`probabilities`, (classes, H, W), float32; of a volume .nii.gz with the classes as fourth axis), "
            "`uncertainty` (entropy over the classes, 0 sure to 1 all equally probable: 16-bit PNG, 65535 is 1; of a "
            "volume .nii.gz, float32). Of several: a zip",
        ),
    ] = [Output.MASK],  # noqa: B006 - FastAPI copies it
    flips: Annotated[
        bool,
        Query(description="mean of the probabilities over all mirror images: 4 times the work, of a volume 8 times"),
    ] = False,
) -> Response:
    """Predict the mask of one image or volume, of any size; the answer is on its own grid. Nothing of it is kept."""
    made = await predictor.predict(file, sent, output, flips=flips)
    headers = {
        "Content-Disposition": f'attachment; filename="{file.model_id}-{made.name}"',
        "Cache-Control": "no-store",
    }
    return Response(made.content, media_type=made.media_type, headers=headers)
