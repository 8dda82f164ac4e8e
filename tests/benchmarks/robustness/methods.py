"""The methods that the benchmark compares, each run on one case: one dataset, noise and seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import dale
from dale.noise import CLEAN, Truth
from tests.benchmarks.robustness.baselines import Correction, Robust, co_teach
from tests.benchmarks.robustness.data import Pool
from tests.benchmarks.robustness.ranking import cleanlab_scores, mean_loss_scores, metrics
from tests.benchmarks.robustness.training import Training, begin, dice_on, predict
from workers.contract.request import DaleMethod, JobSpec, PlainMethod
from workers.learner import Learner

EVERY = 10  # epochs between two points of a curve
FOLDS = 4
TRUSTED = 0.05  # share of verified labels
Cell = dict[str, Any]


@dataclass
class Case:
    """All that the methods of one comparison share.

    Attributes:
        spec: of plain training.
        train: images with clean labels (as far as anybody knows).
        labels: (N, S, S), the labels that are given.
        truth: what is known of each.
        validation: images with noisy labels, to stop early by.
        test: images with clean labels.
        device: where to compute.
        ratio: share of corrupted labels.
        hints: what the method is told of the labels.
        scores: the rankings so far, by method.
        compiled: whether networks run compiled: the same computation, faster once it has been compiled.
    """

    spec: JobSpec
    train: Pool
    labels: Tensor
    truth: list[Truth]
    validation: Pool
    test: Pool
    device: torch.device
    ratio: float
    _first_half: dict[str, tuple[dict[str, Any], Watch]] = field(default_factory=dict)
    plain_seconds: float = 0.0
    hints: dale.Hints | None = None
    scores: dict[str, list[float]] = field(default_factory=dict)
    compiled: bool = False

    @property
    def corrupted(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        return np.array([record.kind != CLEAN for record in self.truth])

    def begin(self, method: DaleMethod | PlainMethod, kind: type[Learner] = Learner) -> Training:
        """A training with the labels that are given."""
        spec = self.spec.model_copy(update={"method": method})
        training = begin(spec, self.train.images, self.labels, self.train.classes, self.device, kind, self.compiled)
        training.state = dale.ConfidenceState(len(self.train), hints=self.hints)
        return training

    def branch(self, method: DaleMethod, watch: Watch) -> Training:
        """A training at the moment when the confidences begin to act. Up to there all methods are the same."""
        training = self.begin(method)
        start = int(np.ceil(method.start * self.spec.epochs))
        if method.alignment != "none":  # the aligner is part of the learner from the first step on
            training.run(start, watch)
            return training
        shared = {"start", "ramp", "momentum", "ema_decay"}
        key = str(method.model_dump(include=shared))
        if key not in self._first_half:
            training.run(start, watch)
            self._first_half[key] = (training.snapshot(), watch)
            watch.pause()
        else:
            snapshot, earlier = self._first_half[key]
            training.resume(snapshot)
            watch.go_on_from(earlier)
            # The last confidence step of the shared part was another method's.
            learner, state = training.learner, training.state
            coming = dale.strength(learner.config, min(start, self.spec.epochs - 1), self.spec.epochs)
            state.judge_borders(state.border_sums())
            dale.confidence_step(state, state.histogram(), learner.config, coming)
        return training


class Watch:
    """The clock of a run and its curve over the epochs; measuring does not count as training."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.curve: list[list[float]] = []
        self.best = (-1.0, torch.empty(0), 0)  # Dice on the noisy validation split, Dice on the test images, epoch
        # On the CPU its own time, whatever else the machine does; a GPU's work is only seen from the wall.
        self._clock = time.process_time if case.device.type == "cpu" else time.perf_counter
        self._began, self._measured = self._clock(), 0.0
        reset_peak(case.device)

    @property
    def training_seconds(self) -> float:
        return self._clock() - self._began - self._measured

    def pause(self) -> None:
        """Note what the run has come to where others go on from it."""
        self._shared = (self.training_seconds, self.curve.copy(), self.best)

    def go_on_from(self, earlier: Watch) -> None:
        """Count what an earlier run has done for this one."""
        seconds, curve, self.best = earlier._shared
        self._began -= seconds
        self.curve = curve.copy()

    def __call__(self, training: Training) -> None:
        epoch = training.epoch
        if epoch % EVERY and epoch != training.learner.spec.epochs:
            return
        began = self._clock()
        learner, case = training.learner, self.case
        by_teacher = dice_on(training, learner.teacher.module, case.test)
        self.curve.append([epoch, float(dice_on(training, learner.module, case.test).mean()), float(by_teacher.mean())])
        if len(case.validation):
            validation = float(dice_on(training, learner.teacher.module, case.validation).mean())
            if validation > self.best[0]:
                self.best = (validation, by_teacher, epoch)
        self._measured += self._clock() - began


