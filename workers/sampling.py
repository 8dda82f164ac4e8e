"""Which samples a rank sees, step by step: one global permutation per epoch, the same for every world size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """The order of a run's samples.

    The k-th step of an epoch takes the k-th slice of the epoch's permutation as its global batch, and rank r every
    W-th sample of that slice, from its r-th on. So W ranks together take the very steps that one rank takes.

    Args:
        samples: number of samples, N.
        batch_size: of the global batch.
        seed: of the run.
        rank: this process.
        world_size: W; at most `batch_size`.
    """

    samples: int
    batch_size: int
    seed: int
    rank: int
    world_size: int

    @property
    def steps(self) -> int:
        """Steps in an epoch; the last may be smaller."""
        return -(-self.samples // self.batch_size)

    def permutation(self, epoch: int) -> Tensor:
        """The epoch's order of all samples, (N,)."""
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)
        return torch.randperm(self.samples, generator=generator)

    def batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's part of each step: ordinals (b,) and their weights (b,) in the mean over the global batch.

        Every rank takes part in every step. One that the last, smaller step leaves without a sample gets another
        rank's as a stand-in, with weight 0.
        """
        for batch in self.permutation(epoch).split(self.batch_size):
            mine = batch[self.rank :: self.world_size]
            if len(mine):
                yield mine, torch.full((len(mine),), 1 / len(batch))
            else:
                yield batch[:1], torch.zeros(1)

    def reader_of(self, ordinals: Tensor, epoch: int) -> Tensor:
        """The rank that meets each of these samples in an epoch, (n,)."""
        place = torch.empty(self.samples, dtype=torch.long)
        place[self.permutation(epoch)] = torch.arange(self.samples)
        return place[ordinals] % self.batch_size % self.world_size
