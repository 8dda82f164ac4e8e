"""A learner of noise, and a few steps of it: the same for any number of ranks and parts."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.contract.request import JobSpec
from workers.data import Statistics
from workers.learner import Learner

# Without biases: before a normalisation their gradient is rounding alone, which Adam makes a step of.
UNET = {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2], "bias": False}}
BATCH, STEPS, SIZE = 7, 10, 16


def learner_of(
    rank: int = 0, world_size: int = 1, weights: dict[str, Tensor] | None = None, **options: object
) -> Learner:
    """A learner whose confidences act from the first step on."""
    given = {"dataset_id": "ds-1", "epochs": 4, "batch_size": BATCH, "image_size": SIZE, "network": UNET}
    method = {"name": "dale", "start": 0.0, "ramp": 0.0}
    spec = JobSpec.model_validate(given | {"method": method} | options)
    statistics = Statistics(torch.full((3,), 0.5), torch.full((3,), 0.3), torch.tensor([0.8, 0.2]))
    return Learner(spec, statistics, 100, torch.device("cpu"), rank, world_size, weights=weights)


def learn(learner: Learner, steps: int = STEPS) -> Tensor:
    """Loss and evidence of each of this rank's rows, (n, 6), over a few steps; every fourth has one row only."""
    learner.begin_epoch(0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    labels = (images[:, 0] > 128).byte()
    rows: list[Tensor] = []
    for number in range(steps):
        size = 1 if number % 4 == 3 else BATCH
        mine = torch.arange(size)[learner.rank :: learner.world_size]
        weights = torch.full((len(mine),), 1 / size)
        if not len(mine):  # as `Plan.batches` does it
            mine, weights = torch.arange(1), torch.zeros(1)
        step = learner.step(images[mine], labels[mine], mine, weights, torch.linspace(0, 1, BATCH)[mine], 0)
        rows.append(torch.cat([step.loss.detach()[:, None], step.evidence], dim=1)[weights > 0])
    return torch.cat(rows)
