# ruff: noqa: C416
# Made from asynchronous/models.py by `make client`: change that.
"""What the client does with models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from service.client.connection import Connection
from service.client.errors import ClientError, reaching
from service.client.transfer import download
from service.client.wire import given, part
from service.models.stages import Stage
from service.resources.lineage import Lineage
from service.resources.model_comparison import ModelComparison
from service.resources.models import ChangedModel, ModelPage, ModelResource
from workers.contract.request import CheckpointKind


class Models(Connection):
    """List, find, compare, say what they are for, and fetch.

    A model is named by the id of its job, or as `name:3` or `name:production`: by its name, and its number or stage.
    """

    def models(
        self,
        *,
        name: str | None = None,
        version: int | None = None,
        stage: Stage | None = None,
        tag: str | None = None,
        project: str | None = None,
    ) -> Iterator[ModelResource]:
        """Models, that of the newest job first; of one `project`, for the operator. A tag is `key` or `key=value`."""
        asked = {"name": name, "version": version, "stage": stage, "tag": tag, "project": project}
        return self._pages(ModelPage, "/v1/models", asked, lambda page: page.models)

    def model(self, model: str) -> ModelResource:
        """The model of a job that has succeeded, or the one in production or of a number (`name:production`, `name:3`).

        Raises:
            ClientError: no model, or several, are called that.
        """
        return self._get(ModelResource, f"/v1/models/{part(self.model_id(model))}")

    def model_id(self, model: str) -> str:
        """The id of the job of a model; a text without a colon is one already.

        Raises:
            ClientError: no model, or several, are called that.
        """
        name, colon, which = model.rpartition(":")
        if not colon:
            return model
        if not which.isdecimal() and which not in list(Stage):
            raise ClientError(f"{model!r}: behind the colon comes a number, or one of {', '.join(Stage)}.")
        number = int(which) if which.isdecimal() else None
        stage = None if number is not None else Stage(which)
        found = [one for one in self.models(name=name, version=number, stage=stage)]
        if len(found) != 1:
            ids = ", ".join(one.id for one in found[:5])
            raise ClientError(
                f"{len(found)} models are {model!r}: {ids}. Name one by its id." if found else f"No model is {model!r}."
            )
        return found[0].id

    def change_model(
        self,
        model: str,
        *,
        stage: Stage | None = None,
        tags: Mapping[str, str] | None = None,
        description: str | None = None,
        intended_use: str | None = None,
        revision: int | None = None,
    ) -> ChangedModel:
        """Move a model on, tag it, or say what it is for; what is left out stays.

        With the `revision` that was seen, a `Refused` of status 412 says that somebody has changed it meanwhile.
        """
        body = given({"stage": stage, "tags": tags, "description": description, "intended_use": intended_use})
        headers = {"If-Match": "*" if revision is None else f'"{revision}"'}
        response = self._send("PATCH", f"/v1/models/{part(self.model_id(model))}", body, headers)
        return ChangedModel.model_validate_json(response.content)

    def model_card(self, model: str) -> str:
        """The card of a model, in Markdown."""
        return self._send("GET", f"/v1/models/{part(self.model_id(model))}/card").text

    def lineage(self, model: str) -> Lineage:
        """What a model came from."""
        return self._get(Lineage, f"/v1/models/{part(self.model_id(model))}/lineage")

    def compare_models(self, models: Sequence[str]) -> ModelComparison:
        """Compare models on the held-out samples that they have in common; the first is the baseline."""
        ids = [self.model_id(model) for model in models]
        answer = self._send("GET", "/v1/models:compare", parameters={"model": ids})
        return ModelComparison.model_validate_json(answer.content)

    def fetch(
        self,
        model: str,
        folder: Path,
        *,
        checkpoint: CheckpointKind | None = None,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> list[Path]:
        """Download every file of a model into a folder, resumed where it was interrupted, verified by sha256.

        Of a `checkpoint` its weights alone, as `model.safetensors`, and `model.json`, which says how to load them; the
        metrics in there are those of the weights that were delivered.

        Raises:
            ClientError: the model has no such checkpoint.
        """
        found = self.model(model)
        paths, files = [], [(file, Path(file.name).name) for file in found.files]
        if checkpoint is not None:
            kept = next((one for one in found.checkpoints if one.kind == checkpoint), None)
            if kept is None:
                raise ClientError(
                    f"Model {found.id} has no checkpoint {checkpoint!r}: its dataset version has no validation samples."
                )
            names = {kept.file: "model.safetensors", "model.json": "model.json"}
            files = [(file, names[file.name]) for file in found.files if file.name in names]
        for file, name in files:
            target = folder / name
            tell = (lambda done, size, name=name: progress(name, done, size)) if progress else None
            with reaching(self.url):
                paths.append(download(self._http, file.url, target, sha256=file.sha256, size=file.size, progress=tell))
        return paths
