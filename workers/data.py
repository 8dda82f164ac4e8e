"""The samples of a dataset version, decoded once; what a network must know of them, and how it sees them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from workers.cache import equal_slots, open_shared
from workers.contract import keys, tables
from workers.contract.store import ObjectMissing, ObjectStore
from workers.exchange import sum_over_ranks
from workers.images import decode_channels, decode_mask
from workers.run import Run

CPU = torch.device("cpu")
STATISTICS_SAMPLES = 256  # as many, evenly spaced, tell the dataset's mean, spread and class frequencies


class SampleUnreadable(ValueError):
    """A sample of the dataset cannot be read; the message names it."""


@dataclass(frozen=True)
class Statistics:
    """What the network must know of the data before it sees it.

    Attributes:
        mean: (channels,), of the intensities (of images in [0, 1]; of volumes as they are kept, so 0).
        std: (channels,), likewise (of volumes 1).
        prior: (C,), share of the pixels of each class.
    """

    mean: Tensor
    std: Tensor
    prior: Tensor


class Batches(Protocol):
    """Where a loop takes its samples from."""

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, channels, *spatial) and class indices (B, *spatial), uint8, on the CPU.

        Images are uint8 (2D) or float16 (normalised, 3D).
        """


class Samples:
    """The samples of one immutable dataset version.

    Several threads may take batches at once.

    Args:
        store: where the dataset lies.
        dataset_id: the dataset.
        version: number of its version.
        image_size: edge S of the square that images are resized to, in pixels.
        run: the run whose ranks share what they have decoded; to make the samples is then a collective. None: every
            sample is decoded whenever it is asked for.
    """

    spatial_dims = 2

    def __init__(
        self, store: ObjectStore, dataset_id: str, version: int, image_size: int, run: Run | None = None
    ) -> None:
        self.store, self.dataset_id, self.image_size = store, dataset_id, image_size
        self.table: pa.Table = tables.from_parquet(store.get(keys.version(dataset_id, version)), tables.SAMPLES)
        self.mask_values: list[int] = json.loads(self.table.schema.metadata[tables.MASK_VALUES])
        self.channel_names = tables.channel_names(self.table.schema)
        self._trained, validated, _ = tables.split_counts(self.table)
        self._kept = self._trained + validated  # the first so many are met again and again
        self._run = run
        self._cache = open_shared(equal_slots(self._kept, (self.channels + 1) * image_size**2)) if run else None

    def __len__(self) -> int:
        """Number of samples that are trained on; they are the first."""
        return self._trained

    @property
    def validation(self) -> range:
        """Ordinals of the samples that choose an epoch."""
        return range(self._trained, self._kept)

    @property
    def held_out(self) -> range:
        """Ordinals of the samples that judge the network. They are decoded whenever they are asked for."""
        return range(self._kept, int(self.table.num_rows))

    @property
    def classes(self) -> int:
        """Number of classes, the background included."""
        return len(self.mask_values)

    @property
    def channels(self) -> int:
        """Number of channels that the network sees: three of one RGB file, or one of each grey file."""
        return len(self.channel_names)

    @property
    def files(self) -> int:
        """Number of files that hold the image of a sample."""
        return 1 + len((self.table["channels"][0].as_py() if len(self) else None) or ())

    @property
    def edge(self) -> int:
        """Edge of the squares that the network sees, in pixels."""
        return self.image_size

    def of_epoch(self, epoch: int) -> Samples:
        """Where an epoch takes its batches from: the images are the same in each."""
        return self

    def size(self, ordinal: int) -> tuple[int, int]:
        """Width and height of the image as it was uploaded."""
        return self.table["width"][ordinal].as_py(), self.table["height"][ordinal].as_py()

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, channels, S, S) and class indices (B, S, S), both uint8, on the CPU.

        Raises:
            SampleUnreadable: one of the files is not what it should be.
        """
        size = self.image_size
        images = torch.empty(len(ordinals), self.channels, size, size, dtype=torch.uint8)
        labels = torch.empty(len(ordinals), size, size, dtype=torch.uint8)
        for ordinal, image, label in zip(ordinals.tolist(), images, labels, strict=True):
            if self._cache is None or ordinal >= self._kept:
                self._decode(ordinal, image, label)
            elif not self._cache.read(ordinal, image, label):
                self._decode(ordinal, image, label)
                self._cache.write(ordinal, image, label)
        return images, labels

    def label(self, ordinal: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """Class indices (H, W) in the image's own size.

        Raises:
            SampleUnreadable: the mask is not what it should be.
        """
        name, sha256 = (self.table[column][ordinal].as_py() for column in ("name", "mask_sha256"))
        try:
            return decode_mask(self.store.get(keys.blob(self.dataset_id, sha256)), None, self.mask_values)
        except (OSError, ValueError, ObjectMissing) as error:
            raise SampleUnreadable(f"sample {name!r} (number {ordinal}) cannot be read: {error}") from error

    def statistics(self) -> Statistics:
        """Mean, spread and class frequencies of the samples that are trained on.

        With a run a collective: its ranks share the work.
        """
        if self._run is None:
            return statistics_of(self, len(self), self.classes, channels=self.channels)
        run = self._run
        return statistics_of(
            self, len(self), self.classes, run.rank, run.world_size, run.device, channels=self.channels
        )

    def _decode(self, ordinal: int, image: Tensor, label: Tensor) -> None:
        """Fill in image (channels, S, S) and class indices (S, S) from the sample's files."""
        columns = ("name", "image_sha256", "channels", "mask_sha256")
        row = {name: self.table[name][ordinal].as_py() for name in columns}
        try:
            *image_files, mask_file = (
                self.store.get(keys.blob(self.dataset_id, sha256))
                for sha256 in (row["image_sha256"], *(row["channels"] or ()), row["mask_sha256"])
            )
            image.numpy()[:] = decode_channels(image_files, self.image_size)
            label.numpy()[:] = decode_mask(mask_file, self.image_size, self.mask_values)
        except (OSError, ValueError, ObjectMissing) as error:
            raise SampleUnreadable(f"sample {row['name']!r} (number {ordinal}) cannot be read: {error}") from error


