"""The network as it is trained: its own forward pass, and what the ingredients switched on need besides it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from dale.alignment import make_alignment
from dale.config import DaleConfig
from dale.features import FeatureTap, feature_channels
from dale.stability import half_resolution


@dataclass(frozen=True)
class Answer:
    """What a student answers to a batch.

    Attributes:
        logits: (B, C, *spatial).
        logits_half: (B, C, *floor(spatial / 2)), for the same images at half resolution; None where not asked for.
        alignment: scalar, >= 0; None where not asked for.
    """

    logits: Tensor
    logits_half: Tensor | None = None
    alignment: Tensor | None = None


class Student(nn.Module):
    """The network and, with it, the alignment of its features. Wrap this one for data-parallel training.

    Args:
        network: maps (B, channels, *spatial) to logits (B, C, *spatial).
        config: which ingredients are on.
        example: a valid input, (1, channels, *spatial), on the network's device: tells how many features there are.
        classes: C.
        seed: of the random projections of the alignment.
        run: computes what `network` does, from its parameters, in its place: `torch.compile(network.forward)`. It is no
            part of the state. Hooks on the network itself do not run, and an alignment's tap may not.

    Raises:
        ValueError: `config.feature_layer` is not a layer of the network.
    """

    def __init__(
        self,
        network: nn.Module,
        config: DaleConfig,
        example: Tensor,
        classes: int,
        seed: int = 0,
        run: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._run = run
        self.tap: FeatureTap | None = None
        self.aligner: nn.Module | None = None
        if config.alignment != "none":
            self.tap = FeatureTap(network, config.feature_layer or None, classes)
            channels = feature_channels(network, self.tap, example)
            self.aligner = make_alignment(config.alignment, channels, classes, seed).to(example.device)
        self._halves = config.stability > 0

    def forward(self, images: Tensor, target: Tensor | None = None, clear: Tensor | None = None) -> Answer:
        """Answer to a batch of images.

        Args:
            images: (B, channels, *spatial).
            target: (B, C, *spatial), what is learned; None before the confidences act, when no ingredient is at work.
            clear: (B, 1, *spatial), in [0, 1], how far the label of each pixel is believed; comes with `target`.
        """
        if self.tap is not None:
            self.tap.empty()
        run = self._run or self.network
        logits = run(images).float()
        if target is None or clear is None:
            return Answer(logits)
        aligned = None
        if self.tap is not None and self.aligner is not None:
            aligned = self.aligner(self.tap.features, target, clear)
        halves = run(half_resolution(images)).float() if self._halves else None
        return Answer(logits, halves, aligned)
