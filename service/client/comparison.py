"""What differs between two jobs: in the environments that they ran in, and in what came out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workers.contract.environment import Environment

EQUAL_WITHIN = 1e-4
TIMES = {"samples_per_second"}  # metrics of the machine, not of what was learned


def environment_differences(before: Environment, after: Environment) -> list[str]:
    """What is not the same, one line each; empty: nothing that was recorded."""
    pairs = {
        "code": (_code(before), _code(after)),
        "Python": (before.python, after.python),
        "build of torch": (before.torch_build, after.torch_build),
        "CUDA": (before.cuda, after.cuda),
        "machines": (_machines(before), _machines(after)),
        "workers": (_workers(before), _workers(after)),
        "seed": (before.seed, after.seed),
        "table of the dataset version": (before.dataset_sha256, after.dataset_sha256),
    }
    lines = [f"{name}: {_changed(*pair)}" for name, pair in pairs.items() if pair[0] != pair[1]]
    names = sorted(before.packages.keys() | after.packages.keys())
    versions = [(name, before.packages.get(name), after.packages.get(name)) for name in names]
    return lines + [f"package {name}: {_changed(one, other)}" for name, one, other in versions if one != other]


def _code(environment: Environment) -> str:
    return f"{environment.version} ({environment.commit})" if environment.commit else environment.version


def _machines(environment: Environment) -> str:
    gibibytes = [f"{machine.memory_bytes / 2**30:.0f} GiB" for machine in environment.machines]
    found = zip(environment.machines, gibibytes, strict=True)
    return "; ".join(f"{m.cpus} CPUs ({m.cpu}), {memory}, {m.platform}" for m, memory in found)


def _workers(environment: Environment) -> str:
    return "; ".join(
        f"rank {worker.rank} on machine {worker.machine}, {worker.threads} threads, {worker.gpu or 'no GPU'}"
        for worker in environment.workers
    )


def _changed(before: object, after: object) -> str:
    if any("\n" in str(value) for value in (before, after)):
        return "another"
    return f"{'none' if before is None else before} -> {'none' if after is None else after}"


@dataclass(frozen=True)
class Outcome:
    """What a job has come to: its last metrics, and of each sample by name confidence and score."""

    metrics: Mapping[str, float]
    confidence: Mapping[str, float]
    score: Mapping[str, float]


@dataclass(frozen=True)
class Difference:
    """How far two outcomes are apart.

    Attributes:
        metrics: largest difference of a final metric; times left out.
        metric: the metric that has it; empty if there is none.
        confidence: largest difference of a sample's confidence.
        rank_correlation: Spearman's, of the scores, in [-1, 1]; NaN where all scores of one are equal.
        samples: so many were compared.
    """

    metrics: float
    metric: str
    confidence: float
    rank_correlation: float
    samples: int

    @property
    def equal(self) -> bool:
        """Whether metrics and confidences are the same but for `EQUAL_WITHIN`."""
        return self.metrics <= EQUAL_WITHIN and self.confidence <= EQUAL_WITHIN


def compare(before: Outcome, after: Outcome) -> Difference:
    """Hold two outcomes beside each other.

    Raises:
        ValueError: they are of other samples or metrics.
    """
    if before.confidence.keys() != after.confidence.keys():
        raise ValueError("the jobs are over other samples: only those over the same samples can be compared")
    names = set(before.metrics) - TIMES
    if names != set(after.metrics) - TIMES:
        raise ValueError("the jobs have other metrics: they were trained by other versions of this service")
    apart = {name: abs(before.metrics[name] - after.metrics[name]) for name in names}
    metric = max(sorted(apart), key=apart.__getitem__, default="")
    samples = sorted(before.confidence)
    return Difference(
        metrics=apart.get(metric, 0.0),
        metric=metric,
        confidence=max((abs(before.confidence[name] - after.confidence[name]) for name in samples), default=0.0),
        rank_correlation=spearman([before.score[name] for name in samples], [after.score[name] for name in samples]),
        samples=len(samples),
    )


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Correlation of the ranks, equal values sharing the mean of theirs; NaN where one has a single value."""
    ranks = [_ranks(values) for values in (one, other)]
    means = [math.fsum(values) / len(values) if values else 0.0 for values in ranks]
    centred = [[value - mean for value in values] for values, mean in zip(ranks, means, strict=True)]
    squares = [math.fsum(value * value for value in values) for values in centred]
    if not all(squares):
        return math.nan
    products = math.fsum(a * b for a, b in zip(*centred, strict=True))
    return products / math.sqrt(squares[0] * squares[1])


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for place in order[start:end]:
            ranks[place] = (start + end - 1) / 2
        start = end
    return ranks
