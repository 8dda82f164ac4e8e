"""The Ray Train side: how many workers, where checkpoints go, what happens when one is lost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import unquote, urlsplit

import pyarrow.fs
import ray.train
import torch
from ray.train import Checkpoint, CheckpointConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.train.v2.api.config import FailureConfig

from workers.contract import keys
from workers.contract.request import TrainRequest
from workers.contract.store import open_store
from workers.logging import configure_logging

MAX_WORKER_FAILURES = 3
CHECKPOINTS_KEPT = 2


class LoopConfig(TypedDict):
    """What Ray Train hands to every worker."""

    request: str
    attempt: int
    store_url: str


def run_on_ray(request: TrainRequest, attempt: int, store_url: str) -> None:
    """Train on Ray; returns when the result is written.

    Raises:
        ray.train.TrainingFailedError: a worker failed more often than is borne.
    """
    spec = request.spec
    filesystem, path = storage(store_url, keys.job(request.job_id).rstrip("/"))
    trainer = TorchTrainer(
        train_on_worker,
        train_loop_config=dict(LoopConfig(request=request.model_dump_json(), attempt=attempt, store_url=store_url)),
        torch_config=TorchConfig(backend="nccl" if spec.gpus_per_worker else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=spec.workers,
            use_gpu=spec.gpus_per_worker > 0,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if spec.gpus_per_worker else {})},
        ),
        # A run of the same name resumes from its last checkpoint: so does every further attempt of a job.
        run_config=RunConfig(
            name=Path(keys.checkpoints(request.job_id)).name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=MAX_WORKER_FAILURES, controller_failure_limit=1),
            checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
        ),
    )
    trainer.fit()


def train_on_worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    from workers.loop import train  # noqa: PLC0415 - the driver, which imports this module, needs no MONAI
    from workers.run import Run  # noqa: PLC0415

    context = ray.train.get_context()
    request = TrainRequest.model_validate_json(config["request"])
    configure_logging(job_id=request.job_id, attempt=config["attempt"], rank=context.get_world_rank())
    torch.set_num_threads(1)
    run = Run(
        request=request,
        attempt=config["attempt"],
        store=open_store(config["store_url"]),
        rank=context.get_world_rank(),
        world_size=context.get_world_size(),
        device=get_device(),
    )

    def save_checkpoint(epochs_done: int, write: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder))
            ray.train.report({"epochs_done": epochs_done}, checkpoint=Checkpoint.from_directory(folder))

    latest = ray.train.get_checkpoint()
    if latest is None:
        train(run, save_checkpoint)
    else:
        with latest.as_directory() as folder:
            train(run, save_checkpoint, resume=Path(folder))


def storage(store_url: str, key: str) -> tuple[pyarrow.fs.FileSystem | None, str]:
    """Where Ray Train keeps a run's checkpoints: the same store, in its own terms.

    Returns:
        A filesystem (None for the local one) and the path of `key` in it.
    """
    parts = urlsplit(store_url)
    if parts.scheme == "file":
        return None, str(Path(unquote(parts.path)) / key)
    from workers.contract.store_s3 import ACCESS_KEY, SECRET_KEY, S3Location  # noqa: PLC0415

    location = S3Location.from_url(store_url)
    filesystem = pyarrow.fs.S3FileSystem(
        access_key=os.environ[ACCESS_KEY],
        secret_key=os.environ[SECRET_KEY],
        endpoint_override=location.endpoint,
        scheme="https" if location.secure else "http",
        region=location.region,
    )
    return filesystem, f"{location.bucket}/{location.prefix}{key}"
