"""What the client does with jobs that predict a dataset."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path, PurePosixPath

from service.client.asynchronous.connection import Connection
from service.client.asynchronous.jobs import TRAIN_TIMEOUT
from service.client.asynchronous.transfer import download
from service.client.errors import ClientError, DamagedFile, reaching
from service.client.files import written
from service.client.wire import idempotency, part
from service.resources.jobs import JobResource
from service.resources.prediction_jobs import JobFile, JobFilePage, PostedPrediction
from workers.contract.outputs import Output

UNPACKED = ".unpacked"  # sha256 of the zips whose members are there


class PredictionJobs(Connection):
    """Let a model predict a whole dataset on the cluster, and fetch what it says."""

    async def predict_dataset(self, posted: PostedPrediction, *, idempotency_key: str | None = None) -> JobResource:
        """Post a prediction job. Sent again with the same key where the connection fails, so it starts once."""
        headers, body = idempotency(idempotency_key), posted.model_dump(mode="json")
        response = await self._send("POST", "/v1/jobs:predict", body, headers, timeout=TRAIN_TIMEOUT)
        return JobResource.model_validate_json(response.content)

    def job_files(self, job_id: str) -> AsyncIterator[JobFile]:
        """What a prediction job left, by name; nothing while it is not over."""
        return self._pages(JobFilePage, f"/v1/jobs/{part(job_id)}/files", {}, lambda page: page.files)

    async def fetch_predictions(
        self, job_id: str, folder: Path, *, progress: Callable[[str, int, int], None] | None = None
    ) -> list[Path]:
        """Download what a prediction job left, zips unpacked: `masks/NAME.png` or `.nii.gz`, `samples.csv`, ….

        Every file is checked by its sha256. What an interrupted call has fetched is not fetched again.

        Returns:
            The tables, and the folders of the zips' members.

        Raises:
            ClientError: there is nothing, as the job is not over, or failed.
            DamagedFile: a zip has members of other names than it should.
        """
        files = [file async for file in self.job_files(job_id)]
        if not files:
            raise ClientError(f"Job {job_id} has left no predictions: dale job {job_id} says how far it is.")
        folder.mkdir(parents=True, exist_ok=True)
        marks = folder / UNPACKED
        unpacked = set(marks.read_text().split()) if marks.exists() else set()
        found: dict[Path, None] = {}
        for file in files:
            target = folder / Path(file.name).name
            packed = target.suffix == ".zip"
            place = folder / target.name.partition("-")[0] if packed else target
            found[place] = None
            if file.sha256 in unpacked and place.exists():
                continue
            tell = (lambda done, size, name=file.name: progress(name, done, size)) if progress else None
            with reaching(self.url):
                await download(self._http, file.url, target, sha256=file.sha256, size=file.size, progress=tell)
            if packed:
                _unpack(target, folder)
                target.unlink()
            with marks.open("a") as sink:
                sink.write(f"{file.sha256}\n")
        return list(found)


def _unpack(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            parts = PurePosixPath(name).parts
            plain = len(parts) == 2 and parts[1] != ".." and Path(parts[1]).name == parts[1]  # as this system has paths
            if not plain or parts[0] not in {output.folder for output in Output}:
                raise DamagedFile(f"{path.name} has a member {name!r}, which no prediction has.")
            written(folder / parts[0], parts[1], archive.read(name))
