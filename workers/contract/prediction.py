"""What to predict: the job that a user posts, the request that a worker reads, and what the run leaves."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from workers.contract.model import Model
from workers.contract.outputs import Output
from workers.contract.request import JobSpec, ResultFile, Shard

Id = r"^[A-Za-z0-9_-]{1,64}$"


class PredictOptions(Model):
    """What a prediction job is to do, but for the model."""

    dataset_id: str = Field(pattern=Id, description="what to predict")
    dataset_version: int = Field(default=1, ge=1, le=2**31 - 1, description="versions are counted from 1")
    name: str = Field(default="", max_length=200, description="a name for people")
    outputs: list[Output] = Field(
        default=[Output.MASK],
        min_length=1,
        max_length=len(Output),
        description="what is kept of each sample beside its row in the table; each becomes zips of its own",
    )
    flips: bool = Field(
        default=False,
        description="mean of the probabilities over all mirror images: 4 times the work, of volumes 8 times",
    )
    batch_size: int = Field(
        default=8, ge=1, le=1024, description="images that each worker shows the network at once; volumes go one by one"
    )
    workers: int = Field(default=1, ge=1, le=1024, description="processes that share the samples")
    min_workers: int | None = Field(
        default=None, ge=1, le=1024, description="go on with as few as these while machines are missing; empty: all"
    )
    gpus_per_worker: int = Field(default=0, ge=0, le=1, description="0 predicts on the CPU, 1 gives each worker a GPU")
    timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=366 * 24 * 3600,
        description="from the POST or a retry on, waiting included; a job that takes longer is stopped and fails",
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers {self.min_workers} is more than workers {self.workers}")
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError("outputs names one twice")
        return self


class PredictSpec(PredictOptions):
    """A prediction job: what a trained model says of every sample of a dataset version."""

    model_id: str = Field(pattern=Id, description="the model, by the id of the job that trained it")


AnySpec = JobSpec | PredictSpec  # neither takes the other's fields, so that what is read is told by them


class PredictRequest(Model):
    """`jobs/<id>/request.json` of a prediction job; it never changes once written."""

    job_id: str = Field(pattern=Id)
    spec: PredictSpec


class PredictedShard(Model):
    """The commit mark of a shard, some samples that one worker has predicted: written last."""

    number: int = Field(ge=0)
    files: list[ResultFile] = Field(description="a zip for each output")
    rows: Shard = Field(description="one for each sample (`tables.predictions`)")


class PredictionManifest(Model):
    """`jobs/<id>/result/manifest.json` of a prediction job: written last; present means that the run is complete."""

    job_id: str
    attempt: int = Field(ge=1)
    samples: int = Field(ge=1)
    metrics: dict[str, float]
    files: list[ResultFile]
