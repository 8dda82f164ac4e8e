"""Which part of a volume an epoch looks at: one cube, that depends on nothing but (seed, epoch, ordinal)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Share of the patches that are centred on the foreground. A patch without any says nothing of its label, while the
# confidence lives on what is said: so more than the third of nnU-Net, and as many as MONAI's RandCropByPosNegLabel.
FOREGROUND = 0.5
CENTRES = 256  # of each class, evenly spaced over its voxels: where a patch may be centred


def centres_of(labels: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Where patches may be centred: (C - 1, CENTRES) flat indices of voxels of each foreground class; -1 for none."""
    centres = np.full((classes - 1, CENTRES), -1, dtype=np.int64)
    for row, value in zip(centres, range(1, classes), strict=True):
        voxels = np.flatnonzero(labels == value)
        if len(voxels):
            row[:] = voxels[np.linspace(0, len(voxels) - 1, CENTRES).round().astype(np.int64)]
    return centres


def place_patch(
    shape: tuple[int, ...], size: int, centres: NDArray[np.int64], *, seed: int, epoch: int, ordinal: int
) -> NDArray[np.int64]:
    """Where a patch begins.

    `FOREGROUND` of the patches have a voxel of a class in their middle (the class drawn first, so that a rare one is
    seen as often as any), as far as the volume's border lets them; the others lie anywhere.

    Args:
        shape: of the volume, (D, H, W).
        size: P, edge of the patch in voxels.
        centres: (C - 1, CENTRES), as from `centres_of`.
        seed: of the run, in [0, 2^32).
        epoch: counted from 0.
        ordinal: the sample.

    Returns:
        (3,): first voxel. On an axis that is shorter than the patch it is negative: the volume lies in the middle.
    """
    # A counter-based generator, as in `dale.random_views`; the third word keeps the streams apart.
    u = np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 1, ordinal])).random(6)
    room = np.array(shape) - size
    begin = np.floor(u[3:] * (room + 1)).astype(np.int64)
    there = centres[centres[:, 0] >= 0]
    if u[0] < FOREGROUND and len(there):
        voxel = there[int(u[1] * len(there)), int(u[2] * CENTRES)]
        begin = np.array(np.unravel_index(voxel, shape)) - size // 2
    return np.where(room < 0, room // 2, begin.clip(0, room.clip(0)))
