"""An epoch's order of all samples as a keyed bijection: any part of it is computed alone, and so is its inverse.

A Feistel network permutes [0, 4^h), the least such range that holds all N samples. What it carries outside [0, N) it
permutes again, until it falls inside ("cycle walking"): fewer than four times on average, and the inverse walks back.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words: TypeAlias = NDArray[np.uint64]

ROUNDS = 12  # four make a Feistel network pseudorandom (Luby and Rackoff 1988); ranges of a few samples take more


class Shuffle:
    """A pseudorandom permutation of [0, N) that needs memory for what it is asked only.

    Args:
        size: N, at least 1 and at most 2^62.
        seed: of the run, 0 <= seed < 2^32.
        epoch: counted from 0; another epoch or seed is another permutation, unrelated to this one.
    """

    def __init__(self, size: int, seed: int, epoch: int) -> None:
        self.size = size
        self._half = np.uint64(max(-(-(size - 1).bit_length() // 2), 1))  # h, bits in half a word
        self._keys = np.random.SeedSequence([seed, epoch]).generate_state(ROUNDS, np.uint64).astype(np.uint64)

    def ordinals(self, places: Tensor) -> Tensor:
        """The samples at these places of the order, (n,), int64.

        Raises:
            ValueError: a place is not in [0, N).
        """
        return self._walk(places, inverse=False)

    def places(self, ordinals: Tensor) -> Tensor:
        """The places of these samples in the order, (n,), int64: the inverse of `ordinals`.

        Raises:
            ValueError: an ordinal is not in [0, N).
        """
        return self._walk(ordinals, inverse=True)

    def _walk(self, start: Tensor, *, inverse: bool) -> Tensor:
        if len(start) and not 0 <= int(start.min()) <= int(start.max()) < self.size:
            raise ValueError(f"from {int(start.min())} to {int(start.max())}: not all in [0, {self.size})")
        values = self._permute(start.numpy().astype(np.uint64), inverse)
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            values[outside] = self._permute(values[outside], inverse)
            outside = outside[values[outside] >= self.size]
        return torch.from_numpy(values.astype(np.int64))

    def _permute(self, values: Words, inverse: bool) -> Words:
        left, right = values >> self._half, values & ((np.uint64(1) << self._half) - np.uint64(1))
        if inverse:
            for key in self._keys[::-1]:
                left, right = right ^ self._mix(left, key), left
        else:
            for key in self._keys:
                left, right = right, left ^ self._mix(right, key)
        return (left << self._half) | right

    def _mix(self, values: Words, key: np.uint64) -> Words:
        """h bits that depend on every bit of value and key: the finaliser of splitmix64."""
        mixed = values + key
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (mixed ^ (mixed >> np.uint64(31))) >> (np.uint64(64) - self._half)
