"""Values for what was left out of a job, from its dataset and the cluster; a job itself keeps the defaults."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

from service.jobs.capacity import Resources
from service.jobs.memory import Footprint, estimate
from workers.contract.request import JobSpec

STEP = 16  # sizes are multiples of it, so that networks can halve them four times
LARGEST_IMAGE, LARGEST_PATCH = 512, 128
USED = 0.8  # of a machine's memory; the rest is for the data and for whoever else is there


@dataclass(frozen=True)
class Shape:
    """A size of samples, and how many have it: edges in pixels or voxels."""

    edges: tuple[int, ...]
    count: int


@dataclass(frozen=True)
class Suggestion:
    """A value for a field that was left out, and why."""

    field: str
    value: int
    reason: str


def size(shapes: Sequence[Shape], spatial_dims: int) -> Suggestion:
    """An edge for images or patches: of images as their median longer edge, of volumes within their shortest one."""
    choose = max if spatial_dims == 2 else min
    middle = _median([(choose(shape.edges), shape.count) for shape in shapes])
    if spatial_dims == 2:
        value = min(LARGEST_IMAGE, max(STEP, round(middle / STEP) * STEP))
        bound = f", at most {LARGEST_IMAGE}" if value == LARGEST_IMAGE else ""
        reason = f"the longer edge of the images is {middle} pixels in the median; to a multiple of {STEP}{bound}"
        return Suggestion("image_size", value, reason)
    value = min(LARGEST_PATCH, max(STEP, middle // STEP * STEP))
    bound = f", at most {LARGEST_PATCH}" if value == LARGEST_PATCH else ""
    reason = f"the shortest edge of the volumes is {middle} voxels in the median; a multiple of {STEP} within it{bound}"
    return Suggestion("patch_size", value, reason)


def workers(spec: JobSpec, total: Resources) -> Suggestion:
    """As many as the cluster has CPUs, or for jobs on GPUs those; never more than samples in a step."""
    kind, there = ("GPU", int(total.gpus)) if spec.gpus_per_worker else ("CPU", int(total.cpus))
    value = max(1, min(there, int(total.cpus), spec.batch_size))
    reason = f"one for each {kind} of the cluster, which has {there}"
    if value < there:
        reason += f"; each needs a CPU and a sample of every step, of batch_size {spec.batch_size}"
    return Suggestion("workers", value, reason)


def batch_size(spec: JobSpec, found: Footprint, spatial_dims: int, memory_bytes: int, cpus: float) -> Suggestion:
    """The contract's, or the largest power of two below that fits a machine beside its other workers.

    Args:
        spec: the job, with the other suggestions taken.
        found: of its network at its size.
        spatial_dims: 2 or 3.
        memory_bytes: of the largest machine.
        cpus: of the cluster: so many workers may be on one machine.
    """
    default: int = JobSpec.model_fields["batch_size"].default
    beside = max(1, min(spec.workers, int(cpus)))
    each = memory_bytes * USED / beside
    sizes = [default] + [2**power for power in range(16, -1, -1) if 2**power < default]
    possible = [value for value in sizes if value >= spec.workers] or [spec.workers]
    needed = {
        value: estimate(spec.model_copy(update={"batch_size": value}), found, spatial_dims).total for value in possible
    }
    value = next((value for value in possible if needed[value] <= each), possible[-1])
    fits = "fits" if needed[value] <= each else "does not fit, but is the smallest that there is"
    reason = (
        f"a step of {value} samples takes about {needed[value] / 2**20:.0f} MiB of each worker, which {fits} "
        f"({each / 2**20:.0f} MiB for each)"
    )
    return Suggestion("batch_size", value, reason)


def left_out(suggested: Sequence[Suggestion], given: Set[str]) -> list[Suggestion]:
    """Those for fields that the user has not set."""
    return [suggestion for suggestion in suggested if suggestion.field not in given]


def _median(values: Sequence[tuple[int, int]]) -> int:
    """The lower median of values with their counts."""
    half, seen = (sum(count for _, count in values) + 1) // 2, 0
    for value, count in sorted(values):
        seen += count
        if seen >= half:
            return value
    raise ValueError("there are no samples")
