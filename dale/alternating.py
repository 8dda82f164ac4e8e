"""The alternating paradigm on one screen: one network step, one confidence step.

A round is an epoch of network steps under fixed confidences, then a confidence step. A confidence c_i acts as a
mixture of what to learn: the given label y_i, as far as it is believed, and the teacher's prediction p_i for the rest,

    target_i = c_i y_i + (1 - c_i) p_i,

which for the cross-entropy equals the weighted sum c_i l(y_i) + (1 - c_i) l(p_i) of the joint objective.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dale.confidence import ConfidenceState
from dale.config import DaleConfig
from dale.consistency import expected_dice, soft_dice
from dale.objective import consistency_loss, segmentation_loss
from dale.partition import Partition, split
from dale.views import Views, warp


@dataclass(frozen=True)
class Step:
    """What a network step yields for each sample of the batch; all (B,).

    Attributes:
        loss: to be averaged over the global batch and minimised.
        dice: evidence for the label: soft Dice of the prediction and the given label, in [0, 1].
        expected_dice: the Dice that the prediction expects of itself, in [0, 1].
    """

    loss: Tensor
    dice: Tensor
    expected_dice: Tensor


def strength(config: DaleConfig, epoch: int, epochs: int) -> float:
    """How far the effect of the confidences has grown at an epoch: 0 before the start, then a ramp to 1.

    Args:
        epoch: counted from 0.
        epochs: of the whole training.
    """
    begin, length = config.start * epochs, config.ramp * epochs
    return 0.0 if epoch < begin else min((epoch - begin + 1) / max(length, 1.0), 1.0)


def network_step(
    network: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    labels: Tensor,
    confidence: Tensor,
    views: Views,
    *,
    strength: float,
    consistency: float,
) -> Step:
    """Forward pass of a network step under fixed confidences.

    Args:
        network: maps (B, channels, *spatial) to logits (B, C, *spatial).
        teacher: its moving average; sees the untouched image, the network a random view of it.
        images: (B, channels, *spatial).
        labels: (B, C, *spatial), one-hot, as given.
        confidence: (B,), in [0, 1].
        views: what the network sees.
        strength: in [0, 1], how far the confidences act yet.
        consistency: weight of the agreement between the two views.
    """
    with torch.no_grad():
        prediction = torch.softmax(teacher(images), dim=1)
        believed = (1 - strength * (1 - confidence)).view(-1, *[1] * (labels.ndim - 1))
        target = warp(believed * labels + (1 - believed) * prediction, views)
        guide = warp(prediction, views)
    logits = network(views.image(images))
    loss = segmentation_loss(logits, target)
    if consistency > 0 and strength > 0:
        loss = loss + strength * consistency * consistency_loss(logits, guide)
    return Step(loss, soft_dice(prediction, labels), expected_dice(prediction))


def plain_step(network: nn.Module, images: Tensor, labels: Tensor, views: Views) -> Step:
    """The same step with every label believed and no teacher: the baseline."""
    logits = network(views.image(images))
    target = warp(labels, views)
    with torch.no_grad():
        prediction = torch.softmax(logits, dim=1)
        dice, expected = soft_dice(prediction, target), expected_dice(prediction)
    return Step(segmentation_loss(logits, target), dice, expected)


def confidence_step(state: ConfidenceState, histogram: Tensor, config: DaleConfig, strength: float) -> Partition:
    """Set the confidences of the owned samples from their trajectories and the global statistics.

    Args:
        state: of the samples that this process owns.
        histogram: `state.histogram()`, summed over all processes.
        config: hyperparameters.
        strength: of the coming epoch; 0 leaves every label believed.
    """
    partition = split(histogram)
    if strength > 0:
        state.step(partition, config.temperature)
    return partition
