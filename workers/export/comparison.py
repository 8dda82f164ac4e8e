"""Whether an export says what the trained network says."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from workers.contract.inference import Network, Prediction, predict, to_own_size
from workers.data import Statistics, to_masks, to_network
from workers.images import decode_channels, encode_mask
from workers.nifti import decode_channels as decode_volumes
from workers.nifti import encode_labels, open_volume
from workers.sliding import volume_logits

TOLERANCE = 1e-3  # of a probability; float32 in another order of summation differs by some 1e-6
TIES = 1e-4  # share of the pixels that may be of another class for it: two classes are as probable there

Predict = Callable[[Sequence[Path]], Prediction]  # the files of a sample, in the order of its channels


@dataclass(frozen=True)
class Agreement:
    """How far two ways to predict agree.

    Attributes:
        samples: how many were compared.
        max_difference: of probabilities, over all samples, classes and pixels; infinite where one is no number.
        differing: pixels or voxels of another class.
        pixels: that were compared.
    """

    samples: int
    max_difference: float
    differing: int
    pixels: int

    @property
    def disagreement(self) -> str:
        """Why it is too little; empty if it is not."""
        if not self.max_difference <= TOLERANCE:
            return f"its probabilities differ by {self.max_difference:.2g} from the network's, allowed is {TOLERANCE:g}"
        if self.differing > TIES * self.pixels:
            return f"{self.differing} of {self.pixels} pixels are of another class, allowed is a share of {TIES:g}"
        return ""


def agreement(truth: Sequence[Prediction], answers: Sequence[Prediction]) -> Agreement:
    """Compare predictions of the same samples."""
    largest, differing, pixels = 0.0, 0, 0
    for one, other in zip(truth, answers, strict=True):
        distance = float(np.abs(one.probabilities - other.probabilities).max())
        largest = max(largest, distance) if np.isfinite(distance) else float("inf")
        ours, theirs = mask_of(one.encoded), mask_of(other.encoded)
        if ours.shape != theirs.shape:
            raise ValueError(f"its mask has the shape {theirs.shape} where {ours.shape} is needed")
        differing += int((ours != theirs).sum())
        pixels += ours.size
    return Agreement(len(truth), largest, differing, pixels)


def mask_of(encoded: bytes) -> NDArray[Any]:
    """The values of an encoded mask: PNG or NIfTI."""
    if encoded.startswith(b"\x89PNG"):
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image)
    return np.asanyarray(open_volume(encoded).dataobj)


def by_network(about: dict[str, Any], network: nn.Module) -> Predict:
    """How the trained network predicts: through the training's own transforms and MONAI's sliding window.

    Args:
        about: `model.json`.
        network: in evaluation mode, on the CPU.
    """
    values = np.array(about["mask_values"])
    values = values.astype(np.min_scalar_type(values.max()))

    @torch.no_grad()
    def image(files: Sequence[Path]) -> Prediction:
        statistics = Statistics(torch.tensor(about["mean"]), torch.tensor(about["std"]), torch.ones(about["classes"]))
        pixels = torch.from_numpy(decode_channels(files, about["image_size"]).copy())
        logits = network(to_network(pixels[None], statistics))
        with Image.open(files[0]) as opened:
            width, height = opened.size
        planes = logits.softmax(1)[0].numpy()
        probabilities = np.stack([to_own_size(plane, width, height) for plane in planes])
        return Prediction(probabilities, encode_mask(values[to_masks(logits)[0]], width, height))

    def volume(files: Sequence[Path]) -> Prediction:
        sources = [open_volume(file) for file in files]
        logits = volume_logits(network, torch.from_numpy(decode_volumes(sources)), about["patch_size"])
        classes = logits.argmax(0).numpy()
        return Prediction(logits.softmax(0).numpy(), encode_labels(values[classes], sources[0]))

    return volume if about["spatial_dims"] == 3 else image


def by_arrays(about: dict[str, Any], network: Network) -> Predict:
    """How an exported network predicts: as `workers.contract.inference` does it."""
    return lambda files: predict(about, network, files)


def of_tensors(network: Callable[[Tensor], Tensor]) -> Network:
    """A network of tensors as one of arrays."""

    @torch.no_grad()
    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = network(torch.from_numpy(np.ascontiguousarray(images))).numpy()
        return logits

    return run
