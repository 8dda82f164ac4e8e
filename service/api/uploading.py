"""The multipart body of an upload: where it goes, and received once the caller is known to be allowed to send it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO, Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from service.api.dependencies import ContextDep, TrainDep
from service.api.problems import field_errors
from service.db import projects, tables
from service.errors import FieldError, Invalid
from service.resources.uploading import UploadFields


@dataclass(frozen=True)
class Upload:
    """A multipart body that has arrived: fields in order, file on disk."""

    fields: UploadFields
    file: IO[bytes]

    def fingerprint(self) -> bytes:
        """What makes two uploads the same."""
        digest = hashlib.file_digest(self.file, "sha256")  # type: ignore[arg-type]  # binary file by duck type
        self.file.seek(0)
        return self.fields.model_dump_json().encode() + digest.digest()


def get_target(
    context: ContextDep,
    caller: TrainDep,
    project: Annotated[str | None, Query(description="for the operator: where it goes; empty: to the default")] = None,
) -> str:
    """Id of the project that an upload goes to: the caller's own, or for the operator the one that is named.

    Raises:
        NotFound: there is none, or not for this caller.
    """
    target = project or caller.project_id or tables.DEFAULT_PROJECT
    with context.database.read() as session:
        return projects.get(session, target, caller.project_id).id


TargetDep = Annotated[str, Depends(get_target)]


async def read_upload(request: Request, _target: TargetDep) -> AsyncIterator[Upload]:
    """Receive the body, once the caller is known to be allowed to send it: FastAPI itself would read it before.

    Raises:
        Invalid: a part is missing, unknown or impossible.
    """
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise Invalid(
            "The upload must be multipart/form-data.",
            [FieldError(field="Content-Type", reason=f"is {kind or 'missing'}", hint="curl -F name=… -F file=@x.zip")],
        )
    async with request.form(max_files=1, max_fields=32) as form:
        file = form.get("file")
        faults = []
        if not isinstance(file, UploadFile):
            faults.append(FieldError(field="file", reason="is missing", hint="attach the zip as the part 'file'"))
        # A page's form sends what nobody filled in as empty text.
        values = {field: value for field, value in form.items() if field == "name" or (field != "file" and value != "")}
        try:
            fields = UploadFields.model_validate(values)
        except ValidationError as error:
            faults += field_errors(error.errors())
        if faults:
            raise Invalid(f"{len(faults)} of the parts given cannot be used.", faults)
        assert isinstance(file, UploadFile)  # noqa: S101 - a fault otherwise
        yield Upload(fields, file.file)


ARCHIVE = (
    "zip with images/ and masks/ (PNG, JPEG, TIFF, NIfTI or MetaImage; the same name in both, or masks/<annotator>/), "
    "with nnU-Net's imagesTr/, labelsTr/ and dataset.json, with COCO's JSON and its images, or with DICOM series and "
    "their SEG; samples.csv beside the first two may say more (columns name, group, split, annotator, verified)"
)
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "name"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": ARCHIVE,
                        },
                        **UploadFields.model_json_schema()["properties"],
                    },
                }
            }
        },
    }
}
