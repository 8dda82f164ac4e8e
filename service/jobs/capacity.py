"""What a job takes of a cluster, and whether the cluster has it."""

from __future__ import annotations

from dataclasses import dataclass

from workers.contract.prediction import AnySpec


@dataclass(frozen=True)
class Resources:
    """An amount of what jobs ask for."""

    cpus: float
    gpus: float

    def __add__(self, other: Resources) -> Resources:
        return Resources(self.cpus + other.cpus, self.gpus + other.gpus)

    def __sub__(self, other: Resources) -> Resources:
        return Resources(self.cpus - other.cpus, self.gpus - other.gpus)

    def at_least(self, other: Resources) -> Resources:
        """The larger amount of each kind."""
        return Resources(max(self.cpus, other.cpus), max(self.gpus, other.gpus))


NOTHING = Resources(0, 0)


@dataclass(frozen=True)
class Capacity:
    """What a cluster has, and what Ray says is taken.

    Attributes:
        total: of all machines.
        used: of it.
        machine_memory: bytes that Ray counts on its largest machine; None: unknown.
    """

    total: Resources
    used: Resources
    machine_memory: int | None = None


def needs(spec: AnySpec, total: Resources) -> Resources:
    """What a job takes of a cluster: one CPU for each worker, and its GPUs.

    A job that accepts fewer workers takes as many as the cluster has room for.
    """
    workers = spec.workers
    while workers > (spec.min_workers or spec.workers) and never_fits(_of(workers, spec.gpus_per_worker), total):
        workers -= 1
    return _of(workers, spec.gpus_per_worker)


def _of(workers: int, gpus_per_worker: int) -> Resources:
    return Resources(workers, workers * gpus_per_worker)


def shortage(need: Resources, there: Resources, total: Resources) -> str:
    """What is missing, in words; empty if nothing is."""
    missing = []
    if need.cpus > max(0, there.cpus):
        missing.append(f"{_amount(need.cpus, 'CPU')} ({max(0, there.cpus):g} free of {total.cpus:g})")
    if need.gpus > max(0, there.gpus):  # what is promised to others can make it negative
        missing.append(f"{_amount(need.gpus, 'GPU')} ({max(0, there.gpus):g} free of {total.gpus:g})")
    return " and ".join(missing)


def never_fits(need: Resources, total: Resources) -> str:
    """Why a job can never run on this cluster, in words; empty if it can."""
    missing = []
    if need.cpus > total.cpus:
        missing.append(f"{_amount(need.cpus, 'CPU')}, the cluster has {total.cpus:g}")
    if need.gpus > total.gpus:
        missing.append(f"{_amount(need.gpus, 'GPU')}, the cluster has {total.gpus:g}")
    return "the job needs " + " and ".join(missing) if missing else ""


def _amount(count: float, kind: str) -> str:
    return f"{count:g} {kind}" if count == 1 else f"{count:g} {kind}s"
