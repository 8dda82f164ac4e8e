"""What to train: the job that a user posts and the request that a worker reads.

The same models validate the HTTP body and the worker's input, so both sides refuse the same things.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal, get_args

from pydantic import Field, JsonValue, field_validator, model_validator

from workers.contract.evaluation import Evaluation
from workers.contract.model import Model


class NetworkSpec(Model):
    """A MONAI network by name, with the arguments of its constructor.

    `spatial_dims`, `in_channels`, `out_channels` and the image size are filled in from the data.
    """

    name: str = Field(
        default="UNet", pattern=r"^[A-Za-z][A-Za-z0-9]{0,63}$", description="class in monai.networks.nets"
    )
    arguments: dict[str, JsonValue] = Field(default_factory=dict, description="constructor arguments by name")

    @field_validator("arguments")
    @classmethod
    def _text_can_be_written(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        # JSON can name half of a surrogate pair, which UTF-8 has no bytes for.
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("has text that is not Unicode") from error
        return value


class PlainMethod(Model):
    """Plain training: every label is believed."""

    name: Literal["plain"] = "plain"


class DaleMethod(Model):
    """DALE's hyperparameters; the meaning of each is documented at `dale.DaleConfig`."""

    name: Literal["dale"] = "dale"
    start: float = Field(default=0.4, ge=0, le=1, description="share of the epochs before the first confidence step")
    ramp: float = Field(default=0.1, ge=0, le=1, description="share of the epochs over which the effect grows to full")
    temperature: float = Field(default=0.03, gt=0, le=1, description="T: softness of the threshold, in units of Dice")
    momentum: float = Field(default=0.7, ge=0, lt=1, description="weight of the past in a sample's trajectory")
    consistency: float = Field(default=0.5, ge=0, le=100, description="weight of the consistency between two views")
    ema_decay: float = Field(default=0.99, ge=0, lt=1, description="decay of the teacher's moving average, per step")
    refinement: Literal["sample", "pixel"] = Field(
        default="sample", description="whether doubt falls on a sample's every pixel or where the teacher disagrees"
    )
    mixing: float = Field(
        default=0.5, ge=0, le=1, description="share of the pairs of samples that exchange a box of image and label"
    )
    mix_after: int = Field(default=50, ge=0, le=1_000_000, description="epochs that pass before samples mix")
    stability: float = Field(default=0.0, ge=0, le=100, description="weight of the agreement over scales; 0 = off")
    alignment: Literal["none", "mmd", "adversarial", "wasserstein"] = Field(
        default="none", description="how features of doubted samples are drawn to those of believed ones"
    )
    alignment_weight: float = Field(default=0.1, ge=0, le=100, description="weight of the alignment")
    feature_layer: str = Field(default="", max_length=200, description="layer to align; empty: before the head")
    begin_with: Literal["nothing", "agreement"] = Field(
        default="nothing",
        description="agreement: labels that other annotators' of the same image contradict weigh less from the start",
    )


ExportName = Literal["torchscript", "torch_export", "onnx", "monai_bundle"]
EXPORTS: tuple[ExportName, ...] = get_args(ExportName)
CheckpointKind = Literal["last", "best"]


Method = Annotated[DaleMethod | PlainMethod, Field(discriminator="name")]


class JobSpec(Model):
    """A training job, as a user posts it."""

    dataset_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="what to train on")
    dataset_version: int = Field(default=1, ge=1, le=2**31 - 1, description="versions are counted from 1")
    name: str = Field(default="", max_length=200, description="a name for people")
    network: NetworkSpec = Field(default=NetworkSpec(), description="what is trained")
    method: Method = Field(default=DaleMethod(), description="whether labels are doubted, and how")
    epochs: int = Field(default=60, ge=1, le=100_000, description="passes over the data")
    batch_size: int = Field(default=16, ge=1, le=65_536, description="samples of one step, over all workers together")
    image_size: int = Field(default=128, ge=16, le=4096, description="images are resized to this many pixels square")
    patch_size: int = Field(
        default=32, ge=16, le=512, description="edge of the cubes that volumes are trained on, in voxels"
    )
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="of the optimizer")
    augmentation: Literal["light", "strong"] = Field(
        default="strong", description="how far the random views go: rotation by any angle, or by a few degrees"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the network's products; bfloat16 is faster where the hardware has it"
    )
    accumulation: int = Field(
        default=1,
        ge=1,
        le=65_536,
        description="parts that each worker's share of a batch is split into, one after the other, to need less memory",
    )
    sharding: Literal["none", "full"] = Field(
        default="none",
        description="full: each worker holds a share of weights and optimizer, for networks that do not fit",
    )
    compile: bool | None = Field(
        default=None,
        description="compile network and teacher (torch.compile): cheaper steps, a start that takes up to minutes "
        "longer; empty: in long runs of networks that are known to gain",
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="the same seed, the same training")
    workers: int = Field(default=1, ge=1, le=1024, description="processes that train together")
    min_workers: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="go on with as few as these while machines are missing; empty: only with all",
    )
    gpus_per_worker: int = Field(default=0, ge=0, le=1, description="0 trains on the CPU, 1 gives each worker a GPU")
    warm_start: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="a job of the same project whose model the training starts from: of the same network, arguments "
        "and classes; optimizer and confidences start anew",
    )
    exports: list[ExportName] = Field(
        default=list(EXPORTS),
        max_length=len(EXPORTS),
        description="forms of the final model besides safetensors; each is compared with the trained network, and "
        "one that disagrees is not published",
    )
    validate_every: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="epochs from one look at the validation samples to the next; the last epoch is always looked at; "
        "empty: as often as it is cheap",
    )
    deliver: CheckpointKind = Field(
        default="last",
        description="which weights become the model: those at the end, or of the epoch with the highest Dice on the "
        "validation samples",
    )
    timeout_seconds: int | None = Field(
        default=None,
        ge=1,
        le=366 * 24 * 3600,
        description="from the POST or a retry on, waiting included; a job that takes longer is stopped and fails",
    )

    @model_validator(mode="after")
    def _batch_covers_workers(self) -> JobSpec:
        if self.batch_size < self.workers:
            raise ValueError(
                f"batch_size {self.batch_size} is smaller than workers {self.workers}: "
                "each worker needs at least one sample of every step"
            )
        if self.sharding == "full" and self.compile:
            raise ValueError("sharding full and compile do not go together: switch one of them off")
        if self.min_workers is not None and self.min_workers > self.workers:
            raise ValueError(f"min_workers {self.min_workers} is more than workers {self.workers}")
        return self


