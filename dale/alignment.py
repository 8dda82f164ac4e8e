"""Alignment: the features of fuzzy pixels follow the distribution of the clear ones, class by class.

Three measures of how two distributions differ stand behind one interface. Clear features are detached: only the fuzzy
ones are moved.

Shapes: B samples, K feature channels, C classes, s feature grid, S label grid, n points drawn per class and side.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POINTS = 256  # n
FOURIER_FEATURES = 128
DIRECTIONS = 32
HIDDEN = 32
# A class takes part where both sides hold the weight of half a pixel of the feature grid.
LEAST_MASS = 0.5


def make_alignment(kind: str, channels: int, classes: int, seed: int) -> Alignment:
    """The alignment loss with one of three measures.

    Args:
        kind: "mmd", "adversarial" or "wasserstein".
        channels: K, number of channels of the features.
        classes: C.
        seed: of the random projections, of the discriminator's first weights and of the choice of pixels.

    Raises:
        ValueError: there is no such kind.
    """
    generator = torch.Generator().manual_seed(seed)
    measure: nn.Module
    if kind == "mmd":
        measure = MaximumMeanDiscrepancy(channels, generator)
    elif kind == "adversarial":
        measure = Discriminator(channels, classes, generator)
    elif kind == "wasserstein":
        measure = SlicedWasserstein(channels, generator)
    else:
        raise ValueError(f"alignment is {kind!r}; it must be 'mmd', 'adversarial' or 'wasserstein'")
    return Alignment(measure, generator)


class Alignment(nn.Module):
    """How much the fuzzy features of a batch differ from the clear ones of the same class, mean over the classes.

    A pixel p of sample i weighs c_ip t_ikp on the clear side of class k and (1 - c_ip) t_ikp on the fuzzy side, where t
    is the label, averaged down to the feature grid. From each side of each class n pixels are drawn in proportion to
    these weights, one from each n-th part of their cumulative sum (stratified resampling), so a measure compares two
    sets of n equally heavy points. Both sets are standardised together, channel by channel, with detached
    statistics: features cannot lower the loss by shrinking. The random numbers are fixed by the seed, so equal
    batches give equal losses.

    Args:
        measure: maps fuzzy and clear points, (C, n, K) each, to (C,), each >= 0.
        generator: for the choice of pixels.
    """

    levels: Tensor

    def __init__(self, measure: nn.Module, generator: torch.Generator) -> None:
        super().__init__()
        self.measure = measure
        # Without the jitter, a regular step through the pixels could keep to one column of the image.
        jitter = torch.rand(POINTS, generator=generator).clamp(0.001, 0.999)
        self.register_buffer("levels", (torch.arange(POINTS) + jitter) / POINTS)  # (n,), in (0, 1)

    def forward(self, features: Tensor, target: Tensor, clear: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            features: (B, K, *s).
            target: (B, C, *S), class probabilities; one-hot for a hard label.
            clear: c, (B,), in [0, 1], how clear each sample is, or (B, 1, *S), how clear each pixel is; 1 = wholly
                clear, 0 = wholly fuzzy.

        Returns:
            scalar, float32, >= 0; 0, with gradients of 0, where no class has both fuzzy and clear pixels.
        """
        with torch.autocast(features.device.type, enabled=False):  # statistics in float32
            (fuzzy_pixels, clear_pixels), present = self._draw(target, clear, features.shape[2:])
            pixels = features.flatten(2).float()  # (B, K, P)
            fuzzy, certain = standardise(take(pixels, fuzzy_pixels), take(pixels.detach(), clear_pixels))
            differences = self.measure(fuzzy, certain)  # (C,)
            loss: Tensor = (differences * present).sum() / present.sum().clamp_min(1)
            return loss

    @torch.no_grad()
    def _draw(self, target: Tensor, clear: Tensor, grid: torch.Size) -> tuple[Tensor, Tensor]:
        """Numbers b P + p of the drawn pixels, (2, C, n), fuzzy side first, and which classes have both sides, (C,)."""
        pooled = F.interpolate(target.float(), size=list(grid), mode="area")  # adaptive average pooling
        membership = pooled.flatten(2).transpose(0, 1)  # (C, B, P)
        per_pixel = clear.float().view(len(clear), 1, *(clear.shape[2:] or [1] * len(grid)))
        c = F.interpolate(per_pixel, size=list(grid), mode="area").flatten(1)  # (B, P)
        weights = torch.stack([membership * (1 - c), membership * c]).flatten(2)  # (2, C, B P)
        cumulative = weights.cumsum(2)
        mass = cumulative[..., -1:]
        drawn = torch.searchsorted(cumulative, mass * self.levels, right=True)  # never a pixel of weight 0
        return drawn.clamp_max(weights.shape[2] - 1), (mass >= LEAST_MASS).all(0).squeeze(1)


