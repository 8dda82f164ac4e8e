"""The Ray Train side: how many workers, what they do, and what happens when one is lost.

Ray Train starts the workers again from the beginning of `train_on_worker`; what was done before lies in our own store
(`workers.checkpoint`), so Ray's storage is memory and no path on any machine matters.

Driver and controller import this module and nothing heavy; torch and MONAI are for the workers alone.
"""

from __future__ import annotations

import os
from typing import Any, TypedDict

import ray.train
from fsspec.implementations.memory import MemoryFileSystem
from pyarrow.fs import FSSpecHandler, PyFileSystem
from ray.train import RunConfig
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.config import FailureConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from workers.contract.prediction import PredictRequest
from workers.contract.request import TrainRequest
from workers.contract.store import open_store
from workers.logging import configure_logging
from workers.patience import PatientStore

MAX_WORKER_FAILURES = 3
MAX_STARTS_WITHOUT_ROOM = 30  # each waits a minute; for a while after its loss, Ray counts a machine as there
COLLECTIVE_TIMEOUT = "DALE_COLLECTIVE_TIMEOUT_SECONDS"  # a worker that hangs is given up after this time
RESIZE_INTERVAL = "DALE_RESIZE_SECONDS"  # how often an elastic run looks for machines that came (back)


class LoopConfig(TypedDict):
    """What Ray Train hands to every worker."""

    request: str
    attempt: int
    store_url: str
    collective_seconds: float


class SharedDevices(Backend):
    """Lets the workers of a machine see each other's GPUs, as NCCL needs; the process group is `workers.group`'s."""

    share_cuda_visible_devices = True


class SharedDevicesConfig(BackendConfig):
    """Chooses `SharedDevices`."""

    @property
    def backend_cls(self) -> type[Backend]:
        """The class itself."""
        return SharedDevices


def run_on_ray(request: TrainRequest | PredictRequest, attempt: int, store_url: str) -> None:
    """Train, or predict, on Ray; returns when the workers are done.

    Raises:
        ray.train.TrainingFailedError: a worker failed more often than is borne.
    """
    spec = request.spec
    fewest = spec.min_workers or spec.workers
    # Longer than one rank may wait for the store (`workers.patience`) while the others wait for it.
    hang = float(os.environ.get(COLLECTIVE_TIMEOUT, "600"))
    # Ray Train polls its workers in this rhythm; one that does not answer for as long as a collective may take is dead.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    os.environ.setdefault("RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S", str(hang))
    os.environ.setdefault("RAY_TRAIN_COLLECTIVE_TIMEOUT_S", str(hang))
    # One process less to start on every node; a machine that is taken away costs what a lost one does.
    os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    config = LoopConfig(
        request=request.model_dump_json(), attempt=attempt, store_url=store_url, collective_seconds=hang
    )
    trainer = DataParallelTrainer(
        train_on_worker if isinstance(request, TrainRequest) else predict_on_worker,
        train_loop_config=dict(config),
        backend_config=SharedDevicesConfig(),
        scaling_config=ScalingConfig(
            num_workers=spec.workers if fewest == spec.workers else (fewest, spec.workers),
            use_gpu=spec.gpus_per_worker > 0,
            resources_per_worker={"CPU": 1, **({"GPU": 1} if spec.gpus_per_worker else {})},
            elastic_resize_monitor_interval_s=float(os.environ.get(RESIZE_INTERVAL, "30")),
        ),
        run_config=RunConfig(
            name=f"{request.job_id}-{attempt}",
            storage_path="/ray",
            storage_filesystem=PyFileSystem(FSSpecHandler(MemoryFileSystem())),
            failure_config=FailureConfig(
                max_failures=MAX_WORKER_FAILURES, controller_failure_limit=MAX_STARTS_WITHOUT_ROOM
            ),
        ),
    )
    trainer.fit()


def train_on_worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker runs."""
    from workers.group import join  # noqa: PLC0415 - the driver, which imports this module, needs no torch
    from workers.loop import train  # noqa: PLC0415
    from workers.run import Run  # noqa: PLC0415

    context = ray.train.get_context()
    request = TrainRequest.model_validate_json(config["request"])
    configure_logging(job_id=request.job_id, attempt=config["attempt"], rank=context.get_world_rank())
    train(
        Run(
            request=request,
            attempt=config["attempt"],
            store=PatientStore(open_store(config["store_url"])),
            rank=context.get_world_rank(),
            world_size=context.get_world_size(),
            device=join(request.spec.gpus_per_worker > 0, config["collective_seconds"]),
        )
    )


def predict_on_worker(config: dict[str, Any]) -> None:
    """What each Ray Train worker of a prediction job runs. The workers form no group: none waits for another."""
    import torch  # noqa: PLC0415

    from workers.predicting.loop import predict_share  # noqa: PLC0415

    context = ray.train.get_context()
    request = PredictRequest.model_validate_json(config["request"])
    configure_logging(job_id=request.job_id, attempt=config["attempt"], rank=context.get_world_rank())
    torch.set_num_threads(1)
    device = torch.device("cpu")
    if request.spec.gpus_per_worker:
        from ray.train.torch import get_device  # noqa: PLC0415 - costs seconds, and only GPUs need it

        device = get_device()
    predict_share(
        request,
        config["attempt"],
        PatientStore(open_store(config["store_url"])),
        context.get_world_rank(),
        context.get_world_size(),
        device,
    )
