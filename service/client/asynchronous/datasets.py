"""What the client does with datasets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from service.client.asynchronous.connection import Connection
from service.client.asynchronous.sending import send_in_parts
from service.client.errors import check, reaching
from service.client.files import CountedFile, Progress
from service.client.wire import given, idempotency, part
from service.datasets.options import ImportOptions
from service.resources.datasets import (
    DatasetPage,
    DatasetResource,
    DatasetSample,
    DatasetSamplePage,
    VersionList,
    VersionResource,
)
from service.resources.uploads import UploadResource
from service.resources.versions import ChangedSample, Changes, DifferencePage

# Uploads are checked file by file before the answer comes.
UPLOAD_TIMEOUT = httpx.Timeout(None, connect=5)
AS_IT_IS = ImportOptions()


class Datasets(Connection):
    """Uploads, versions, differences."""

    async def upload(
        self,
        archive: Path,
        *,
        name: str = "",
        options: ImportOptions = AS_IT_IS,
        project: str | None = None,
        progress: Progress | None = None,
    ) -> DatasetResource:
        """Upload a zip of `images/` and `masks/`, or of another layout (see `options`); streamed, so memory stays flat.

        It goes to the project of the key; only the operator's key names a `project`.
        """
        fields = {"name": name or archive.stem} | options.model_dump(mode="json", exclude_defaults=True)
        with CountedFile(archive, progress) as file, reaching(self.url):
            response = await self._http.post(
                "/v1/datasets",
                files={"file": (archive.name, file, "application/zip")},
                params=given({"project": project}),
                data={field: str(value) for field, value in fields.items()},
                headers=idempotency(),
                timeout=UPLOAD_TIMEOUT,
            )
        return DatasetResource.model_validate_json(check(response).content)

    async def upload_in_parts(
        self,
        archive: Path,
        *,
        name: str = "",
        options: ImportOptions = AS_IT_IS,
        project: str | None = None,
        resume: str | None = None,
        begun: Callable[[str], None] = lambda upload_id: None,
        progress: Progress = lambda done, size: None,
    ) -> DatasetResource:
        """Upload a zip in parts, straight to the store where it takes them, and wait for the dataset.

        `begun` is told the upload's id; given as `resume`, with the same file, what broke off goes on where it stopped.
        """
        fields = {"name": name or archive.stem} | options.model_dump(mode="json", exclude_defaults=True)
        dataset_id = await send_in_parts(
            self._http,
            archive,
            fields,
            project=project,
            resume=resume,
            begun=begun,
            progress=progress,
            headers=idempotency(),
        )
        return await self.dataset(dataset_id)

    async def dataset(self, dataset_id: str) -> DatasetResource:
        """One dataset."""
        return await self._get(DatasetResource, f"/v1/datasets/{part(dataset_id)}")

    def datasets(self, *, project: str | None = None) -> AsyncIterator[DatasetResource]:
        """Datasets, newest first; of one `project`, for the operator."""
        return self._pages(DatasetPage, "/v1/datasets", {"project": project}, lambda page: page.datasets)

    async def versions(self, dataset_id: str) -> list[VersionResource]:
        """The versions of a dataset, newest first."""
        return (await self._get(VersionList, f"/v1/datasets/{part(dataset_id)}/versions")).versions

    async def version(self, dataset_id: str, number: int) -> VersionResource:
        """One version of a dataset."""
        return await self._get(VersionResource, f"/v1/datasets/{part(dataset_id)}/versions/{number}")

    async def upload_state(self, upload_id: str) -> UploadResource:
        """How far an upload in parts has come."""
        return await self._get(UploadResource, f"/v1/uploads/{part(upload_id)}")

    async def discard_upload(self, upload_id: str) -> None:
        """Give an upload in parts up, with the parts that have arrived."""
        await self._send("DELETE", f"/v1/uploads/{part(upload_id)}")

    async def correct(
        self, dataset_id: str, *, masks: Path | None = None, exclude: Sequence[str] = (), base: int | None = None
    ) -> VersionResource:
        """Make the next version of a dataset: a base (None: the newest) without some samples, with other masks.

        `masks` is a zip of `masks/<sample>.png` (of volumes `.nii.gz`); new samples come in the same zip, as
        `images/<sample>.png` and `masks/<sample>.png`.
        """
        changes = Changes(base=base, exclude=list(exclude)).model_dump_json()
        with ExitStack() as opened, reaching(self.url):
            files: dict[str, Any] = {"changes": (None, changes, "application/json")}
            if masks is not None:
                files["file"] = (masks.name, opened.enter_context(masks.open("rb")), "application/zip")
            url = f"/v1/datasets/{part(dataset_id)}/versions"
            response = await self._http.post(url, files=files, headers=idempotency(), timeout=UPLOAD_TIMEOUT)
        return VersionResource.model_validate_json(check(response).content)

    def dataset_samples(self, dataset_id: str, version: int) -> AsyncIterator[DatasetSample]:
        """The samples of a version: by name those that are trained on, then those that are held out."""
        url = f"/v1/datasets/{part(dataset_id)}/versions/{version}/samples"
        return self._pages(DatasetSamplePage, url, {}, lambda page: page.samples)

    def difference(self, dataset_id: str, before: int, now: int) -> AsyncIterator[ChangedSample]:
        """The samples that differ between two versions, in the order of their names."""
        url = f"/v1/datasets/{part(dataset_id)}/versions/{before}/diff/{now}"
        return self._pages(DifferencePage, url, {}, lambda page: page.samples)

    async def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset with all versions; refused while a job names it."""
        await self._send("DELETE", f"/v1/datasets/{part(dataset_id)}")
