"""The nearest neighbours of many points, each rank with its own: exact, by cosine, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

BLOCK = 4096  # candidates that are compared at a time
QUERIES = 1024  # with so many points at a time
MOST = 131_072  # candidates; of more samples, so many evenly spaced ones


@dataclass(frozen=True)
class Points:
    """One rank's points.

    Attributes:
        features: (n, K), float16, of length 1 (or 0: it is like nothing).
        labels: (n, 2), int64: the sample that each is of, and a number of its image. Samples of the same image are no
            neighbours.
    """

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """Number of points."""
        return len(self.labels)

    def __getitem__(self, which: Tensor | slice) -> Points:
        """Some of them."""
        return Points(self.features[which], self.labels[which])

    def to(self, device: torch.device) -> Points:
        """The same on a device."""
        return Points(self.features.to(device), self.labels.to(device))


def nearest(mine: Points, samples: int, k: int, device: torch.device) -> tuple[Tensor, Tensor, int]:
    """The k nearest of each of this rank's points among all ranks' points. A collective.

    Each rank in turn sends its points, block by block, to all others, and every rank compares each block with its
    own points: n N products on each, and never more than one block of others' points in memory.

    Args:
        mine: this rank's points.
        samples: how many points all ranks have together, N; their samples are 0 … N - 1.
        k: how many to find.
        device: where to compute; also where the process group communicates.

    Returns:
        The samples (n, k) that are nearest, the nearest first, -1 where there are no more; their cosines (n, k), in
        [-1, 1]; both on the CPU. And the number of samples that were compared with each.
    """
    stride = max(1, -(-samples // MOST))
    candidates = mine[mine.labels[:, 0] % stride == 0]
    found, best = torch.full((len(mine), k), -1), torch.full((len(mine), k), -torch.inf)
    for owner in range(dist.get_world_size() if dist.is_initialized() else 1):
        for block in _blocks(candidates, owner, device):
            for start in range(0, len(mine), QUERIES):
                some = slice(start, start + QUERIES)
                found[some], best[some] = _nearer(mine[some].to(device), block, found[some], best[some])
    return found, best, -(-samples // stride)


def _blocks(mine: Points, owner: int, device: torch.device) -> Iterator[Points]:
    """The points of one rank, block by block, on every rank. A collective."""
    if not dist.is_initialized():
        for start in range(0, len(mine), BLOCK):
            yield mine[start : start + BLOCK].to(device)
        return
    owned = dist.get_rank() == owner
    count = torch.tensor([len(mine)], device=device)
    dist.broadcast(count, owner)
    for start in range(0, int(count), BLOCK):
        size = min(BLOCK, int(count) - start)
        if owned:
            block = mine[start : start + size].to(device)
        else:
            features = torch.empty(size, mine.features.shape[1], dtype=mine.features.dtype, device=device)
            block = Points(features, torch.empty(size, 2, dtype=torch.long, device=device))
        dist.broadcast(block.features, owner)
        dist.broadcast(block.labels, owner)
        yield block


def _nearer(some: Points, block: Points, found: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest so far, (b, k) samples and cosines, once a block was looked at."""
    device, k = some.features.device, found.shape[1]
    cosines = some.features.float() @ block.features.float().T
    cosines[some.labels[:, 1, None] == block.labels[:, 1]] = -torch.inf
    here, places = cosines.topk(min(k, len(block)))
    together = torch.cat([best.to(device), here], dim=1)
    samples = torch.cat([found.to(device), block.labels[:, 0][places]], dim=1)
    values, order = together.topk(k)
    return samples.gather(1, order).masked_fill(values == -torch.inf, -1).cpu(), values.cpu()
