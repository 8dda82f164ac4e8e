"""The volumes of a dataset version, decoded once; an epoch sees one random patch of each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate

import pyarrow as pa
import torch
from torch import Tensor

from workers.cache import open_shared
from workers.contract import keys, tables
from workers.contract.store import ObjectMissing, ObjectStore
from workers.data import CPU, SampleUnreadable, Statistics
from workers.exchange import sum_over_ranks
from workers.nifti import NOT_NIFTI, decode_pair, encode_labels, open_volume, ras_spacing
from workers.patches import CENTRES, centres_of, place_patch
from workers.run import Run


class Volumes:
    """The samples of one immutable dataset version of volumes: `workers.data.Samples` in 3D.

    Images are (channels, D, H, W), labels (D, H, W), oriented and normalised as `workers.nifti` says, each channel of a
    volume by itself. Several threads may take batches at once.

    Evidence about a label comes from the patch of the epoch; its moving average over the epochs, which
    `dale.ConfidenceState` keeps, makes it a statement about the volume. A patch where label and prediction are both
    empty speaks for the label.

    Args:
        store: where the dataset lies.
        dataset_id: the dataset.
        version: number of its version.
        patch_size: P, edge of the patches, in voxels; smaller volumes are padded with their mean and background.
        seed: of the run, which places the patches.
        run: the run whose ranks share what they have decoded; to make the samples is then a collective. None: every
            sample is decoded whenever it is asked for.
    """

    spatial_dims = 3

    def __init__(
        self,
        store: ObjectStore,
        dataset_id: str,
        version: int,
        patch_size: int,
        seed: int = 0,
        run: Run | None = None,
    ) -> None:
        self.store, self.dataset_id, self.patch_size, self.seed = store, dataset_id, patch_size, seed
        self.table: pa.Table = tables.from_parquet(store.get(keys.version(dataset_id, version)), tables.VOLUMES)
        self.mask_values: list[int] = json.loads(self.table.schema.metadata[tables.MASK_VALUES])
        self.channel_names = tables.channel_names(self.table.schema)
        self._trained, validated, _ = tables.split_counts(self.table)
        self._kept = self._trained + validated  # the first so many are met again and again
        self._run = run
        axes = (self.table[name][: self._kept].to_pylist() for name in ("width", "height", "depth"))
        head = 8 * (3 + (self.classes - 1) * CENTRES)  # bytes; then 2 of each channel and 1 of the label a voxel
        sizes = [head + (2 * self.channels + 1) * w * h * d for w, h, d in zip(*axes, strict=True)]
        self._cache = open_shared([0, *accumulate(sizes)]) if run else None

    def __len__(self) -> int:
        """Number of volumes that are trained on; they are the first."""
        return self._trained

    @property
    def validation(self) -> range:
        """Ordinals of the volumes that choose an epoch."""
        return range(self._trained, self._kept)

    @property
    def held_out(self) -> range:
        """Ordinals of the volumes that judge the network. They are decoded whenever they are asked for."""
        return range(self._kept, int(self.table.num_rows))

    @property
    def classes(self) -> int:
        """Number of classes, the background included."""
        return len(self.mask_values)

    @property
    def channels(self) -> int:
        """Number of channels that the network sees, each from a file of its own."""
        return len(self.channel_names)

    @property
    def files(self) -> int:
        """Number of files that hold the image of a sample: one for each channel."""
        return self.channels

    @property
    def edge(self) -> int:
        """Edge of the cubes that the network sees, in voxels."""
        return self.patch_size

    def of_epoch(self, epoch: int) -> Patches:
        """Where an epoch takes its batches from: of each volume the patch of that epoch."""
        return Patches(self, epoch)

    def volume(self, ordinal: int) -> tuple[Tensor, Tensor]:
        """A whole volume: intensities (channels, D, H, W), float16, and class indices (D, H, W), uint8.

        Raises:
            SampleUnreadable: one of the files is not what it should be.
        """
        head, decoded = self._head(ordinal)
        return self._planes(ordinal, head, decoded, 0, int(head[0]))

    def patch(self, ordinal: int, epoch: int) -> tuple[Tensor, Tensor]:
        """The patch of an epoch: intensities (channels, P, P, P), float16, and class indices (P, P, P), uint8.

        Raises:
            SampleUnreadable: one of the files is not what it should be.
        """
        size = self.patch_size
        image = torch.zeros(self.channels, size, size, size, dtype=torch.float16)
        label = torch.zeros(size, size, size, dtype=torch.uint8)
        head, decoded = self._head(ordinal)
        shape, centres = head[:3].tolist(), head[3:].view(-1, CENTRES).numpy()
        begin = place_patch(tuple(shape), size, centres, seed=self.seed, epoch=epoch, ordinal=ordinal).tolist()
        within = [slice(max(b, 0), min(b + size, extent)) for b, extent in zip(begin, shape, strict=True)]
        here = tuple(slice(w.start - b, w.stop - b) for w, b in zip(within, begin, strict=True))
        depth, plane = within[0], (slice(None), *within[1:])
        planes = self._planes(ordinal, head, decoded, depth.start, depth.stop)
        image[:, *here], label[here] = planes[0][:, *plane], planes[1][plane]
        return image, label

    def statistics(self) -> Statistics:
        """Mean 0 and spread 1, by construction, and the class frequencies, counted over all voxels that are trained on.

        With a run a collective: each rank counts its share of the volumes (and so decodes them).
        """
        run = self._run
        rank, world_size, device = (run.rank, run.world_size, run.device) if run else (0, 1, CPU)
        counts = torch.zeros(self.classes, dtype=torch.long)
        for ordinal in range(rank, len(self), world_size):
            counts += torch.bincount(self.volume(ordinal)[1].flatten(), minlength=self.classes)
        counts = sum_over_ranks(counts, device)
        mean, std = torch.zeros(self.channels), torch.ones(self.channels)
        return Statistics(mean, std, (counts.double() / counts.sum()).float())

    def spacing(self, ordinal: int) -> tuple[float, float, float]:
        """Millimetres between voxels along (D, H, W)."""
        source = self.store.get(keys.blob(self.dataset_id, self.table["image_sha256"][ordinal].as_py()))
        return ras_spacing(open_volume(source))

    def encode(self, ordinal: int, values: Tensor) -> bytes:
        """A mask or a map (D, H, W) as .nii.gz with the shape, orientation and affine of the sample's image."""
        source = self.store.get(keys.blob(self.dataset_id, self.table["image_sha256"][ordinal].as_py()))
        return encode_labels(values.numpy(), open_volume(source))

    def _head(self, ordinal: int) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Shape and centres, int64, flat; then image and label if they had to be decoded, None if they are kept."""
        head = torch.empty(3 + (self.classes - 1) * CENTRES, dtype=torch.long)
        cache = self._cache if ordinal < self._kept else None
        if cache is not None and cache.read(ordinal, head):
            return head, None
        decoded = self._decode(ordinal)
        head[:3] = torch.tensor(decoded[1].shape)
        head[3:] = torch.from_numpy(centres_of(decoded[1].numpy(), self.classes)).flatten()
        if cache is not None:
            cache.write(ordinal, head, *decoded)
        return head, decoded

    def _planes(
        self, ordinal: int, head: Tensor, decoded: tuple[Tensor, Tensor] | None, begin: int, end: int
    ) -> tuple[Tensor, Tensor]:
        """The planes from `begin` to `end` of image and label; no others are read where they are kept."""
        if decoded is None and self._cache is not None:
            depth, height, width = head[:3].tolist()
            image = torch.empty(self.channels, end - begin, height, width, dtype=torch.float16)
            label = torch.empty(end - begin, height, width, dtype=torch.uint8)
            plane, images = height * width, head.nbytes
            labels = images + 2 * self.channels * depth * plane
            wanted = [(some, images + 2 * (c * depth + begin) * plane) for c, some in enumerate(image)]
            wanted.append((label, labels + begin * plane))
            if all(self._cache.read(ordinal, some, at=at) for some, at in wanted):
                return image, label
        image, label = decoded or self._decode(ordinal)
        return image[:, begin:end], label[begin:end]

    def _decode(self, ordinal: int) -> tuple[Tensor, Tensor]:
        """Image (channels, D, H, W) and class indices (D, H, W) from the sample's files."""
        row = {name: self.table[name][ordinal].as_py() for name in self.table.column_names}
        try:
            *image_files, mask_file = (
                self.store.get(keys.blob(self.dataset_id, sha256))
                for sha256 in (row["image_sha256"], *(row["channels"] or ()), row["mask_sha256"])
            )
            image, label, shape = decode_pair(image_files, mask_file, self.mask_values)
            promised = row["width"], row["height"], row["depth"]
            if shape != promised:
                raise ValueError(f"the files have {shape} voxels, the dataset says {promised}")
        except (*NOT_NIFTI, ObjectMissing) as error:
            raise SampleUnreadable(f"sample {row['name']!r} (number {ordinal}) cannot be read: {error}") from error
        return torch.from_numpy(image), torch.from_numpy(label)


@dataclass(frozen=True)
class Patches:
    """What an epoch sees of volumes.

    Attributes:
        volumes: the samples.
        epoch: counted from 0.
    """

    volumes: Volumes
    epoch: int

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (B, channels, P, P, P), float16, and class indices (B, P, P, P), uint8, on the CPU.

        Raises:
            SampleUnreadable: one of the files is not what it should be.
        """
        images, labels = zip(*(self.volumes.patch(ordinal, self.epoch) for ordinal in ordinals.tolist()), strict=True)
        return torch.stack(images), torch.stack(labels)
