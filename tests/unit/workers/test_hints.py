"""What a dataset's table says of labels, as the method takes it."""

import pyarrow as pa
import torch

from workers.contract import tables
from workers.hints import hints_of

ROWS = [
    {"annotator": "Cy", "verified": True, "agreement": 0.5},
    {"annotator": None, "verified": None, "agreement": None},
    {"annotator": "Ada", "verified": False, "agreement": 0.25},
    {"annotator": "Cy", "verified": None, "agreement": 1.0},
    {"annotator": "Bo", "verified": True, "agreement": None},
]
TABLE = pa.Table.from_pylist(ROWS, schema=pa.schema(tables.FACTS))


def test_each_rank_gets_its_own_rows_and_all_name_annotators_alike() -> None:
    whole, people = hints_of(TABLE, torch.arange(5))
    assert people == 3
    assert whole.annotator.tolist() == [2, -1, 0, 2, 1]
    assert whole.trusted.tolist() == [True, False, False, False, True]
    assert whole.agreement is not None
    torch.testing.assert_close(whole.agreement, torch.tensor([0.5, torch.nan, 0.25, 1.0, torch.nan]), equal_nan=True)
    for rank in range(2):
        own, count = hints_of(TABLE, torch.arange(rank, 5, 2))
        assert count == 3
        assert torch.equal(own.annotator, whole.annotator[rank::2])
        assert torch.equal(own.trusted, whole.trusted[rank::2])


def test_of_nobody() -> None:
    hints, people = hints_of(pa.schema(tables.FACTS).empty_table(), torch.arange(0))
    assert people == 0
    assert len(hints.trusted) == len(hints.annotator) == 0
