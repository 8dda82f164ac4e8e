"""Which samples make a shard: the same answer in every worker and every attempt, so that no shard is done twice."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

SHARD_SAMPLES = 256
SHARD_VALUES = 2**28  # pixels or voxels: what a worker has to do again at most, and how large a zip becomes
SHARDS_A_WORKER = 4  # at least, where there are samples enough: so that workers end at about the same time


def plan_shards(samples: pa.Table, workers: int) -> list[range]:
    """The ordinals of each shard, in order.

    Args:
        samples: of a dataset version.
        workers: that the job asks for, whether or not they are there.
    """
    values: NDArray[np.int64] = np.ones(samples.num_rows, dtype=np.int64)
    for name in ("width", "height", "depth"):
        if name in samples.column_names:
            values *= samples[name].to_numpy()
    most = min(SHARD_SAMPLES, max(1, -(-samples.num_rows // (SHARDS_A_WORKER * workers))))
    shards, begin, taken = [], 0, 0
    for ordinal, size in enumerate(values.tolist()):
        if ordinal > begin and (ordinal - begin == most or taken + size > SHARD_VALUES):
            shards.append(range(begin, ordinal))
            begin, taken = ordinal, 0
        taken += size
    return [*shards, range(begin, samples.num_rows)]
