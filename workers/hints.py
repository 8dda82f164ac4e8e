"""What a dataset's table says of labels beforehand, as the method takes it: of the owned samples only."""

from __future__ import annotations

import pyarrow as pa
import torch
from torch import Tensor

import dale


def hints_of(table: pa.Table, ordinals: Tensor) -> tuple[dale.Hints, int]:
    """Hints about some samples, and the number of annotators of all that are known by name.

    Args:
        table: the samples of the dataset version, in the order of their ordinals.
        ordinals: (n,), of which samples; ascending.
    """
    people = {name: number for number, name in enumerate(sorted(table["annotator"].unique().drop_null().to_pylist()))}
    own = table.select(["annotator", "verified", "agreement"]).take(pa.array(ordinals.numpy()))
    annotators, verified, agreements = (column.to_pylist() for column in own.columns)
    hints = dale.Hints(
        trusted=torch.tensor([bool(known) for known in verified], dtype=torch.bool),
        annotator=torch.tensor([people.get(name, -1) for name in annotators], dtype=torch.long),
        agreement=torch.tensor([torch.nan if value is None else value for value in agreements], dtype=torch.float32),
    )
    return hints, len(people)
