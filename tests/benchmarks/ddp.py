"""`python -m tests.benchmarks.ddp`: steps of a job beside steps of a bare PyTorch DDP loop, on one and two processes.

The bare loop is what one writes without us: MONAI's network under `DistributedDataParallel`, AdamW, cross-entropy and
soft Dice, without views, clipping or moving average. Both take turns in the same processes, on the same network and
number of samples; the ratio of each pair counts.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from monai.losses.dice import DiceCELoss
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from tests.benchmarks.step_cost import BATCH, SIZE, batch_of, learner_of
from tests.ranks import leave
from workers.network import build_network

PAIRS, WARM_UP = 60, 4
Ratios = np.ndarray[Any, np.dtype[np.float64]]


def bare_step(world_size: int) -> Callable[[], None]:
    """A function that takes one step of a bare DDP loop, always on the same batch."""
    learner = learner_of("plain")
    network = DistributedDataParallel(build_network("UNet", learner.arguments))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)
    loss_of: nn.Module = DiceCELoss(softmax=True, to_onehot_y=True)
    images, labels = batch_of(BATCH // world_size, SIZE)
    inputs, target = images.float() / 255, labels[:, None].long()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(network(inputs), target).backward()
        optimizer.step()

    return step


def our_step(method: str, rank: int, world_size: int, compiled: bool | None = None) -> Callable[[], None]:
    """A function that takes one step of a job, always on the same batch."""
    learner = learner_of(method, rank, world_size, compiled=compiled)
    learner.begin_epoch(0)
    ordinals = torch.arange(rank, BATCH, world_size)
    images, labels = batch_of(len(ordinals), SIZE)
    weights, confidence = torch.full((len(ordinals),), 1 / BATCH), torch.linspace(0, 1, len(ordinals))

    def step() -> None:
        learner.step(images, labels, ordinals, weights, confidence, 0)

    return step


def time_ratios(method: str, world_size: int, compiled: bool | None = None) -> Ratios:
    """Time of a job's step over that of the bare step just before it, for each pair; in fresh processes.

    Args:
        method: "plain", or one of `step_cost.VARIANTS`.
        world_size: number of processes.
        compiled: the job's `compile`, None being the default; the bare loop is never compiled.
    """
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_rank, (method, world_size, compiled, folder), nprocs=world_size)
        ratios: Ratios = np.load(Path(folder) / "ratios.npy")
        return ratios


def _rank(rank: int, method: str, world_size: int, compiled: bool | None, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size)
    pair = bare_step(world_size), our_step(method, rank, world_size, compiled)
    seconds = np.empty((PAIRS + WARM_UP, 2))
    for row in seconds:
        for column, step in enumerate(pair):
            dist.barrier()
            begun = time.perf_counter()
            step()
            dist.barrier()
            row[column] = time.perf_counter() - begun
    if rank == 0:
        np.save(Path(folder) / "ratios.npy", seconds[WARM_UP:, 1] / seconds[WARM_UP:, 0])
    dist.barrier()
    leave()


def main() -> None:
    """Print the ratios."""
    for world_size in (1, 2):
        for method, compiled in itertools.product(("plain", "dale"), (None, False)):
            low, middle, high = np.quantile(time_ratios(method, world_size, compiled), (0.25, 0.5, 0.75))
            name = method if compiled is None else f"{method}, not compiled"
            print(f"{name}, {world_size} processes: {middle:.2f} bare steps (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
