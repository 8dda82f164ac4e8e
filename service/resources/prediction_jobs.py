"""What is posted to predict a dataset, and what such a job leaves."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.resources.posting import Priority
from workers.contract.prediction import PredictOptions, PredictSpec


class PostedPrediction(PredictOptions):
    """A prediction job as it is posted: what to predict by which model, and what only the queue needs to know."""

    model: str = Field(
        min_length=1,
        max_length=300,
        pattern=r"^[^\x00]*$",
        description="of the dataset's project: the id of the job that trained it, or NAME:3, or NAME:production",
    )
    priority: Priority = 0

    def spec(self, model_id: str) -> PredictSpec:
        """What a run reads, once it is known which model is meant."""
        return PredictSpec(model_id=model_id, **self.model_dump(include=set(PredictOptions.model_fields)))


class JobFile(BaseModel):
    """A file that a prediction job left."""

    name: str
    size: int
    sha256: str
    media_type: str
    url: str


class JobFilePage(BaseModel):
    """Some files of a job, by name."""

    files: list[JobFile]
    next_page_token: str | None
