"""Initialisation of the segmentation head, without which training on small lesions can die at Dice 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_HEADS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def initialise_head(network: nn.Module, prior: Tensor) -> None:
    """Let the untrained network answer with the classes' frequencies.

    The last convolution with one output channel for each class (in the order in which the network defines its
    layers) gets the bias log(prior), hence log(p / (1 - p)) between the two classes of a binary task, and small
    zero-mean weights.

    Args:
        network: any network with a convolution that ends in the classes.
        prior: (C,), share of the pixels of each class; sums to 1.

    Raises:
        ValueError: the network has no such convolution.
    """
    heads = [m for m in network.modules() if isinstance(m, _HEADS) and m.out_channels == len(prior)]
    if not heads:
        raise ValueError(f"{type(network).__name__} has no convolution with {len(prior)} output channels")
    head = heads[-1]
    with torch.no_grad():
        head.weight.normal_(0, 0.01)
        if head.bias is not None:
            head.bias.copy_(prior.clamp_min(1e-4).log())
