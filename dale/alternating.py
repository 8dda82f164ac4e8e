"""The alternating paradigm on one screen: one network step, one confidence step.

A round is an epoch of network steps under fixed confidences, then a confidence step. A confidence c_i acts as a
mixture of what to learn: the given label y_i, as far as it is believed, and the teacher's prediction p_i for the rest,

    target_i = c_i y_i + (1 - c_i) p_i,

which for the cross-entropy equals the weighted sum c_i l(y_i) + (1 - c_i) l(p_i) of the joint objective.

A training has three parts: plain training; then, for one ramp, plain training while the teacher is heard as a witness;
then the confidences act, and samples exchange boxes, so that no label is learned by heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dale.confidence import ConfidenceState
from dale.config import DaleConfig
from dale.consistency import doubt, expected_dice, size_excess, soft_dice, worst_doubt
from dale.mixing import Mixing
from dale.objective import consistency_loss, segmentation_loss
from dale.partition import Partition, split
from dale.refinement import refine
from dale.stability import stability_loss
from dale.views import Views, warp


@dataclass(frozen=True)
class Step:
    """What a network step yields for each sample of the batch; all (B,).

    Attributes:
        loss: to be averaged over the global batch and minimised.
        doubt: evidence against the label, in [0, 1]; see `dale.doubt`.
        dice: soft Dice of prediction and given label, in [0, 1].
        expected_dice: the Dice that the prediction expects of itself, in [0, 1].
        excess: how much larger the label is than the prediction, in [-1, 1]; see `size_excess`.
        worst: evidence that some part of the label is wrong, in [0, 1]; see `dale.worst_doubt`.

    The evidence compares label and prediction: once the teacher is heard, its prediction of the untouched image; before
    that, what the student says in its view.
    """

    loss: Tensor
    doubt: Tensor
    dice: Tensor
    expected_dice: Tensor
    excess: Tensor
    worst: Tensor

    @property
    def evidence(self) -> Tensor:
        """(B, 5): what `ConfidenceState.observe` takes in."""
        return torch.stack([self.doubt, self.dice, self.expected_dice, self.excess, self.worst], dim=1)


def strength(config: DaleConfig, epoch: int, epochs: int) -> float:
    """How far the effect of the confidences has grown at an epoch: 0 before the start, then a ramp to 1.

    Args:
        epoch: counted from 0.
        epochs: of the whole training.
    """
    begin, length = config.start * epochs, config.ramp * epochs
    return 0.0 if epoch < begin else min((epoch - begin + 1) / max(length, 1.0), 1.0)


def listening(config: DaleConfig, epoch: int, epochs: int) -> bool:
    """Whether the teacher is heard about the labels: from one ramp before the confidences begin to act.

    Before that it would cost a forward pass and tell little; a method that never acts never hears it.

    Args:
        epoch: counted from 0.
        epochs: of the whole training.
    """
    return config.start < 1 and epoch >= (config.start - config.ramp) * epochs


def mixing_share(config: DaleConfig, epoch: int, epochs: int) -> float:
    """Share of the pairs that mix in an epoch: none before the confidences act, nor before images have grown familiar.

    Args:
        epoch: counted from 0.
        epochs: of the whole training.
    """
    return config.mixing if strength(config, epoch, epochs) > 0 and epoch >= config.mix_after else 0.0


def network_step(
    student: nn.Module,
    teacher: nn.Module,
    images: Tensor,
    labels: Tensor,
    confidence: Tensor,
    views: Views,
    *,
    strength: float,
    config: DaleConfig,
    listen: bool = True,
    mixing: Mixing | None = None,
) -> Step:
    """Forward pass of a network step under fixed confidences.

    Before the confidences act (strength 0) this is plain training; what `config.begin_with` doubts then weighs less.

    Args:
        student: a `Student`, or what wraps it for data-parallel training.
        teacher: moving average of its network; sees the untouched image, the student a random view of it.
        images: (B, channels, *spatial).
        labels: (B, C, *spatial), one-hot, as given.
        confidence: (B,), in [0, 1].
        views: what the student sees.
        strength: in [0, 1], how far the confidences act yet.
        config: which ingredients are on, and their weights.
        listen: whether the teacher is heard about the labels (`listening`); if the confidences act, it always is.
        mixing: which boxes the samples exchange once the confidences act; None for none.
    """
    prediction = None
    if listen or strength > 0:
        with torch.no_grad():
            prediction = torch.softmax(teacher(images).float(), dim=1)
    if prediction is None or strength == 0:
        with torch.no_grad():
            fields = warp(torch.cat([views.intensities(images), labels], dim=1), views)
            seen, target = fields.split([images.shape[1], labels.shape[1]], dim=1)
        answer = student(seen.to(images.dtype))
        loss = segmentation_loss(answer.logits, target)
        if config.begin_with != "nothing":  # nobody else says yet what a doubted label should have been
            loss = loss * confidence
    else:
        with torch.no_grad():
            belief = 1 - strength * (1 - confidence)
            target = refine(labels, prediction, belief, config.refinement)
            clear = belief.view(-1, *[1] * (images.ndim - 1)).expand(-1, -1, *images.shape[2:])  # (B, 1, *spatial)
            fields = warp(torch.cat([views.intensities(images), target, prediction], dim=1), views)
            if mixing is not None:
                fields, clear = mixing.exchange(fields), mixing.exchange(clear)
            seen, target, guide = fields.split([images.shape[1], target.shape[1], prediction.shape[1]], dim=1)
            seen = seen.to(images.dtype)
        answer = student(seen, target, clear)
        loss = segmentation_loss(answer.logits, target)
        if config.consistency > 0:
            loss = loss + strength * config.consistency * consistency_loss(answer.logits, guide)
        if answer.logits_half is not None:
            fuzzy = 1 - clear.flatten(1).mean(1)
            loss = loss + strength * config.stability * stability_loss(answer.logits_half, guide, fuzzy)
        if answer.alignment is not None:
            loss = loss + strength * config.alignment_weight * answer.alignment
    with torch.no_grad():
        given = labels
        if prediction is None:
            prediction, given = torch.softmax(answer.logits, dim=1), target
        return Step(
            loss,
            doubt=doubt(prediction, given),
            dice=soft_dice(prediction, given),
            expected_dice=expected_dice(prediction),
            excess=size_excess(prediction, given),
            worst=worst_doubt(prediction, given),
        )


def begin(state: ConfidenceState, disagreements: Tensor, config: DaleConfig) -> None:
    """Set the confidences of the owned samples before the first epoch, as `config.begin_with` says.

    Args:
        state: of the samples that this process owns, which knows their agreements.
        disagreements: `state.disagreement_histogram()`, summed over all processes.
        config: hyperparameters.
    """
    if config.begin_with == "agreement":
        state.begin(split(disagreements), config.temperature)


def confidence_step(state: ConfidenceState, histogram: Tensor, config: DaleConfig, strength: float) -> Partition:
    """Set the confidences of the owned samples from their trajectories and the global statistics.

    Args:
        state: of the samples that this process owns.
        histogram: `state.histogram()`, summed over all processes.
        config: hyperparameters.
        strength: of the coming epoch; 0 leaves the confidences as they began.
    """
    partition = split(histogram)
    if strength > 0:
        state.step(partition, config.temperature)
    return partition
