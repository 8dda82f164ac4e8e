"""Whole volumes from a network that was trained on patches: windows that overlap, weighted by a Gaussian."""

from __future__ import annotations

import torch
from monai.inferers import sliding_window_inference
from torch import Tensor, nn

OVERLAP = 0.5  # share of a window that the next covers too, on each axis: nnU-Net's
WINDOWS = 4  # in one pass


def predict_volume(network: nn.Module, image: Tensor, patch_size: int) -> Tensor:
    """Class indices (D, H, W), uint8, of a volume: the most likely of what `volume_logits` gives."""
    return volume_logits(network, image, patch_size).argmax(0).to(torch.uint8)


@torch.no_grad()
def volume_logits(network: nn.Module, image: Tensor, patch_size: int) -> Tensor:
    """Logits of a volume.

    Windows are computed on the network's device and summed on the CPU, which holds C float32 values for each voxel.

    Args:
        network: maps (B, channels, P, P, P) to logits (B, C, P, P, P), in evaluation mode.
        image: (channels, D, H, W), normalised; any floating type, on the CPU. If smaller than a window, it is padded
            with 0.
        patch_size: P.

    Returns:
        (C, D, H, W), float32, on the CPU.
    """
    device = next(network.parameters()).device
    logits: Tensor = sliding_window_inference(
        image.float()[None],
        roi_size=(patch_size,) * 3,
        sw_batch_size=WINDOWS,
        predictor=network,
        overlap=OVERLAP,
        mode="gaussian",
        sw_device=device,
        device=torch.device("cpu"),
    )
    return logits[0]