def cells_of(case: Case, method: str) -> Iterator[Cell]:
    """Run one method and yield its cells; plain training yields those of all that can be read off it."""
    name, _, options = method.partition(":")
    overrides = dict(part.split("=", 1) for part in options.split(",") if part)
    for cell in METHODS[name](case, overrides):
        named = {**cell, "method": cell["method"] if not options else f"{cell['method']}:{options}"}
        if cell["scores"]:
            case.scores[named["method"]] = cell["scores"]
        yield named


def _plain(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    """Plain training, its moving average, that stopped early, and the rankings of others that need no more.

    It shares its first part with DALE, where the teacher is heard before the confidences act. Of that, its trajectory
    keeps a share of momentum to the power of the epochs that follow (3e-4 after 24 epochs at the default).
    """
    watch = Watch(case)
    training = case.branch(DaleMethod(), watch)
    training.learner.config = replace(training.learner.config, start=1.0)  # from here on: plain
    training.run(case.spec.epochs, watch)
    seconds, peak = watch.training_seconds, peak_memory(case.device)
    case.plain_seconds = seconds
    common = {"seconds": seconds, "cost": 1.0, "peak_memory_mb": peak}
    learner = training.learner
    score = training.state.score()
    yield _cell(case, "plain", dice_on(training, learner.module, case.test), score, **common, curve=watch.curve)
    yield _cell(case, "plain_ema", dice_on(training, learner.teacher.module, case.test), score, **common)
    yield _cell(case, "early_stopping", watch.best[1], score, **common, stopped=watch.best[2])
    probabilities = predict(learner.module, case.train.images, learner.statistics, case.device)
    yield _cell(case, "cleanlab_in_sample", None, cleanlab_scores(case.labels, probabilities), **common)
    yield _cell(case, "mean_loss", None, mean_loss_scores(case.labels, probabilities), **common)


def _dale(case: Case, overrides: dict[str, str], name: str = "dale", control: str = "") -> Iterator[Cell]:
    """DALE as a job runs it; or with the confidences of a control: all 1, or the truth."""
    method = DaleMethod.model_validate(overrides)
    watch = Watch(case)
    training = case.branch(method, watch)
    known = torch.from_numpy(~case.corrupted).float()

    def after(training: Training) -> None:
        if control:
            training.state.confidence = known if control == "oracle" else torch.ones(len(known))
        watch(training)

    if control:
        training.state.confidence = known if control == "oracle" else torch.ones(len(known))
    training.run(case.spec.epochs, after)
    yield _finished(case, name, training, training.learner.teacher.module, watch)


def _dale_annotators(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    """DALE, told who drew each label."""
    people = sorted({record.annotator for record in case.truth})
    annotator = torch.tensor([people.index(record.annotator) for record in case.truth])
    known = replace(case, hints=dale.Hints(torch.zeros(len(annotator), dtype=torch.bool), annotator))
    return _dale(known, overrides, "dale_annotators")


def _dale_trusted(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    """DALE, told of 5 % of the labels, drawn at random among the right ones, that they were verified."""
    right = np.flatnonzero(~case.corrupted)
    chosen = np.random.default_rng([case.spec.seed, 3]).choice(right, max(1, round(TRUSTED * len(case.truth))), False)
    hints = dale.Hints.none(len(case.truth))
    hints.trusted[chosen] = True
    yield from _dale(replace(case, hints=hints), overrides, "dale_trusted")


def _consistency(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    """Every label is believed, and views agree: what consistency alone does."""
    return _dale(case, {"consistency": "1", "mixing": "0", **overrides}, "consistency", "believed")


def _believed(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    """All that DALE does, but every label is believed: what the confidences do is the difference to it."""
    return _dale(case, overrides, "believed", "believed")


def _oracle(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    return _dale(case, overrides, "oracle", "oracle")


def _clean_labels(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    """Plain training on clean labels: what there is to win."""
    if not case.corrupted.any():
        return
    watch = Watch(case)
    training = replace(case, labels=case.train.masks).begin(PlainMethod())
    training.run(case.spec.epochs, watch)
    yield {**_finished(case, "clean_labels", training, training.learner.module, watch), **NO_RANKING}


def _robust(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    watch = Watch(case)
    training = case.begin(PlainMethod(), Robust)
    training.run(case.spec.epochs, watch)
    yield _finished(case, "robust_loss", training, training.learner.module, watch)


def _adele(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    watch, correction = Watch(case), Correction()
    training = case.begin(PlainMethod())
    training.run(case.spec.epochs, lambda training: (correction(training), watch(training))[0])
    yield {**_finished(case, "adele", training, training.learner.module, watch), "corrected_at": correction.at}


def _co_teaching(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    watch = Watch(case)
    first = case.begin(PlainMethod())
    other = case.spec.model_copy(update={"seed": case.spec.seed + 1000})
    second = replace(case, spec=other).begin(PlainMethod())
    for epoch in range(case.spec.epochs):
        co_teach(first, second, epoch, case.ratio)
        first.epoch += 1
        watch(first)
    probabilities = predict(first.learner.module, case.train.images, first.learner.statistics, case.device)
    cell = _finished(case, "co_teaching", first, first.learner.module, watch)
    yield cell | _ranking(case, mean_loss_scores(case.labels, probabilities))


def _reviewed(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    """Plain training after a perfect reviewer has put right the labels that come first in somebody's order.

    Options: `share` of the labels that are looked at; `by`: whose order, the name of a method or `chance`.

    Raises:
        ValueError: that method has not ranked the labels of this case yet.
    """
    share, by = float(overrides["share"]), overrides["by"]
    if by == "chance":
        order = np.random.default_rng([case.spec.seed, 4]).permutation(len(case.train))
    elif by in case.scores:
        order = np.argsort(case.scores[by], kind="stable")
    else:
        raise ValueError(f"{by!r} has not ranked these labels; run it first. Known: {', '.join(case.scores)}, chance")
    looked_at = torch.from_numpy(order[: round(share * len(order))].copy())
    labels = case.labels.clone()
    labels[looked_at] = case.train.masks[looked_at]
    watch = Watch(case)
    training = replace(case, labels=labels).begin(PlainMethod())
    training.run(case.spec.epochs, watch)
    cell = _finished(case, "reviewed", training, training.learner.module, watch)
    yield {**cell, **NO_RANKING, "put_right": int(case.corrupted[looked_at.numpy()].sum())}


def _cleanlab_4fold(case: Case, overrides: dict[str, str]) -> Iterator[Cell]:
    """cleanlab on out-of-fold predictions: as many plain trainings as folds, on three quarters of the images each."""
    watch = Watch(case)
    count = len(case.train)
    fold = np.random.default_rng([case.spec.seed, 2]).permutation(count) % FOLDS
    probabilities = torch.zeros(count, case.train.classes, *case.labels.shape[1:])
    for held in range(FOLDS):
        inside, outside = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        part = replace(case, train=case.train.take(inside), labels=case.labels[inside])
        training = part.begin(PlainMethod())
        training.run(case.spec.epochs)
        learner = training.learner
        probabilities[outside] = predict(learner.module, case.train.images[outside], learner.statistics, case.device)
    score = cleanlab_scores(case.labels, probabilities)
    seconds = watch.training_seconds
    yield _cell(case, "cleanlab_4fold", None, score, seconds=seconds, cost=_cost(case, seconds))


METHODS: dict[str, Callable[[Case, dict[str, str]], Iterator[Cell]]] = {
    "plain": _plain,
    "consistency": _consistency,
    "believed": _believed,
    "dale": _dale,
    "dale_annotators": _dale_annotators,
    "dale_trusted": _dale_trusted,
    "oracle": _oracle,
    "clean_labels": _clean_labels,
    "co_teaching": _co_teaching,
    "robust_loss": _robust,
    "adele": _adele,
    "cleanlab_4fold": _cleanlab_4fold,
    "reviewed": _reviewed,
}
NO_RANKING: Cell = {
    "auroc": None,
    "average_precision": None,
    "precision_first_tenth": None,
    "kinds": {},
    "scores": None,
}


def _finished(case: Case, name: str, training: Training, network: torch.nn.Module, watch: Watch) -> Cell:
    seconds = watch.training_seconds
    return _cell(
        case,
        name,
        dice_on(training, network, case.test),
        training.state.score(),
        seconds=seconds,
        cost=_cost(case, seconds),
        peak_memory_mb=peak_memory(case.device),
        curve=watch.curve,
        names=list(case.train.names),
        confidence=_by_truth(case, training.state.confidence),
    )


def _by_truth(case: Case, confidence: Tensor) -> dict[str, float]:
    """Mean confidence of the clean and of the corrupted labels."""
    corrupted = torch.from_numpy(case.corrupted)
    parts = {"clean": confidence[~corrupted], "corrupted": confidence[corrupted]}
    return {name: round(float(values.mean()), 4) for name, values in parts.items() if len(values)}


def _cost(case: Case, seconds: float) -> float | None:
    return seconds / case.plain_seconds if case.plain_seconds else None


def _cell(case: Case, name: str, dice: Tensor | None, score: Any, **measured: Any) -> Cell:
    return {
        "method": name,
        "seed": case.spec.seed,
        "dice": None if dice is None else float(dice.mean()),
        "dice_samples": None if dice is None else dice.tolist(),
        **_ranking(case, score),
        **measured,
    }


def _ranking(case: Case, score: Any) -> Cell:
    kinds = [record.kind for record in case.truth]
    return {**metrics(score, case.corrupted, kinds), "scores": [round(float(value), 5) for value in score]}


def reset_peak(device: torch.device) -> None:
    """Begin to measure peak memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> float | None:
    """Peak memory in MiB: of the device, or on the CPU of the process; None where it cannot be told."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
