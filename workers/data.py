"""The samples of a dataset version, decoded once and cached; batches of them on the device that trains."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from monai.data.dataset import CacheDataset
from torch import Tensor

from workers.contract import keys, tables
from workers.contract.store import ObjectStore
from workers.images import decode_image, decode_mask

CACHE_BYTES = 2 * 2**30  # decoded samples that one rank keeps in memory; the rest is decoded anew each time
STATISTICS_SAMPLES = 256  # as many, evenly spaced, tell the dataset's mean, spread and class frequencies


class SampleUnreadable(ValueError):
    """A sample of the dataset cannot be read; the message names it."""


@dataclass(frozen=True)
class Statistics:
    """What the network must know of the data before it sees it.

    Attributes:
        mean: (3,), of the intensities in [0, 1], by channel.
        std: (3,), likewise.
        prior: (C,), share of the pixels of each class.
    """

    mean: Tensor
    std: Tensor
    prior: Tensor


class Batches(Protocol):
    """Where a loop takes its samples from."""

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and class indices (B, H, W), both uint8, on the CPU."""


class Samples:
    """The samples of one immutable dataset version.

    Args:
        store: where the dataset lies.
        dataset_id: the dataset.
        version: number of its version.
        image_size: edge of the square that images are resized to, in pixels.
    """

    def __init__(self, store: ObjectStore, dataset_id: str, version: int, image_size: int) -> None:
        self.store, self.dataset_id, self.image_size = store, dataset_id, image_size
        self.table: pa.Table = tables.from_parquet(store.get(keys.version(dataset_id, version)), tables.SAMPLES)
        self.mask_values: list[int] = json.loads(self.table.schema.metadata[tables.MASK_VALUES])
        cached = min(len(self), CACHE_BYTES // (4 * image_size**2))
        self._decoded = CacheDataset(
            range(len(self)),
            self._decode,
            cache_num=cached,
            copy_cache=False,
            runtime_cache=True,
            progress=False,
        )

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def classes(self) -> int:
        """Number of classes, the background included."""
        return len(self.mask_values)

    def size(self, ordinal: int) -> tuple[int, int]:
        """Width and height of the image as it was uploaded."""
        return self.table["width"][ordinal].as_py(), self.table["height"][ordinal].as_py()

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W) and class indices (B, H, W), both uint8, on the CPU."""
        if not len(ordinals):
            square = (self.image_size, self.image_size)
            return torch.empty(0, 3, *square, dtype=torch.uint8), torch.empty(0, *square, dtype=torch.uint8)
        images, labels = zip(*(self._decoded[int(i)] for i in ordinals), strict=True)
        return torch.stack(images), torch.stack(labels)

    def statistics(self) -> Statistics:
        """Mean, spread and class frequencies of the dataset."""
        return statistics_of(self, len(self), self.classes)

    def _decode(self, ordinal: int) -> tuple[Tensor, Tensor]:
        row = {name: self.table[name][ordinal].as_py() for name in ("name", "image_sha256", "mask_sha256")}
        image, mask = (
            self.store.get(keys.blob(self.dataset_id, row[column])) for column in ("image_sha256", "mask_sha256")
        )
        try:
            pixels = decode_image(image, self.image_size)
            classes = decode_mask(mask, self.image_size, self.mask_values)
        except (OSError, ValueError) as error:
            raise SampleUnreadable(f"sample {row['name']!r} (number {ordinal}) cannot be read: {error}") from error
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()), torch.from_numpy(classes.copy())


def statistics_of(samples: Batches, count: int, classes: int) -> Statistics:
    """Mean, spread and class frequencies, from evenly spaced samples: the same on every rank.

    Args:
        samples: where to take them from.
        count: how many there are, N.
        classes: C, the background included.
    """
    chosen = torch.linspace(0, count - 1, min(count, STATISTICS_SAMPLES)).round().long()
    pixels = 0
    moments = torch.zeros(2, 3, dtype=torch.float64)
    frequencies = torch.zeros(classes, dtype=torch.float64)
    for ordinals in chosen.split(32):
        images, labels = samples.batch(ordinals)
        values = images.double() / 255
        moments += torch.stack([values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
        pixels += labels.numel()
        frequencies += torch.bincount(labels.flatten(), minlength=classes)
    mean, square = moments / pixels
    std = (square - mean.square()).clamp_min(1e-6).sqrt()
    return Statistics(mean.float(), std.float(), (frequencies / pixels).float())


def to_network(images: Tensor, statistics: Statistics) -> Tensor:
    """uint8 images (B, 3, H, W) as the network sees them: in [0, 1], minus the mean, over the spread."""
    shape = (1, -1, 1, 1)
    mean, std = statistics.mean.to(images.device), statistics.std.to(images.device)
    return (images.float() / 255 - mean.view(shape)) / std.view(shape)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Class indices (B, H, W) as (B, C, H, W), float32."""
    return torch.nn.functional.one_hot(labels.long(), classes).movedim(-1, 1).float()


def to_masks(logits: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Logits (B, C, H, W) to class indices (B, H, W), uint8."""
    return logits.argmax(1).to(torch.uint8).cpu().numpy()
