"""Every hyperparameter of DALE, with its symbol in the papers' notation, its range and its meaning."""

from __future__ import annotations

from dataclasses import dataclass

# Closed ranges; bounds of a hyperparameter that its field's comment calls open are checked by `__post_init__`.
_RANGES: dict[str, tuple[float, float]] = {
    "start": (0, 1),
    "ramp": (0, 1),
    "temperature": (1e-6, 1),
    "momentum": (0, 0.999999),
    "consistency": (0, 100),
    "ema_decay": (0, 0.999999),
    "mixing": (0, 1),
    "mix_after": (0, 1_000_000),
    "stability": (0, 100),
    "alignment_weight": (0, 100),
}
REFINEMENTS = ("sample", "pixel")
BEGINNINGS = ("nothing", "agreement")
ALIGNMENTS = ("none", "mmd", "adversarial", "wasserstein")


@dataclass(frozen=True)
class DaleConfig:
    """Hyperparameters of the alternating paradigm.

    What an ingredient buys is the ablation's word (docs/results/robustness.md, 64 px, three seeds).

    Args:
        start: share of the epochs that pass before the first confidence step, in [0, 1]. The network must have
            learned the common structure and not yet memorised the single labels.
        ramp: share of the epochs over which the effect of the confidences grows from 0 to full, in [0, 1].
        temperature: T in the joint objective, in (0, 1]: softness of the threshold, in units of Dice.
        momentum: weight of the past in the moving average of a sample's doubt (its trajectory), in [0, 1).
        consistency: weight of the agreement between the network on one view and the teacher on another, >= 0. It buys
            little: between -0.3 and +0.4 points of Dice in the cells measured.
        ema_decay: decay of the teacher's exponential moving average, per step, in [0, 1).
        refinement: how the teacher's prediction replaces a doubted label, one of `REFINEMENTS`.
        mixing: share of the pairs of samples that exchange a box once the confidences act, in [0, 1]. Buys most, 2.5
            points where a network memorises.
        mix_after: epochs that pass before samples mix, >= 0: so often may an image be met as it is before it could be
            learned by heart. In shorter trainings mixing only costs time to learn.
        stability: weight of the agreement between full and half resolution, >= 0; 0 = off, since it buys nothing
            (0.0 +- 0.4 points) and costs half a step more.
        alignment: how the features of doubted samples are drawn to those of believed ones, one of `ALIGNMENTS`. Each
            bought 0.8 points on Kvasir's mixed noise, MMD none on FUSeg, and each cost the ranking something: off.
        alignment_weight: weight of the alignment, >= 0.
        feature_layer: name of the layer whose output is aligned; empty for the input of the segmentation head.
        begin_with: by what labels are believed before the first confidence step, one of `BEGINNINGS`. "nothing": all
            are. "agreement": a label that others' labels of the same image contradict weighs less in the loss, by a
            confidence step on 1 - agreement (`ConfidenceState.begin`).

    Raises:
        ValueError: a value lies outside its range.
    """

    start: float = 0.4
    ramp: float = 0.1
    temperature: float = 0.03
    momentum: float = 0.7
    consistency: float = 0.5
    ema_decay: float = 0.99
    refinement: str = "sample"
    mixing: float = 0.5
    mix_after: int = 50
    stability: float = 0.0
    alignment: str = "none"
    alignment_weight: float = 0.1
    feature_layer: str = ""
    begin_with: str = "nothing"

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}; it must lie in [{low}, {high}]")
        for name, choices in (("refinement", REFINEMENTS), ("alignment", ALIGNMENTS), ("begin_with", BEGINNINGS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}")