def statistics_of(
    samples: Batches,
    count: int,
    classes: int,
    rank: int = 0,
    world_size: int = 1,
    device: torch.device = CPU,
    channels: int = 3,
) -> Statistics:
    """Mean, spread and class frequencies, from evenly spaced samples: bit by bit the same for any number of ranks.

    A collective: each rank looks at its share of the samples, and integer counts are summed over the ranks.

    Args:
        samples: where to take them from.
        count: how many there are, N.
        classes: C, the background included.
        rank: this process.
        world_size: number of processes.
        device: where the process group communicates.
        channels: how many the images have.
    """
    chosen = torch.linspace(0, count - 1, min(count, STATISTICS_SAMPLES)).round().long()
    counts = torch.zeros(channels + 1, 256, dtype=torch.long)  # of each intensity, by channel; last, of each class
    for ordinals in chosen[rank::world_size].split(8):
        images, labels = samples.batch(ordinals)
        counts += torch.stack([torch.bincount(v.flatten(), minlength=256) for v in (*images.unbind(1), labels)])
    counts = sum_over_ranks(counts, device)
    pixels, intensity = counts[-1].sum(), torch.arange(256)
    mean = (counts[:-1] * intensity).sum(1).double() / (255 * pixels)
    square = (counts[:-1] * intensity.square()).sum(1).double() / (255**2 * pixels)
    std = (square - mean.square()).clamp_min(1e-6).sqrt()
    return Statistics(mean.float(), std.float(), (counts[-1, :classes].double() / pixels).float())


def to_network(images: Tensor, statistics: Statistics) -> Tensor:
    """Images as the network sees them, float32: minus the mean, over the spread.

    Args:
        images: (B, channels, *spatial); if they are uint8, the statistics are of the same divided by 255.
        statistics: of the dataset.
    """
    shape = (1, -1, *[1] * (images.ndim - 2))
    mean, std = statistics.mean.to(images.device), statistics.std.to(images.device)
    values = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    return (values - mean.view(shape)) / std.view(shape)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Class indices (B, *spatial) as (B, C, *spatial), float32."""
    return torch.nn.functional.one_hot(labels.long(), classes).movedim(-1, 1).float()


def to_masks(logits: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Logits (B, C, *spatial) to class indices (B, *spatial), uint8."""
    return logits.argmax(1).to(torch.uint8).cpu().numpy()
