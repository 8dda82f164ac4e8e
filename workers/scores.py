"""How well a network does on samples that it was not trained on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from workers.contract import keys, tables
from workers.contract.request import Shard
from workers.exchange import gather, sum_over_ranks
from workers.run import Run


def dice(prediction: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int) -> float:
    """Mean Dice over the foreground classes; of a class that both lack it is 1.

    Args:
        prediction: class indices.
        truth: class indices, of the same shape.
        classes: C, the background included.
    """
    scores = []
    for c in range(1, classes):
        p, t = prediction == c, truth == c
        total = int(p.sum() + t.sum())
        scores.append(2 * int((p & t).sum()) / total if total else 1.0)
    return float(np.mean(scores))


def write_scores(run: Run, scores: dict[int, float]) -> tuple[list[Shard], dict[str, float]]:
    """Write the Dice of each held-out sample, each rank its own. A collective.

    Args:
        run: this rank's view of the run.
        scores: Dice by ordinal, of the samples that this rank predicted.

    Returns:
        What was written, and over all ranks `test_dice` (the mean), `test_dice_std` (the standard deviation over the
        samples, 0 for a single one) and `test_samples`; nothing where no sample is held out.
    """
    values = torch.tensor(list(scores.values()), dtype=torch.float64)
    count, total = sum_over_ranks(torch.stack([torch.ones_like(values).sum(), values.sum()]), run.device).tolist()
    if not count:
        return [], {}
    mean = total / count
    spread = float(sum_over_ranks((values - mean).square().sum()[None], run.device)) / count
    table = pa.table({"ordinal": list(scores), "dice": list(scores.values())}, schema=tables.TEST_SCORES)
    key = keys.held_out_scores(run.request.job_id, run.rank, run.world_size)
    written = run.write(key, tables.to_parquet(table), "application/vnd.apache.parquet")
    shards = gather(Shard(**written.model_dump(), rows=len(scores)))
    return shards, {"test_dice": mean, "test_dice_std": spread**0.5, "test_samples": count}
