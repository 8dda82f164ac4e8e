"""What others do about noisy labels, on the service's learner: same network, views, optimizer and schedule."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import curve_fit
from torch import Tensor, nn

import dale
from dale.objective import SMOOTH
from tests.benchmarks.robustness.training import Training, predict
from workers.learner import Learner

GCE_Q = 0.7
FORGET_EPOCHS = 0.1  # share of the training over which co-teaching's forget rate grows
ADELE_SLOPE = 0.9  # relative change of the slope of the fitted curve at which memorisation is said to begin
ADELE_SURE = 0.8  # probability from which the network's opinion replaces the label


class Robust(Learner):
    """Generalised cross-entropy in place of cross-entropy (Zhang & Sabuncu, 2018): mean of (1 - p_y^q) / q.

    The Dice term gives way to the noise-robust one of Wang et al. (2020): sum |p - y|^1.5 over sum p^2 + y^2.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._logits = torch.empty(0)  # of the last forward pass
        self.module.register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._logits = output

    def objective(
        self, images: Tensor, labels: Tensor, confidence: Tensor, views: dale.Views, mixing: dale.Mixing, epoch: int
    ) -> dale.Step:
        step = super().objective(images, labels, confidence, views, mixing, epoch)
        target = dale.warp(labels, views)
        p = torch.softmax(self._logits, 1)
        of_label = (p * target).sum(1).clamp_min(1e-7)
        cross_entropy = ((1 - of_label**GCE_Q) / GCE_Q).flatten(1).mean(1)
        q, t = p[:, 1:].flatten(2), target[:, 1:].flatten(2)
        smooth = SMOOTH * q.shape[2]
        dice = ((q - t).abs().pow(1.5).sum(2) / (q.square().sum(2) + t.square().sum(2) + smooth)).mean(1)
        return replace(step, loss=0.5 * cross_entropy + 0.5 * dice)


def co_teach(first: Training, second: Training, epoch: int, ratio: float) -> None:
    """One epoch of co-teaching (Han et al., 2018): each network learns from the samples that the other finds easy.

    Args:
        first, second: two trainings that differ in their seeds only, so in first weights and views.
        epoch: counted from 0.
        ratio: share of wrong labels, which co-teaching must be told; the truth, in its favour.
    """
    learners = first.learner, second.learner
    for learner in learners:
        learner.begin_epoch(epoch)
    epochs = first.learner.spec.epochs
    forget = ratio * min(1.0, (epoch + 1) / max(1.0, FORGET_EPOCHS * epochs))
    for ordinals, _ in first.plan.batches(epoch):
        images, labels = first.samples.batch(ordinals)
        keep = max(1, round((1 - forget) * len(ordinals)))
        chosen = [torch.argsort(_losses(learner, images, labels))[:keep] for learner in learners]
        for learner, easy in zip(learners, reversed(chosen), strict=True):
            weights = torch.zeros(len(ordinals)).index_fill(0, easy, 1 / keep)
            learner.step(images, labels, ordinals, weights, torch.ones(len(ordinals)), epoch)


@torch.no_grad()
def _losses(learner: Learner, images: Tensor, labels: Tensor) -> Tensor:
    probabilities = predict(learner.module, images, learner.statistics, learner.device)
    target = F.one_hot(labels.long(), probabilities.shape[1]).movedim(-1, 1).float()
    return dale.segmentation_loss(probabilities.clamp_min(1e-7).log(), target)


class Correction:
    """Labels corrected once, when memorisation begins: the idea of ADELE (Liu et al., CVPR 2022).

    The IoU of prediction and given label over the training samples is fitted by a (1 - exp(-b t^c)). When its slope
    has fallen by `ADELE_SLOPE` against the first epoch's, pixels of which the moving average of the network is surer
    than `ADELE_SURE` take its class.
    """

    def __init__(self) -> None:
        self.course: list[float] = []
        self.at: int | None = None

    def __call__(self, training: Training) -> None:
        dice = training.metrics["dice"]
        self.course.append(dice / (2 - dice))
        if self.at is None and len(self.course) >= 6 and self._begins():
            self.at = training.epoch
            learner = training.learner
            p = predict(learner.teacher, training.samples.images, learner.statistics, learner.device)
            sure, guess = p.max(1)
            labels = training.samples.labels
            training.samples.labels = torch.where(sure > ADELE_SURE, guess.to(labels.dtype), labels)

    def _begins(self) -> bool:
        t = np.arange(1, len(self.course) + 1, dtype=float)

        def curve(t: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
            return a * (1 - np.exp(-b * t**c))

        try:
            (a, b, c), _ = curve_fit(curve, t, self.course, p0=(1, 1, 0.5), bounds=(0, (1, np.inf, 1)), maxfev=5000)
        except RuntimeError:  # the fit has not converged: too early to tell
            return False

        def slope(t: float) -> float:
            return float(a * b * c * np.exp(-b * t**c) * t ** (c - 1))

        return abs(slope(1) - slope(len(self.course))) / max(abs(slope(1)), 1e-9) > ADELE_SLOPE
