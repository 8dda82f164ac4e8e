"""Which samples a rank sees, step by step: one global order per epoch, the same for every world size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.shuffle import Shuffle


@dataclass(frozen=True)
class Plan:
    """The order of a run's samples.

    The k-th step of an epoch takes the k-th slice of the epoch's order (`Shuffle`) as its global batch, and rank r
    every W-th sample of that slice, from its r-th on. So W ranks together take the very steps that one rank takes, and
    each computes only its own part of the order: O(N / W) time and memory.

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

    def met(self, epoch: int) -> Tensor:
        """The samples that this rank meets in an epoch, in the order of its steps, (n,), int64."""
        within = torch.arange(self.rank, self.batch_size, self.world_size)
        first = torch.arange(0, self.samples, self.batch_size)
        places = (first[:, None] + within).flatten()
        return self._order(epoch).ordinals(places[places < self.samples])

    @property
    def whole(self) -> float:
        """Weight of a sample in the mean over a whole global batch, in float32; larger in a last, smaller step."""
        return float(torch.tensor(1 / min(self.batch_size, self.samples)))

    def batches(self, epoch: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """This rank's part of each step: ordinals (b,) and their weights (b,) in the mean over the global batch.

        Every rank takes part in every step. One that the last, smaller step leaves without a sample gets another
        rank's as a stand-in, with weight 0.

        Args:
            epoch: counted from 0.
            first: the step to begin with.
        """
        met, most = self.met(epoch), len(range(self.rank, self.batch_size, self.world_size))
        for step in range(first, self.steps):
            size = min(self.batch_size, self.samples - step * self.batch_size)
            mine = met[step * most : (step + 1) * most]
            if len(mine):
                yield mine, torch.full((len(mine),), 1 / size)
            else:
                yield self._order(epoch).ordinals(torch.tensor([step * self.batch_size])), torch.zeros(1)

    def reader_of(self, ordinals: Tensor, epoch: int) -> Tensor:
        """The rank that meets each of these samples in an epoch, (n,), int64."""
        return self._order(epoch).places(ordinals) % self.batch_size % self.world_size

    def _order(self, epoch: int) -> Shuffle:
        return Shuffle(self.samples, self.seed, epoch)