class TrainRequest(Model):
    """`jobs/<id>/request.json`: all that a run needs to know; it never changes once written."""

    job_id: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    spec: JobSpec


class WrittenObject(Model):
    """An object that a run wrote: where, how large, and its checksum."""

    key: str
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Shard(WrittenObject):
    """The rows of a table that one rank wrote: confidences at the end of an epoch, scores at the end of the run."""

    rows: int = Field(ge=0)


class BestWeights(WrittenObject):
    """Weights of the network that would be delivered, after the epoch that is the best so far."""

    epoch: int = Field(ge=0, description="counted from 0")
    dice: float = Field(ge=0, le=1, description="mean over the validation samples, highest of all; of equals the first")


class EpochManifest(Model):
    """The commit mark of an epoch: written last, names everything that the epoch wrote."""

    job_id: str
    attempt: int = Field(ge=1)
    epoch: int = Field(ge=0, description="counted from 0")
    world_size: int = Field(ge=1)
    metrics: dict[str, float]
    shards: list[Shard]
    best: BestWeights | None = Field(default=None, description="of this epoch and those before; null: none was judged")


class CheckpointManifest(Model):
    """The commit mark of a checkpoint: written last, names every file of it with its checksum."""

    job_id: str
    attempt: int = Field(ge=1)
    epochs_done: int = Field(ge=0)
    steps: int = Field(ge=0, description="steps of the epoch under way")
    world_size: int = Field(ge=1)
    files: list[WrittenObject]


class Progress(Model):
    """`jobs/<id>/progress.json`: overwritten about every second by rank 0."""

    attempt: int = Field(ge=1)
    epoch: int = Field(ge=0, description="the epoch under way, counted from 0")
    epochs: int = Field(ge=1)
    step: int = Field(ge=0, description="steps done, over all epochs")
    steps: int = Field(ge=1, description="steps of the whole run")
    loss: float | None = Field(default=None, description="null where nothing is learned: a prediction is one epoch")
    samples_per_second: float
    eta_seconds: float
    heartbeat: float = Field(description="seconds since 1970, UTC")


class ResultFile(WrittenObject):
    """One file of a finished model."""

    name: str = Field(pattern=r"^[A-Za-z0-9._-]{1,128}$")
    media_type: str


class KeptCheckpoint(Model):
    """Weights of a run that can be had: one of the files of its result."""

    kind: CheckpointKind
    epoch: int = Field(ge=0, description="counted from 0")
    validation_dice: float | None = Field(ge=0, le=1, description="mean over the validation samples; null: none")
    file: str = Field(description="its name among the files; model.safetensors is what is delivered")


class ExportReport(Model):
    """How one form of the final model came out, compared with the trained network on some samples."""

    name: ExportName
    file: str | None = Field(default=None, description="of the model's files; null: not published, for the reason")
    reason: str = Field(default="", description="why it was not published")
    samples: int = Field(default=0, ge=0, description="images or volumes that were compared")
    max_difference: float | None = Field(
        default=None, ge=0, description="the largest of probabilities, over all classes"
    )
    differing_pixels: int | None = Field(default=None, ge=0, description="pixels or voxels of another class")
    seconds: float = Field(default=0.0, ge=0, description="that it took")


class ResultManifest(Model):
    """`jobs/<id>/result/manifest.json`: written last; present means that the run is complete."""

    job_id: str
    attempt: int = Field(ge=1)
    epochs: int
    metrics: dict[str, float]
    files: list[ResultFile]
    checkpoints: list[KeptCheckpoint] = Field(default=[], description="last, and best if epochs were compared")
    test: list[Shard] = Field(default=[], description="scores of the held-out samples (`tables.TEST_SCORES`)")
    evaluation: Evaluation | None = Field(default=None, description="metrics on the held-out samples, if there are any")
    reasons: list[Shard] = Field(default=[], description="why labels are doubted (`tables.REASONS`)")
    neighbours: list[Shard] = Field(default=[], description="which samples look alike (`tables.NEIGHBOURS`), by rank")
    exports: list[ExportReport] = Field(default=[], description="the forms of the model that were asked for")
    predictions: bool = Field(description="whether every sample has its result/predictions/<ordinal>.png (.nii.gz)")
    maps: bool = Field(default=False, description="whether every sample has its result/maps/<ordinal>.png (.nii.gz)")


class Failure(Model):
    """`jobs/<id>/attempts/<n>/failure.json`: why an attempt failed, in words that a person can act on."""

    cause: str = Field(description="what happened")
    hint: str = Field(default="", description="what to do about it")
    kind: Literal["network", "data", "out_of_memory", "worker_lost", "store", "timeout", "internal"] = "internal"
    detail: str = Field(default="", description="the last lines of the log or the traceback, for the curious")
