"""What the steps of an epoch have told so far; a checkpoint in the middle of an epoch keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Gathered:
    """One rank's share.

    Attributes:
        steps: of the epoch that are done.
        ordinals: of the samples that this rank has met, one tensor a step.
        values: the evidence about them, (b, 5) each, on the device that computes.
        loss: (1,), sum of their losses.
    """

    steps: int = 0
    ordinals: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    loss: Tensor = field(default_factory=lambda: torch.zeros(1))

    @property
    def evidence(self) -> tuple[Tensor, Tensor]:
        """Ordinals (n,) and values (n, 5) of all steps, on the CPU, as `ConfidenceState.observe` takes them."""
        ordinals = torch.cat([torch.empty(0, dtype=torch.long), *self.ordinals])
        return ordinals, torch.cat([torch.empty(0, 5, device=self.loss.device), *self.values]).cpu()

    def to(self, device: torch.device) -> Gathered:
        """The same on a device."""
        return Gathered(self.steps, self.ordinals, [v.to(device) for v in self.values], self.loss.to(device))

    def state_dict(self) -> dict[str, Tensor]:
        """All but the steps, on the CPU."""
        ordinals, values = self.evidence
        return {"ordinals": ordinals, "values": values, "loss": self.loss.cpu()}

    @staticmethod
    def of(steps: int, shards: list[dict[str, Tensor]]) -> Gathered:
        """Take up shares of an earlier attempt: any rank may have any of them, as they go to the owners in the end."""
        loss = sum((shard["loss"] for shard in shards), torch.zeros(1))
        return Gathered(steps, [shard["ordinals"] for shard in shards], [shard["values"] for shard in shards], loss)
