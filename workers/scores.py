"""How well a network does on samples that it was not trained on: collected by each rank, summed up over all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from workers.contract import keys, tables
from workers.contract.evaluation import LEVEL, Evaluation
from workers.contract.request import Shard
from workers.contract.summaries import RESAMPLES, summaries
from workers.dataset import AnySamples
from workers.doubt import SLAB
from workers.exchange import gather, sum_over_ranks
from workers.metrics import CalibrationSums, calibration_of, class_values
from workers.run import Run


class Scores:
    """One rank's scores on their way into the result.

    Args:
        classes: C, the background included.
    """

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self._rows: list[dict[str, Any]] = []
        self._calibration = CalibrationSums(classes)

    def add(
        self,
        ordinal: int,
        prediction: NDArray[np.uint8],
        label: NDArray[np.uint8],
        spacing: Sequence[float] | None = None,
    ) -> None:
        """Compare a prediction with a label.

        Args:
            ordinal: the sample.
            prediction: (*spatial), class indices, in the sample's own size.
            label: (*spatial), class indices.
            spacing: of volumes, in mm along each axis; None: pixels.
        """
        values = class_values(from_numpy(prediction), from_numpy(label), self.classes, spacing)
        self._rows.append({"ordinal": ordinal, "dice": float(np.mean(values["dice"])), "classes": values})  # type: ignore[arg-type]

    def calibrate(self, logits: Tensor, labels: Tensor) -> None:
        """Compare what the network believes with what is labelled, a slab at a time.

        Args:
            logits: (B, C, *spatial).
            labels: (B, *spatial), class indices.
        """
        planes = max(1, SLAB // max(1, labels[:, 0].numel()))
        for some, given in zip(logits.split(planes, dim=2), labels.split(planes, dim=1), strict=True):
            self._calibration.add(some.float().softmax(1), given)

    def write(self, run: Run, samples: AnySamples) -> tuple[list[Shard], dict[str, float], Evaluation | None]:
        """Write the scores of each held-out sample, each rank its own. A collective.

        Args:
            run: this rank's view of the run.
            samples: which they are, and what groups they belong to.

        Returns:
            What was written; over all ranks `test_dice` (the mean), `test_dice_std` (the standard deviation over the
            samples, 0 for a single one) and `test_samples`; and on rank 0 the evaluation. Nothing where no sample is
            held out.
        """
        if not samples.held_out:
            return [], {}, None
        table = pa.Table.from_pylist(self._rows, schema=tables.TEST_SCORES)
        key = keys.held_out_scores(run.request.job_id, run.rank, run.world_size)
        written = run.write(key, tables.to_parquet(table), "application/vnd.apache.parquet")
        shards = gather(Shard(**written.model_dump(), rows=len(self._rows)))
        sums = sum_over_ranks(self._calibration.sums, run.device)
        # A few numbers of each sample: unlike its pixels, they fit anywhere.
        rows = sorted((row for rows in gather(self._rows) for row in rows), key=lambda row: row["ordinal"])
        dice = np.array([row["dice"] for row in rows])
        summary = {
            "test_dice": float(dice.mean()),
            "test_dice_std": float(dice.std()),
            "test_samples": float(len(dice)),
        }
        if run.rank != 0:
            return shards, summary, None
        groups = [_group(samples, row["ordinal"]) for row in rows]
        evaluation = Evaluation(
            samples=len(rows),
            groups=len(set(groups)),
            level=LEVEL,
            resamples=RESAMPLES,
            hd95_unit="mm" if samples.spatial_dims == 3 else "px",
            metrics=summaries([row["classes"] for row in rows], groups, run.request.spec.seed),
            calibration=calibration_of(sums),
        )
        return shards, summary, evaluation


def _group(samples: AnySamples, ordinal: int) -> str:
    """What a sample is drawn with: its group, or itself."""
    group = samples.table["group"][ordinal].as_py()
    return f"sample {ordinal}" if group is None else f"group {group}"
