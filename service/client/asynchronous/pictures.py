"""What the client does with pictures: what a job doubts of a label, images and masks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.client.asynchronous.connection import Connection
from service.client.files import file_name
from service.client.wire import part

ENDINGS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/tiff": "tif",
    "image/webp": "webp",
    "application/gzip": "nii.gz",
    "application/octet-stream": "nii",  # which has no media type of its own
}


class Pictures(Connection):
    """See what is doubted of a label, and take images and masks away as they are stored."""

    async def fetch_map(self, job_id: str, sample: str, folder: Path) -> Path:
        """Download the map of the doubted pixels of a label, once the job has succeeded.

        Of an image it is a PNG, of a volume a .nii.gz: 8 bits, 0 where nothing speaks against the label, 255 where the
        network is sure of another class.
        """
        return await self._fetch(f"{_sample(job_id, sample)}/map", folder, sample, {})

    async def fetch_picture(self, job_id: str, sample: str, folder: Path, *, size: int = 1024) -> Path:
        """Download a picture of a sample (WebP): label and prediction outlined, what is doubted laid over it.

        Of a volume it shows the axial slice with the most label.

        Args:
            job_id: the job.
            sample: its name.
            folder: where to put it.
            size: longer side, in pixels, from 64 to 2048.
        """
        return await self._fetch(f"{_sample(job_id, sample)}/overlay", folder, sample, {"map": True, "size": size})

    async def fetch_labelled(
        self, dataset_id: str, version: int, sample: str, folder: Path, *, size: int = 1024
    ) -> Path:
        """Download a picture of a sample of a dataset (WebP), its label outlined; no job is needed."""
        return await self._fetch(f"{_stored(dataset_id, version, sample)}/overlay", folder, sample, {"size": size})

    async def fetch_image(self, dataset_id: str, version: int, sample: str, folder: Path, *, channel: int = 0) -> Path:
        """Download an image or volume as it is stored; of several channels one file each."""
        url = f"{_stored(dataset_id, version, sample)}/image"
        return await self._fetch(url, folder, sample, {"channel": channel} if channel else {})

    async def fetch_label(self, dataset_id: str, version: int, sample: str, folder: Path) -> Path:
        """Download a label as it is stored."""
        return await self._fetch(f"{_stored(dataset_id, version, sample)}/mask", folder, sample, {})

    async def fetch_correction(self, dataset_id: str, version: int, sample: str, folder: Path) -> Path:
        """Download the mask that a reviewer put in the label's place."""
        return await self._fetch(f"{_stored(dataset_id, version, sample)}/review/mask", folder, sample, {})

    async def _fetch(self, url: str, folder: Path, sample: str, parameters: Mapping[str, Any]) -> Path:
        received = folder / f".{file_name(sample)}.received"
        try:
            kind = await self._write(url, received, parameters)
            return received.replace(folder / f"{file_name(sample)}.{ENDINGS.get(kind, 'bin')}")
        finally:
            received.unlink(missing_ok=True)


def _sample(job_id: str, sample: str) -> str:
    return f"/v1/jobs/{part(job_id)}/samples/{part(sample)}"


def _stored(dataset_id: str, version: int, sample: str) -> str:
    return f"/v1/datasets/{part(dataset_id)}/versions/{version}/samples/{part(sample)}"
