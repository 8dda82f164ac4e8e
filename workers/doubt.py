"""Which pixels of a label the delivered network doubts, as files: `dale.doubt_map` in steps of 1/255."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

import dale
from workers.data import one_hot

SLAB = 1 << 20  # voxels at a time: beside the logits of a volume, its probabilities would need as much again and more


def doubts(logits: Tensor, labels: Tensor) -> NDArray[np.uint8]:
    """The doubt about each pixel of some labels, 255 times what `dale.doubt_map` says.

    Args:
        logits: (B, C, *spatial), of the delivered network.
        labels: (B, *spatial), class indices, on any device.

    Returns:
        (B, *spatial); 0 = nothing speaks against the label, 255 = the network is sure of another class.
    """
    probabilities = logits.float().softmax(1)
    given = one_hot(labels.to(logits.device), logits.shape[1])
    return (dale.doubt_map(probabilities, given) * 255).round().to(torch.uint8).cpu().numpy()


def doubts_of_volume(logits: Tensor, label: Tensor) -> NDArray[np.uint8]:
    """As `doubts`, of one volume, a few planes at a time.

    Args:
        logits: (C, D, H, W).
        label: (D, H, W), class indices.

    Returns:
        (D, H, W)
    """
    planes = max(1, SLAB // label[0].numel())
    parts = zip(logits.split(planes, dim=1), label.split(planes), strict=True)
    return np.concatenate([doubts(some[None], given[None])[0] for some, given in parts])


def encode_doubts(doubt: NDArray[np.uint8], width: int, height: int) -> bytes:
    """A map (S, S) of an image as grey PNG, of no more pixels than the network saw.

    On each axis it has as many as the image of `width` times `height`, or S if that is less: what lies between the
    pixels that the network saw would be made up. It is to be stretched over the image.
    """
    size = min(width, doubt.shape[1]), min(height, doubt.shape[0])
    image = Image.fromarray(doubt).resize(size, Image.Resampling.BOX)
    sink = io.BytesIO()
    image.save(sink, "PNG", compress_level=6)
    return sink.getvalue()
