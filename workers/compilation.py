"""Whether a run's network is compiled: as the job says, and where it says nothing, where that is known to pay."""

from __future__ import annotations

import os
import shutil

import torch

from workers.contract.request import JobSpec

# What was measured (docs/decisions/0020): on one core, compiling earns its time back after 7e7 pixels.
PAYING_NETWORKS = frozenset({"UNet"})
PAYING_PIXELS = 1.4e8


def compiles(spec: JobSpec, steps: int, spatial_dims: int, device: torch.device) -> bool:
    """Whether to compile network and teacher.

    Without a word in the job: for networks that gain, on CPUs, in float32, on images, without an alignment and with a
    C++ compiler at hand, and where each worker meets so many pixels that it takes at least as much off the run as it
    adds to its start. The answer depends on the job as it was asked for, so that a lost worker does not change it.

    Args:
        spec: the job.
        steps: of the whole run.
        spatial_dims: 2 for images, 3 for volumes.
        device: where to compute.
    """
    if spec.compile is not None:
        return spec.compile
    pixels = steps * spec.batch_size / spec.workers * spec.image_size**2
    return (
        spec.network.name in PAYING_NETWORKS
        and pixels >= PAYING_PIXELS
        and (device.type, spec.precision, spatial_dims, spec.sharding) == ("cpu", "float32", 2, "none")
        and getattr(spec.method, "alignment", "none") == "none"
        and shutil.which(os.environ.get("CXX", "g++")) is not None
    )
