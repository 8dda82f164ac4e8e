"""What a dry run adds to the check of a job: what its steps take of memory, and values for what was left out."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field

from service.api.dependencies import Context
from service.datasets.rows import channel_names
from service.db import datasets
from service.jobs import memory, suggestions
from service.jobs.capacity import Capacity
from service.jobs.checks import Checked
from service.jobs.memory import Memory
from service.jobs.suggestions import Shape, Suggestion
from workers.contract.request import JobSpec

FAR = 1.5  # times the memory of a machine: nearer than that the estimate does not decide


@dataclass(frozen=True)
class Advice:
    """What was found.

    Attributes:
        memory: what each worker takes; None where the service cannot build networks.
        suggested: values for fields that were left out.
        warnings: what will probably go wrong.
    """

    memory: Memory | None
    suggested: list[Suggestion] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def advise(context: Context, spec: JobSpec, given: Set[str], checked: Checked) -> Advice:
    """Look at the dataset's sizes, the cluster and the network. Slow where the network was not seen before.

    Args:
        context: database and settings.
        spec: the job, with the contract's defaults.
        given: the fields that the user has set.
        checked: what is known of it.
    """
    dims, classes = checked.version.spatial_dims, len(checked.version.mask_values)
    channels = len(channel_names(checked.version))
    edge = "image_size" if dims == 2 else "patch_size"
    with context.database.read() as session:
        found = datasets.shapes(session, checked.version.dataset_id, checked.version.number)
    best = suggestions.size([Shape(edges, count) for edges, count in found], dims)
    sizes = (getattr(spec, edge), spec_value(spec, best, given))
    counted = memory.footprints(spec, sizes, classes, channels, dims) if context.settings.network_check else None
    now, then = counted or (None, None)
    suggested = [best] if counted is None or then is not None else []  # a size that the network does not take is none
    better = _with(spec, suggested, given)
    capacity = checked.capacity
    if capacity is not None:
        suggested.append(suggestions.workers(better, capacity.total))
        better = _with(spec, suggested, given)
        room = capacity.machine_memory
        if then is not None and room and not spec.gpus_per_worker:
            suggested.append(suggestions.batch_size(better, then, dims, room, capacity.total.cpus))
    estimated = memory.estimate(spec, now, dims) if now is not None else None
    warnings = _warnings(spec, estimated, capacity) if estimated is not None and capacity is not None else []
    return Advice(estimated, suggestions.left_out(suggested, given), warnings)


def spec_value(spec: JobSpec, suggestion: Suggestion, given: Set[str]) -> int:
    """The user's value of the field, or the suggested one."""
    value: int = getattr(spec, suggestion.field) if suggestion.field in given else suggestion.value
    return value


def _with(spec: JobSpec, suggested: list[Suggestion], given: Set[str]) -> JobSpec:
    values = {one.field: one.value for one in suggestions.left_out(suggested, given)}
    return spec.model_copy(update=values)


def _warnings(spec: JobSpec, estimated: Memory, capacity: Capacity) -> list[str]:
    """Of a job on GPUs nothing: how much memory they have is not known here."""
    room = capacity.machine_memory
    if spec.gpus_per_worker or not room or estimated.total <= FAR * room:
        return []
    return [
        f"a step takes about {estimated.total / 2**30:.1f} GiB of each worker, and no machine of the cluster has more "
        f"than {room / 2**30:.1f} GiB: it will probably run out of memory. A smaller batch_size or size, or a larger "
        "accumulation, takes less"
    ]
