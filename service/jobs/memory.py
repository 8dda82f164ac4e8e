"""What a step of a job takes of a worker's memory, before anything is trained.

The service has no torch: a process of its own counts what a network keeps (`workers.memory`). The rest is arithmetic.
"""

from __future__ import annotations

import functools
import json
import math
import subprocess
import sys
from dataclasses import dataclass

from service import logging
from service.jobs.networks import CHECK_SECONDS
from workers.contract.request import DaleMethod, JobSpec

log = logging.get(__name__)
LOSS_MAPS = 6  # maps of logits that loss and evidence keep for the backward pass: counted in a step
# What the backward pass makes and drops, and what the allocator does not give back: decision 33 has what was measured.
SLACK = 2.0
PROCESS_BYTES = 600 << 20  # torch, MONAI and Ray, before there is a network


@dataclass(frozen=True)
class Footprint:
    """What `workers.memory.Footprint` says of a network at one size, in bytes."""

    parameters: int
    buffers: int
    activations: int
    once: int
    map: int


@dataclass(frozen=True)
class Memory:
    """What one worker takes at the height of a step, in bytes.

    Attributes:
        weights: the network.
        gradients: as large as what learns.
        optimizer: two moments of what learns.
        teacher: the other network.
        activations: what the forward pass keeps for the backward pass, and as much again that comes and goes.
        process: the libraries.
    """

    weights: int
    gradients: int
    optimizer: int
    teacher: int
    activations: int
    process: int = PROCESS_BYTES

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.teacher + self.activations + self.process


def estimate(spec: JobSpec, found: Footprint, spatial_dims: int) -> Memory:
    """What a worker of a job takes.

    Args:
        spec: the job.
        found: of its network, at its size of images or patches.
        spatial_dims: 2 or 3.
    """
    shares = spec.workers if spec.sharding == "full" else 1
    rows = math.ceil(math.ceil(spec.batch_size / spec.workers) / spec.accumulation)
    network = found.activations / (2 if spec.precision == "bfloat16" else 1)
    kept = rows * (network + LOSS_MAPS * found.map) + found.once
    if isinstance(spec.method, DaleMethod) and spec.method.stability > 0:
        kept += rows * network / 2**spatial_dims  # the same images at half resolution
    whole = found.parameters + found.buffers
    return Memory(
        weights=whole // shares,
        gradients=found.parameters // shares,
        optimizer=2 * found.parameters // shares,
        teacher=whole // shares,
        activations=int(SLACK * kept),
    )


def footprints(
    spec: JobSpec, sizes: tuple[int, ...], classes: int, channels: int, spatial_dims: int
) -> list[Footprint | None] | None:
    """The network at each of these sizes, None for one that it does not take; None where that cannot be known."""
    found = _count(spec.network.model_dump_json(), sizes, classes, channels, spatial_dims)
    return [Footprint(**one) if one else None for one in found] if found is not None else None


@functools.lru_cache(maxsize=256)
def _count(
    network: str, sizes: tuple[int, ...], classes: int, channels: int, spatial_dims: int
) -> list[dict[str, int] | None] | None:
    """The answer of the counting process; it holds for good, so it is kept."""
    question = {
        "network": json.loads(network),
        "sizes": sizes,
        "channels": channels,
        "classes": classes,
        "spatial_dims": spatial_dims,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-m", "workers.memory"],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            timeout=CHECK_SECONDS,
            check=False,
        )
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (subprocess.TimeoutExpired, ValueError, IndexError) as error:
        log.warning("memory of a network is not known", error=repr(error))
        return None
    return list(answer)
