"""What the client does with pictures: what a job doubts of a label, as numbers and drawn."""

from __future__ import annotations

from pathlib import Path

from service.client.asynchronous.connection import Connection
from service.client.files import file_name, written
from service.client.wire import part

ENDINGS = {"image/png": "png", "application/gzip": "nii.gz"}


class Pictures(Connection):
    """See what is doubted of a label."""

    async def fetch_map(self, job_id: str, sample: str, folder: Path) -> Path:
        """Download the map of the doubted pixels of a label, once the job has succeeded.

        Of an image it is a PNG, of a volume a .nii.gz: 8 bits, 0 where nothing speaks against the label, 255 where the
        network is sure of another class.
        """
        answer = await self._send("GET", f"{_sample(job_id, sample)}/map")
        kind = answer.headers["content-type"].partition(";")[0]
        return written(folder, f"{file_name(sample)}.{ENDINGS.get(kind, 'map')}", answer.content)

    async def fetch_picture(self, job_id: str, sample: str, folder: Path, *, size: int = 1024) -> Path:
        """Download a picture of a sample (WebP): label and prediction outlined, what is doubted laid over it.

        Of a volume it shows the axial slice with the most label.

        Args:
            job_id: the job.
            sample: its name.
            folder: where to put it.
            size: longer side, in pixels, from 64 to 2048.
        """
        answer = await self._send("GET", f"{_sample(job_id, sample)}/overlay", parameters={"map": True, "size": size})
        return written(folder, f"{file_name(sample)}.webp", answer.content)


def _sample(job_id: str, sample: str) -> str:
    return f"/v1/jobs/{part(job_id)}/samples/{part(sample)}"
