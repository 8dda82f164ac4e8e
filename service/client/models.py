"""What the client does with models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from service.api.models import ModelPage, ModelResource
from service.client.connection import Connection
from service.client.errors import reaching
from service.client.transfer import download
from service.client.wire import part


class Models(Connection):
    """List and fetch."""

    def models(self, *, project: str | None = None) -> Iterator[ModelResource]:
        """Models, that of the newest job first; of one `project`, for the operator."""
        return self._pages(ModelPage, "/v1/models", {"project": project}, lambda page: page.models)

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
