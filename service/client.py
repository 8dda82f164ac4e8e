"""Python client of the HTTP API: typed answers, streamed uploads, resumable downloads.

```python
from pathlib import Path
from service.client import Client, JobSpec

with Client("http://127.0.0.1:8000", key) as dale:
    dataset = dale.upload(Path("lesions.zip"))
    job = dale.wait(dale.train(JobSpec(dataset_id=dataset.id, workers=2)).id)
    for sample in itertools.islice(dale.samples(job.id), 20):
        print(sample.sample, sample.confidence)
    dale.fetch(job.id, Path("model"))
```

Everything that it raises on purpose is a `ClientError`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar

import httpx
from pydantic import BaseModel

from service.api.audit import AuditEntry, AuditPage
from service.api.datasets import DatasetPage, DatasetResource, VersionResource
from service.api.jobs import EpochPage, EpochResource, JobPage, JobPlan, JobResource
from service.api.keys import CreatedKey, KeyPage, KeyResource
from service.api.models import ModelPage, ModelResource
from service.api.projects import Me, ProjectPage, ProjectResource
from service.api.samples import HistoryPoint, SampleHistory, SamplePage, SampleResource
from service.api.versions import ChangedSample, Changes, DifferencePage
from service.client_errors import ClientError, DamagedFile, Refused, Unreachable, check, reaching
from service.roles import Role
from service.sending import send_in_parts
from service.sse import Event, parse_events
from service.transfer import CountedFile, Progress, download
from service.wire import given, idempotency, keys_url, part
from workers.contract.request import JobSpec

__all__ = ["Client", "ClientError", "DamagedFile", "Event", "JobSpec", "Refused", "Unreachable"]

Answer = TypeVar("Answer", bound=BaseModel)
PageOf = TypeVar("PageOf", bound=BaseModel)
PAGE = 500
TIMEOUT = httpx.Timeout(30, connect=5)
# Uploads are checked file by file before the answer comes.
UPLOAD_TIMEOUT = httpx.Timeout(None, connect=5)
# The network is built once before a job is accepted; on a busy machine that takes its time.
TRAIN_TIMEOUT = httpx.Timeout(180, connect=5)
# A stream that says nothing for this long (the service sends a sign of life every 15 s) is dead.
SILENCE = httpx.Timeout(60, connect=5)
# How long `follow` tries to come back to a service that has gone away.
PATIENCE_SECONDS = 60.0
TRIES = 3


class Client:
    """A connection to the service; close it, or use it in a `with` block.

    Args:
        url: where the service is, for example http://127.0.0.1:8000.
        key: the API key.
        transport: for tests; else real HTTP.
    """

    def __init__(self, url: str, key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address of a service; it looks like http://127.0.0.1:8000")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # Datasets

    def upload(
        self,
        archive: Path,
        *,
        name: str = "",
        mask_threshold: int | None = None,
        layout: Literal["auto", "folders", "nnunet"] = "auto",
        project: str | None = None,
        progress: Progress | None = None,
    ) -> DatasetResource:
        """Upload a zip of `images/` and `masks/`, or of nnU-Net's raw format; streamed, so memory stays flat.

        It goes to the project of the key; only the operator's key names a `project`.
        """
        fields = given({"name": name or archive.stem, "mask_threshold": mask_threshold, "layout": layout})
        with CountedFile(archive, progress) as file, reaching(self.url):
            response = self._http.post(
                "/v1/datasets",
                files={"file": (archive.name, file, "application/zip")},
                params=given({"project": project}),
                data={field: str(value) for field, value in fields.items()},
                headers=idempotency(),
                timeout=UPLOAD_TIMEOUT,
            )
        return DatasetResource.model_validate_json(check(response).content)

    def upload_in_parts(
        self,
        archive: Path,
        *,
        name: str = "",
        mask_threshold: int | None = None,
        layout: Literal["auto", "folders", "nnunet"] = "auto",
        project: str | None = None,
        resume: str | None = None,
        begun: Callable[[str], None] = lambda upload_id: None,
        progress: Progress = lambda done, size: None,
    ) -> DatasetResource:
        """Upload a zip in parts, straight to the store where it takes them, and wait for the dataset.

        `begun` is told the upload's id; given as `resume`, with the same file, what broke off goes on where it stopped.
        """
        fields = given({"name": name or archive.stem, "mask_threshold": mask_threshold, "layout": layout})
        dataset_id = send_in_parts(
            self._http,
            archive,
            fields,
            project=project,
            resume=resume,
            begun=begun,
            progress=progress,
            headers=idempotency(),
        )
        return self.dataset(dataset_id)

    def dataset(self, dataset_id: str) -> DatasetResource:
        """One dataset."""
        return self._get(DatasetResource, f"/v1/datasets/{part(dataset_id)}")

    def datasets(self) -> Iterator[DatasetResource]:
        """All datasets, newest first."""
        return self._pages(DatasetPage, "/v1/datasets", {}, lambda page: page.datasets)

    def correct(
        self, dataset_id: str, *, masks: Path | None = None, exclude: Sequence[str] = (), base: int | None = None
    ) -> VersionResource:
        """Make the next version of a dataset: a base (None: the newest) without some samples, with other masks.

        `masks` is a zip of `masks/<sample>.png` (of volumes `.nii.gz`).
        """
        changes = Changes(base=base, exclude=list(exclude)).model_dump_json()
        with ExitStack() as opened, reaching(self.url):
            files: dict[str, Any] = {"changes": (None, changes, "application/json")}
            if masks is not None:
                files["file"] = (masks.name, opened.enter_context(masks.open("rb")), "application/zip")
            url = f"/v1/datasets/{part(dataset_id)}/versions"
            response = self._http.post(url, files=files, headers=idempotency(), timeout=UPLOAD_TIMEOUT)
        return VersionResource.model_validate_json(check(response).content)

    def difference(self, dataset_id: str, before: int, now: int) -> Iterator[ChangedSample]:
        """The samples that differ between two versions, in the order of their names."""
        url = f"/v1/datasets/{part(dataset_id)}/versions/{before}/diff/{now}"
        return self._pages(DifferencePage, url, {}, lambda page: page.samples)

    def delete_dataset(self, dataset_id: str) -> None:
        """Delete a dataset with all versions; refused while a job names it."""
        self._send("DELETE", f"/v1/datasets/{part(dataset_id)}")

    # Jobs

    def train(self, spec: JobSpec, *, idempotency_key: str | None = None) -> JobResource:
        """Post a job. Sent again with the same key where the connection fails, so it starts once."""
        headers = idempotency(idempotency_key)
        response = self._send("POST", "/v1/jobs", spec.model_dump(mode="json"), headers, timeout=TRAIN_TIMEOUT)
        return JobResource.model_validate_json(response.content)

    def plan(self, spec: JobSpec) -> JobPlan:
        """What `train` would do; refused as it would be, and nothing is created."""
        body, dry = spec.model_dump(mode="json"), {"dry_run": True}
        response = self._send("POST", "/v1/jobs", body, parameters=dry, timeout=TRAIN_TIMEOUT)
        return JobPlan.model_validate_json(response.content)

    def job(self, job_id: str) -> JobResource:
        """A job as it is now."""
        return self._get(JobResource, f"/v1/jobs/{part(job_id)}")

    def jobs(self, *, state: str | None = None) -> Iterator[JobResource]:
        """Jobs, newest first."""
        return self._pages(JobPage, "/v1/jobs", {"state": state}, lambda page: page.jobs)

    def cancel(self, job_id: str) -> JobResource:
        """Ask a job to end; asking twice does no harm."""
        response = self._send("POST", f"/v1/jobs/{part(job_id)}:cancel")
        return JobResource.model_validate_json(response.content)

    def retry(self, job_id: str) -> JobResource:
        """Queue a job again that failed or was cancelled; it goes on from its newest checkpoint."""
        response = self._send("POST", f"/v1/jobs/{part(job_id)}:retry")
        return JobResource.model_validate_json(response.content)

    def delete(self, job_id: str) -> None:
        """Remove a job that is over, with its model and everything else of it."""
        self._send("DELETE", f"/v1/jobs/{part(job_id)}")

    def epochs(self, job_id: str) -> Iterator[EpochResource]:
        """Metrics of the finished epochs, in order."""
        return self._pages(EpochPage, f"/v1/jobs/{part(job_id)}/epochs", {}, lambda page: page.epochs)

    def logs(self, job_id: str, *, attempt: int | None = None) -> str:
        """The end of a job's log."""
        parameters = given({"attempt": attempt})
        return self._send("GET", f"/v1/jobs/{part(job_id)}/logs", parameters=parameters).text

    def follow(self, job_id: str, *, last_event_id: str | None = None) -> Iterator[Event]:
        """What happens to a job, from the beginning or behind an event, until the job is over.

        Where the connection breaks it is taken up again, without losing or repeating an event that has an id.

        Raises:
            Unreachable: the service stayed away for a minute.
        """
        seen = last_event_id
        alive = time.monotonic()
        while True:
            try:
                for event in self._events(job_id, seen):
                    alive = time.monotonic()
                    seen = event.id or seen
                    yield event
                if self.job(job_id).state.terminal:
                    return
            except Unreachable:
                if time.monotonic() - alive > PATIENCE_SECONDS:
                    raise
            time.sleep(0.5)

    def _events(self, job_id: str, seen: str | None) -> Iterator[Event]:
        headers = {"Last-Event-ID": seen} if seen else {}
        url = f"/v1/jobs/{part(job_id)}/events"
        with reaching(self.url), self._http.stream("GET", url, headers=headers, timeout=SILENCE) as response:
            yield from parse_events(check(response).iter_lines())

    def wait(self, job_id: str) -> JobResource:
        """Wait until a job is over; the answer tells how it ended."""
        for _ in self.follow(job_id):
            pass
        return self.job(job_id)

    # Samples

    def samples(
        self,
        job_id: str,
        *,
        order_by: Literal["score", "confidence", "name", "dice"] = "score",
        order: Literal["asc", "desc"] = "asc",
        name_contains: str | None = None,
        confidence_max: float | None = None,
        score_max: float | None = None,
        page_size: int = PAGE,
    ) -> Iterator[SampleResource]:
        """Samples, the most doubted first; pages are asked for as they are needed."""
        parameters = {
            "order_by": order_by,
            "order": order,
            "name_contains": name_contains,
            "confidence_max": confidence_max,
            "score_max": score_max,
            "page_size": page_size,
        }
        url = f"/v1/jobs/{part(job_id)}/samples"
        return self._pages(SamplePage, url, parameters, lambda page: page.samples)

    def sample(self, job_id: str, name: str) -> SampleResource:
        """What a job believes of one sample now."""
        return self._get(SampleResource, f"/v1/jobs/{part(job_id)}/samples/{part(name)}")

    def history(self, job_id: str, name: str) -> list[HistoryPoint]:
        """What a job believed of one sample, epoch by epoch."""
        return self._get(SampleHistory, f"/v1/jobs/{part(job_id)}/samples/{part(name)}/history").history

    # Models

    def models(self) -> Iterator[ModelResource]:
        """Models, that of the newest job first."""
        return self._pages(ModelPage, "/v1/models", {}, lambda page: page.models)

    def model(self, job_id: str) -> ModelResource:
        """The model of a job that has succeeded."""
        return self._get(ModelResource, f"/v1/models/{part(job_id)}")

    def fetch(
        self, job_id: str, folder: Path, *, progress: Callable[[str, int, int], None] | None = None
    ) -> list[Path]:
        """Download every file of a model into a folder, resumed where it was interrupted, verified by sha256."""
        paths = []
        for file in self.model(job_id).files:
            target = folder / Path(file.name).name
            tell = (lambda done, size, name=file.name: progress(name, done, size)) if progress else None
            with reaching(self.url):
                paths.append(download(self._http, file.url, target, sha256=file.sha256, size=file.size, progress=tell))
        return paths

    # Access

    def me(self) -> Me:
        """Whose key this client shows, and what it may do."""
        return self._get(Me, "/v1/me")

    def projects(self) -> Iterator[ProjectResource]:
        """The projects that the key sees, newest first."""
        return self._pages(ProjectPage, "/v1/projects", {}, lambda page: page.projects)

    def create_project(self, name: str) -> ProjectResource:
        """Make a project; for the operator."""
        response = self._send("POST", "/v1/projects", {"name": name}, idempotency())
        return ProjectResource.model_validate_json(response.content)

    def keys(self, project: str | None) -> Iterator[KeyResource]:
        """The keys of a project (None: of the operator), newest first."""
        return self._pages(KeyPage, keys_url(project), {}, lambda page: page.keys)

    def create_key(
        self, project: str | None, name: str, *, role: Role = Role.ADMIN, expires_at: datetime | None = None
    ) -> CreatedKey:
        """Make a key of a project (None: of the operator). It is in the answer, and never shown again."""
        ends = expires_at.isoformat() if expires_at else None
        fields = {"name": name, "expires_at": ends} | ({"role": role} if project else {})
        # Sent once: a second key, made where only the answer was lost, would be one that nobody knows of.
        with reaching(self.url):
            response = self._http.post(keys_url(project), json=fields)
        return CreatedKey.model_validate_json(check(response).content)

    def revoke_key(self, project: str | None, key_id: str) -> None:
        """End a key of a project (None: of the operator) at once; doing it twice does no harm."""
        self._send("DELETE", f"{keys_url(project)}/{part(key_id)}")

    def audit(
        self,
        *,
        project: str | None = None,
        action: str | None = None,
        key: str | None = None,
        target: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[AuditEntry]:
        """Who changed what, newest first; for admins of their project, for the operator of all."""
        parameters = {
            "project": project,
            "action": action,
            "key": key,
            "target": target,
            "since": since.isoformat() if since else None,
            "until": until.isoformat() if until else None,
        }
        return self._pages(AuditPage, "/v1/audit", parameters, lambda page: page.entries)

    # Wire

    def _get(self, kind: type[Answer], url: str) -> Answer:
        return kind.model_validate_json(self._send("GET", url).content)

    def _pages(
        self, kind: type[PageOf], url: str, parameters: Mapping[str, Any], items: Callable[[PageOf], list[Answer]]
    ) -> Iterator[Answer]:
        asked = {"page_size": PAGE, **given(parameters)}
        while True:
            page = kind.model_validate_json(self._send("GET", url, parameters=asked).content)
            yield from items(page)
            token = getattr(page, "next_page_token", None)
            if not token:
                return
            asked["page_token"] = token

    def _send(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> httpx.Response:
        """Send what may be sent again: where the connection breaks it is, where nobody answers it is not."""
        left = TRIES
        with reaching(self.url):
            while True:
                left -= 1
                try:
                    return check(
                        self._http.request(method, url, json=body, headers=headers, params=parameters, timeout=timeout)
                    )
                except (httpx.NetworkError, httpx.RemoteProtocolError) as error:
                    if isinstance(error, httpx.ConnectError) or not left:
                        raise