def take(pixels: Tensor, numbers: Tensor) -> Tensor:
    """Feature vectors (C, n, K) out of pixels (B, K, P); pixel p of sample b has the number b P + p in (C, n)."""
    return pixels[numbers // pixels.shape[2], :, numbers % pixels.shape[2]]


def standardise(fuzzy: Tensor, clear: Tensor) -> tuple[Tensor, Tensor]:
    """Zero mean and unit variance in every channel, over the points of both sides of a class; (C, n, K) each.

    The statistics are detached. A channel that hardly varies beside the others of its class is not blown up.
    """
    points = torch.cat([fuzzy.detach(), clear], dim=1)
    mean = points.mean(1, keepdim=True)  # (C, 1, K)
    variance = (points - mean).square().mean(1, keepdim=True)
    scale = (variance + 1e-3 * variance.mean(2, keepdim=True) + 1e-8).rsqrt()
    return (fuzzy - mean) * scale, (clear - mean) * scale


class MaximumMeanDiscrepancy(nn.Module):
    """Squared maximum mean discrepancy (Gretton et al., 2012) of a Gaussian kernel, by random Fourier features.

    MMD^2 = |E phi(fuzzy) - E phi(clear)|^2 with phi(x) = [cos(w_j x / s), sin(w_j x / s)] / sqrt(D), j = 1..D, and
    w_j ~ N(0, I), whose expectation over w is that of k(x, y) = exp(-|x - y|^2 / (2 s^2)) (Rahimi & Recht, 2007). The
    bandwidth s is the root mean squared distance between any two points of the class, detached.

    Args:
        channels: K.
        generator: for the frequencies w.
    """

    frequencies: Tensor

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(channels, FOURIER_FEATURES // 2, generator=generator))

    def forward(self, fuzzy: Tensor, clear: Tensor) -> Tensor:
        """MMD^2 of the points (C, n, K) of each class: (C,), in [0, 4]; 0 = equal distributions."""
        points = torch.cat([fuzzy.detach(), clear], dim=1)
        variance = (points - points.mean(1, keepdim=True)).square().sum(2).mean(1)  # (C,)
        bandwidth = (2 * variance).clamp_min(1e-12).sqrt()  # E|x - y|^2 = 2 var
        frequencies = self.frequencies / bandwidth[:, None, None]  # (C, K, D)

        def embedding(x: Tensor) -> Tensor:
            angles = x @ frequencies
            return torch.cat([angles.cos(), angles.sin()], dim=2).mean(1)  # (C, 2 D)

        return (embedding(fuzzy) - embedding(clear)).square().sum(1) / frequencies.shape[2]


class Discriminator(nn.Module):
    """Domain-adversarial training (Ganin & Lempitsky, 2015): a small network tells fuzzy points from clear ones.

    It has one hidden layer for all classes and one output for each. Its binary cross-entropy gives both sides equal
    weight. Its own parameters descend that loss; the gradient that reaches the fuzzy features is reversed, so they
    learn to be mistaken for clear ones. Hand its parameters to the optimizer, together with the network's. Where the
    network learns faster than the discriminator, the two chase each other and the features drift away.

    Args:
        channels: K.
        classes: C.
        generator: for the first weights.
    """

    def __init__(self, channels: int, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = nn.Parameter(torch.randn(channels, HIDDEN, generator=generator) / channels**0.5)
        self.hidden_bias = nn.Parameter(torch.zeros(HIDDEN))
        self.output = nn.Parameter(torch.randn(classes, HIDDEN, 1, generator=generator) / HIDDEN**0.5)
        self.output_bias = nn.Parameter(torch.zeros(classes, 1, 1))

    def logits(self, points: Tensor) -> Tensor:
        """Log odds that the points (C, n, K) are clear: (C, n, 1)."""
        return torch.relu(points @ self.hidden + self.hidden_bias) @ self.output + self.output_bias

    def forward(self, fuzzy: Tensor, clear: Tensor) -> Tensor:
        """Cross-entropy for the points (C, n, K) of each class: (C,), >= 0; ln 2 = it cannot tell them apart."""
        reversed_fuzzy = 2 * fuzzy.detach() - fuzzy  # equals fuzzy; its derivative is -1
        taken_for_clear = F.softplus(self.logits(reversed_fuzzy)).mean((1, 2))
        taken_for_fuzzy = F.softplus(-self.logits(clear)).mean((1, 2))
        return 0.5 * (taken_for_clear + taken_for_fuzzy)


class SlicedWasserstein(nn.Module):
    """Squared sliced Wasserstein-2 distance (Rabin et al., 2011; Bonneel et al., 2015).

    SW^2 = mean over random unit vectors d of W2^2(d fuzzy, d clear). In one dimension the optimal transport pairs the
    points in sorted order: W2^2 = mean over r of (x_(r) - y_(r))^2. The directions are drawn once; with more channels
    than directions, a difference at right angles to all of them is not seen.

    Args:
        channels: K.
        generator: for the directions d.
    """

    directions: Tensor

    def __init__(self, channels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("directions", F.normalize(torch.randn(DIRECTIONS, channels, generator=generator), dim=1))

    def forward(self, fuzzy: Tensor, clear: Tensor) -> Tensor:
        """SW^2 of the points (C, n, K) of each class: (C,), >= 0, in squared units; 0 = equal projections."""
        x, y = ((self.directions @ points.transpose(1, 2)).sort(dim=2).values for points in (fuzzy, clear))
        return (x - y).square().mean((1, 2))
