"""The images of a benchmark: decoded once, split without leaks, labelled with known faults.

Shapes: images (N, 3, S, S) and masks (N, S, S), both uint8; masks hold class indices, 0 = background.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from dale.annotators import assign_annotators, corrupt_by_annotator
from dale.folders import BadFolder, FolderMasks, pair_files, read_truth
from dale.noise import CLEAN, Truth, corrupt_dataset, parse_kinds
from workers.images import decode_image, decode_mask, encode_mask

CACHE = Path("~/.cache/dale-benchmarks").expanduser()
NO_NOISE = "none"
TEST_SHARE, TEST_MOST = 0.3, 300
# Difference hash: edge of the grid, the grey levels that count as a difference, the bits of 2 x 240 that may differ.
GRID, STEP, SAME_BITS = 16, 2.0, 72


@dataclass(frozen=True)
class Pool:
    """Samples in memory. `classes` counts the background."""

    names: tuple[str, ...]
    images: Tensor  # (N, 3, S, S) uint8, RGB
    masks: Tensor  # (N, S, S) uint8, class indices
    classes: int

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: Iterable[int]) -> Pool:
        """These samples, in this order."""
        chosen = [int(index) for index in indices]
        return Pool(tuple(self.names[i] for i in chosen), self.images[chosen], self.masks[chosen], self.classes)


@dataclass(frozen=True)
class Split:
    """What a run trains on, stops early by, and is tested on. Every mask is as the folder has it, without noise."""

    train: Pool
    validation: Pool
    test: Pool


def load(folder: Path, size: int, limit: int | None = None, *, cache: Path = CACHE) -> Pool:
    """Samples of a folder with `images/` and `masks/`, pixel for pixel as the workers train on them.

    Args:
        folder: images and masks, paired by name.
        size: edge S of the square that both are resized to.
        limit: read at most so many samples, chosen by a hash of their names; None reads all. (How many of them a
            run trains on is for `split` to say.)
        cache: where decoded folders are kept, by path, size, and the sizes and times of the files.

    Raises:
        BadFolder: not a dataset; the message names the file.
    """
    files = pair_files(folder)
    names = sorted(sorted(files, key=_hash)[:limit])
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for pair in files.values() for path in pair]
    stored = cache / f"{_hash(json.dumps([str(folder.resolve()), size, names, stats]))[:32]}.npz"
    try:
        with np.load(stored) as arrays:
            images, masks, classes = arrays["images"], arrays["masks"], int(arrays["classes"])
    except (OSError, ValueError, KeyError, BadZipFile):
        indices = FolderMasks({name: mask for name, (_, mask) in files.items()})
        classes = max(2, len(indices.pixel_values))
        images = np.empty((len(names), 3, size, size), np.uint8)
        masks = np.empty((len(names), size, size), np.uint8)
        for row, name in enumerate(names):
            images[row], masks[row] = _decode(files[name][0], indices[name], size, classes)
        _save(stored, images, masks, classes)
    return Pool(tuple(names), torch.from_numpy(images), torch.from_numpy(masks), classes)


def _decode(
    path: Path, indices: NDArray[np.uint8], size: int, classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    height, width = indices.shape
    try:
        with Image.open(path) as image:
            if image.size != (width, height):
                raise BadFolder(f"{path} is {image.width} x {image.height} pixels, its mask {width} x {height}.")
        pixels = decode_image(path, size)
    except OSError as error:
        raise BadFolder(f"{path} cannot be read as an image: {error}. Replace or remove it.") from error
    return pixels.transpose(2, 0, 1), decode_mask(encode_mask(indices, width, height), size, list(range(classes)))


def _save(path: Path, images: NDArray[np.uint8], masks: NDArray[np.uint8], classes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.savez(file, images=images, masks=masks, classes=classes)
            file.flush()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def difference_hash(images: Tensor) -> Tensor:
    """Perceptual hash (N, 480) of zeros and ones: where a coarse grey image rises by more than `STEP` grey levels.

    The image is averaged to 16 x 16 and its range stretched to 0..255; each bit tells whether a cell is brighter
    than its left (or upper) neighbour. Brightness, contrast and re-encoding leave nearly all bits as they are.
    """
    coarse = F.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), GRID)[:, 0]  # (N, 16, 16)
    low, high = coarse.amin((1, 2), keepdim=True), coarse.amax((1, 2), keepdim=True)
    coarse = (coarse - low) * (255 / (high - low).clamp_min(1))
    right, down = coarse.diff(dim=2), coarse.diff(dim=1)
    return (torch.cat([right.flatten(1), down.flatten(1)], 1) > STEP).float()


def near_duplicate_groups(images: Tensor) -> NDArray[np.int64]:
    """Group number (N,) of each image: images of one group show the same picture, at most re-encoded or re-exposed.

    Two images are joined if at most `SAME_BITS` (15 %) of their difference hashes differ; groups are the connected
    components. Unrelated pictures differ in 40 % of the bits on average. Another view of the same lesion is not found.
    """
    bits = difference_hash(images)
    ones = bits.sum(1)
    near = ones[:, None] + ones[None, :] - 2 * bits @ bits.T <= SAME_BITS  # (N, N), Hamming distance
    groups: NDArray[np.int64] = connected_components(near.numpy(), directed=False)[1].astype(np.int64)
    return groups


def split(
    pool: Pool,
    seed: int,
    *,
    train: int | None = None,
    noisy_validation: float = 0.1,
    test: int | None = None,
    test_pool: Pool | None = None,
    clean: Sequence[bool] | None = None,
) -> Split:
    """Training, validation and test samples; near-duplicates never lie in two of them.

    The test samples depend on the names in the pool only, never on `seed`: groups of near-duplicates are taken in
    the order of a hash of their names. Training and validation samples are drawn by `seed` from the rest.

    Args:
        pool: what to draw from.
        seed: of the training and validation samples.
        train: at most so many training samples; None takes all that are left.
        noisy_validation: so many validation samples on top, as a share of the training samples.
        test: so many test samples; None takes 30 % of those with clean masks, at most 300.
        test_pool: test on all of this instead; what looks like one of its images is not trained on.
        clean: (N,) which masks of the pool are known to be right; only such are tested on. None: all of them.

    Raises:
        BadFolder: too few samples.
    """
    test_images = pool.images[:0] if test_pool is None else test_pool.images
    ids = near_duplicate_groups(torch.cat([pool.images, test_images]))
    barred = set(ids[len(pool) :].tolist())
    groups: dict[int, list[int]] = {}
    for index in sorted(range(len(pool)), key=lambda i: pool.names[i]):
        if ids[index] not in barred:
            groups.setdefault(int(ids[index]), []).append(index)
    members = sorted(groups.values(), key=lambda group: _hash(pool.names[group[0]]), reverse=True)
    held: list[list[int]] = []
    if test_pool is None:
        right = [group for group in members if clean is None or all(clean[i] for i in group)]
        wanted = min(round(TEST_SHARE * sum(map(len, right))), TEST_MOST) if test is None else test
        held = _whole(right, wanted)
        test_pool = _together(pool, held)
    rest = [group for group in members if group not in held]
    room = int(sum(map(len, rest)) / (1 + noisy_validation))
    wanted = room if train is None else min(train, room)
    order = [rest[i] for i in np.random.default_rng([seed, 0]).permutation(len(rest))]
    chosen = _whole(order, wanted)
    extra = _whole([group for group in order if group not in chosen], round(wanted * noisy_validation))
    if not chosen or not len(test_pool):
        raise BadFolder(
            f"{len(pool)} samples in {len(members)} groups are too few to train on some and test on others."
        )
    return Split(_together(pool, chosen), _together(pool, extra), test_pool)


def _together(pool: Pool, groups: Iterable[list[int]]) -> Pool:
    """The samples of these groups, in the order of their names."""
    return pool.take(sorted((index for group in groups for index in group), key=lambda index: pool.names[index]))


def _whole(groups: Sequence[list[int]], wanted: int) -> list[list[int]]:
    """Groups in this order, each that still fits into `wanted` samples."""
    chosen, count = [], 0
    for group in groups:
        if count + len(group) <= wanted:
            chosen.append(group)
            count += len(group)
    return chosen


def with_noise(
    masks: Tensor, names: Sequence[str], kinds: str, ratio: float, seed: int, annotators: int = 5
) -> tuple[Tensor, list[Truth]]:
    """Corrupt a share of the masks (N, S, S) at the size they are trained at; with what was done to each, in order.

    Args:
        masks: class indices.
        names: (N,), of the samples.
        kinds: `none`, `mixed`, kinds with commas between (see `dale.noise`), or `style:KIND`: whole annotators draw so.
        ratio: share of the masks to corrupt, 0..1.
        seed: the same seed, masks and names give the same noise.
        annotators: how many there are, for a style.

    Raises:
        ValueError: an unknown kind, or too few masks can be corrupted by these kinds.
    """
    if kinds == NO_NOISE or not ratio:
        return masks.clone(), [Truth(name, CLEAN, 1.0) for name in names]
    given = {name: mask.numpy() for name, mask in zip(names, masks, strict=True)}
    rng = np.random.default_rng([seed, 1])
    if kinds.startswith("style:"):
        people = assign_annotators(names, annotators, rng)
        drawn = list(corrupt_by_annotator(given, ratio, people, kinds.removeprefix("style:"), rng))
        new, records = {record.id: mask for mask, record in drawn}, [record for _, record in drawn]
    else:
        new, records = corrupt_dataset(given, ratio, parse_kinds(kinds), rng)
    truth = {record.id: record for record in records}
    return torch.from_numpy(np.stack([new[name] for name in names])), [truth[name] for name in names]


def known_truth(path: Path, names: Sequence[str]) -> list[Truth]:
    """What is known of the masks as they are, from truth.csv (columns id, kind, dice), in the order of `names`.

    Raises:
        BadFolder: columns or samples are missing.
    """
    truth = {record.id: record for record in read_truth(path)}
    missing = [name for name in names if name not in truth]
    if missing:
        raise BadFolder(f"{path} says nothing of {len(missing)} samples, the first of them {missing[0]!r}.")
    return [truth[name] for name in names]
