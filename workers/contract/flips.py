"""What a network says of an image and its mirror images, taken together."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from workers.contract.inference import Network, softmax


def over_flips(network: Network) -> Network:
    """A network that answers with the mean of its probabilities over all flips of its input: 2 to the number of axes.

    What it gives are logarithms of probabilities, which are logits as good as any other.
    """

    def mean(images: NDArray[np.float32]) -> NDArray[np.float32]:
        axes = range(2, images.ndim)
        flips = [some for count in range(len(axes) + 1) for some in itertools.combinations(axes, count)]
        parts = []
        for flip in flips:
            logits = network(np.ascontiguousarray(np.flip(images, flip)))
            parts.append(np.flip(softmax(np.moveaxis(logits, 1, 0)), flip))  # (C, B, *edges): the same axes
        probabilities = np.moveaxis(np.mean(parts, axis=0), 0, 1)
        return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float32).tiny)), dtype=np.float32)

    return mean
