"""Which samples look alike to the network that a run delivers.

Two images look alike where the network's deepest features, averaged over the image, point the same way. Features have a
common direction, which says nothing: the mean over the dataset is taken off first.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import structlog
import torch
from torch import Tensor, nn

from workers.contract import keys, tables
from workers.contract.request import Shard
from workers.dataset import AnySamples
from workers.exchange import gather, sum_over_ranks
from workers.nearest import Points, nearest
from workers.run import Run

log = structlog.get_logger()
NEIGHBOURS = 8  # of each sample


class Looks:
    """What samples look like to a network: gathers its deepest features as it predicts them.

    Args:
        network: in evaluation mode; it is not changed, apart from a hook.
        example: a valid input (1, channels, *spatial), on the network's device.
    """

    def __init__(self, network: nn.Module, example: Tensor) -> None:
        layer, self.channels = deepest(network, example)
        self._hook = network.get_submodule(layer).register_forward_hook(self._catch)
        self._passing: list[Tensor] = []
        self._ordinals: list[Tensor] = []
        self._features: list[Tensor] = []

    def _catch(self, module: nn.Module, inputs: tuple[object, ...], output: Tensor) -> None:
        self._passing.append(output.detach().float().flatten(2).mean(2).cpu())

    def keep(self, ordinals: Tensor) -> None:
        """Everything that the network has computed since the last call was of these samples.

        Either a row for each in this order, once or several times over; or of a single sample any number of windows.
        Where the network sees a sample more than once, the mean counts.

        Args:
            ordinals: (b,), int64.
        """
        rows = torch.cat(self._passing).view(-1, len(ordinals), self.channels)
        self._passing = []
        self._ordinals.append(ordinals)
        self._features.append(rows.mean(0))

    def close(self) -> None:
        """Remove the hook."""
        self._hook.remove()

    def write(self, run: Run, samples: AnySamples) -> list[Shard]:
        """Find the neighbours of every sample and write them, each rank its own (`tables.NEIGHBOURS`). A collective.

        Args:
            run: this rank's view of the run.
            samples: what was looked at; this rank's are those that it was told to `keep`.

        Returns:
            What all ranks wrote, by rank.
        """
        ordinals = torch.cat([torch.empty(0, dtype=torch.long), *self._ordinals])
        features = torch.cat([torch.empty(0, self.channels), *self._features])
        hashes = samples.table["image_sha256"].take(pa.array(ordinals.numpy())).to_pylist()
        images = torch.tensor([int(digest[:15], 16) for digest in hashes], dtype=torch.long)
        points = Points(aligned(features, run.device).half(), torch.stack([ordinals, images], dim=1))
        found, similarity, among = nearest(points, len(samples), NEIGHBOURS, run.device)
        there = found >= 0
        columns = {
            "ordinal": ordinals.numpy(),
            "neighbours": [row[known].tolist() for row, known in zip(found, there, strict=True)],
            "similarity": [row[known].tolist() for row, known in zip(similarity, there, strict=True)],
        }
        schema = tables.NEIGHBOURS.with_metadata({tables.AMONG: str(among)})
        data = tables.to_parquet(pa.table(columns, schema=schema), tables.NEIGHBOURS_AT_ONCE)
        key = keys.neighbours(run.request.job_id, run.rank, run.world_size)
        written = run.write(key, data, "application/vnd.apache.parquet")
        return gather(Shard(**written.model_dump(), rows=len(ordinals)))


def aligned(features: Tensor, device: torch.device) -> Tensor:
    """Features without the mean over all ranks' samples, of length 1. A collective.

    Args:
        features: (n, K), of this rank's samples.
        device: where the process group communicates.
    """
    counted = torch.cat([features, torch.ones(len(features), 1)], dim=1).double().sum(0)
    *sums, count = sum_over_ranks(counted, device)
    mean = torch.stack(sums) / count.clamp_min(1)
    return nn.functional.normalize(features.double() - mean, dim=1).float()


def deepest(network: nn.Module, example: Tensor) -> tuple[str, int]:
    """Name of the layer whose output is the coarsest map, and its number of channels.

    Of several the one with the most channels, and of these the first. Layers that run more than once are left out, and
    those that change the batch.

    Args:
        network: in evaluation mode; it is not changed.
        example: a valid input (1, channels, *spatial), on the network's device.
    """
    shapes: dict[str, torch.Size] = {}
    runs: Counter[str] = Counter()

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            runs[name] += 1
            if isinstance(output, Tensor) and output.ndim == example.ndim and len(output) == len(example):
                shapes[name] = output.shape

        return module.register_forward_hook(note)

    hooks = [watch(name, module) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            network(example)
    finally:
        for hook in hooks:
            hook.remove()
    once = {name: shape for name, shape in shapes.items() if runs[name] == 1}
    name = min(once, key=lambda name: (once[name][2:].numel(), -once[name][1]))
    return name, once[name][1]
