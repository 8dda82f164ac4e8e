"""Why labels are doubted, in words: the delivered network's masks beside the labels that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dale.review import review_masks
from workers.contract import keys, tables
from workers.contract.request import Shard
from workers.exchange import gather
from workers.run import Run


class Reasons:
    """One rank's reasons on their way into the result."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def add(
        self,
        ordinal: int,
        prediction: NDArray[np.uint8],
        label: NDArray[np.uint8],
        spacing: Sequence[float],
        unit: str,
    ) -> None:
        """Compare a prediction with a label.

        Args:
            ordinal: the sample.
            prediction: (*spatial), class indices.
            label: (*spatial), class indices.
            spacing: from element to element along each axis, in `unit`: of images that were resized, in pixels of the
                image as it was uploaded.
            unit: px or mm.
        """
        found = review_masks(prediction, label, spacing, unit)
        classes = np.flatnonzero(np.bincount(prediction.ravel()))
        predicted = [number for number in classes.tolist() if number]
        self._rows.append({"ordinal": ordinal, **vars(found), "predicted": predicted})

    def write(self, run: Run) -> list[Shard]:
        """Write them, each rank its own (`tables.REASONS`). A collective; returns what all ranks wrote."""
        table = pa.Table.from_pylist(self._rows, schema=tables.REASONS)
        key = keys.reasons(run.request.job_id, run.rank, run.world_size)
        written = run.write(key, tables.to_parquet(table), "application/vnd.apache.parquet")
        return gather(Shard(**written.model_dump(), rows=table.num_rows))
