"""The joint objective of network and confidences, its robust loss, and the gradient form of the confidence step.

    J(theta, c) = sum_i [ c_i (l_i(theta) - tau) + T (c_i ln c_i + (1 - c_i) ln(1 - c_i)) ]

with the loss l_i of sample i, the threshold tau and the temperature T > 0. Proofs: `docs/method.md`. Minimised over
c, it is the sum of a robust loss (entropy-regularised self-paced learning: Kumar, Packer & Koller, 2010; Meng, Zhao &
Jiang, arXiv 1511.06049), so alternating over theta and c is majorisation-minimisation (Lange, Hunter & Yang, 2000).
It is our form of the label confidences of DALE (CVPR 2025, arXiv 2503.11140).

Shapes: N samples. Half-precision inputs are computed in float32; float64 stays.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def joint_objective(losses: Tensor, confidence: Tensor, threshold: float, temperature: float) -> Tensor:
    """J = sum_i [ c_i (l_i - tau) - T H(c_i) ], with the entropy H(c) = -c ln c - (1 - c) ln(1 - c).

    Convex in `confidence`, strictly so, and linear in `losses`. Differentiable in both; the slope in c is infinite at
    0 and 1.

    Args:
        losses: l, (N,).
        confidence: c, (N,), in [0, 1].
        threshold: tau, in the unit of `losses`.
        temperature: T > 0, in the unit of `losses`.

    Returns:
        A scalar; lower = better. At least `robust_loss(losses, ...).sum()`.
    """
    losses, confidence = _full(losses), _full(confidence)
    entropy = torch.special.entr(confidence) + torch.special.entr(1 - confidence)
    objective: Tensor = confidence * (losses - threshold) - temperature * entropy
    return objective.sum()


def robust_loss(losses: Tensor, threshold: float, temperature: float) -> Tensor:
    """What the joint objective charges for a sample once its confidence is the best: rho(l) = min_c J.

        rho(l) = -T ln(1 + exp((tau - l) / T)) = T ln(1 - c*),    rho'(l) = c* = sigmoid((tau - l) / T).

    Increasing and concave in l: about l - tau well below the threshold, about 0 well above it.

    Args:
        losses: l, (N,).
        threshold: tau, in the unit of `losses`.
        temperature: T > 0, in the unit of `losses`.

    Returns:
        (N,), < 0, or 0 where rounding leaves nothing; for l >= 0 at least -T ln(1 + exp(tau / T)).
    """
    # -ln(1 + exp(-u)) is ln sigmoid(u), without overflow
    return temperature * F.logsigmoid((_full(losses) - threshold) / temperature)


def gradient_confidence(logits: Tensor, losses: Tensor, threshold: float, temperature: float, rate: float) -> Tensor:
    """The gradient form of the confidence step: one natural-gradient step on the logits a of c = sigmoid(a).

    dJ/da = c (1 - c) (l - tau + T a). Divided by the curvature T c (1 - c) (T times the Fisher information of a
    coin with probability c) it is a - a*, with a* = (tau - l) / T the logit of the closed form:

        a <- a - rate (a - a*).

    So n steps under fixed losses leave the share (1 - rate)^n of the way to the closed form, and none raises J.

    Args:
        logits: a, (N,).
        losses: l, (N,).
        threshold: tau, in the unit of `losses`.
        temperature: T > 0, in the unit of `losses`.
        rate: in (0, 1]; 1 is the closed form at once.

    Returns:
        The new logits, (N,).

    Raises:
        ValueError: the rate is outside (0, 1], where a step could overshoot and raise J.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"rate is {rate}; it must lie in (0, 1]")
    best = (threshold - _full(losses)) / temperature
    return (1 - rate) * _full(logits) + rate * best


def corruption_bound(corrupted: int, threshold: float, temperature: float) -> float:
    """How far wrong labels can move the robust objective, at any theta: B = m T ln(1 + exp(tau / T)), m = eps N.

    For losses >= 0 and fixed tau and T, however wrong the m labels are. So a minimiser of the robust objective
    under the corrupted labels is within 2 B of the best on the clean ones. Nothing follows for m >= N / 2, where 2 B
    is the whole range of the objective.

    Args:
        corrupted: m, how many labels may be anything, >= 0.
        threshold: tau, in the unit of the losses.
        temperature: T > 0, in the unit of the losses.

    Returns:
        B >= 0, in the unit of the losses; for tau > 0 between m tau and m (tau + T ln 2).
    """
    # ln(1 + exp(x)) without overflow
    return corrupted * (max(threshold, 0.0) + temperature * math.log1p(math.exp(-abs(threshold) / temperature)))


def _full(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
