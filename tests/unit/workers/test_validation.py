"""How often the validation samples are looked at, and how volumes are judged."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from monai.metrics import compute_dice
from torch import Tensor, nn

from tests.volumes import put_balls
from workers.contract import keys, tables
from workers.contract.request import JobSpec, TrainRequest
from workers.contract.store import open_store
from workers.data import Statistics
from workers.run import Run
from workers.validation import interval, mean_dice
from workers.volumes import Volumes


class Images:
    spatial_dims = 2

    def __init__(self, trained: int, validated: int) -> None:
        self.trained, self.validation = trained, range(trained, trained + validated)

    def __len__(self) -> int:
        return self.trained


class Cubes(Images):
    spatial_dims, edge = 3, 32

    def __init__(self, trained: int, validated: int, size: int) -> None:
        super().__init__(trained, validated)
        self.table = pa.table({name: [size] * (trained + validated) for name in ("width", "height", "depth")})


@pytest.mark.parametrize(
    ("samples", "given", "expected"),
    [
        (Images(80, 20), {}, 1),  # 20 passes beside 320 of each epoch
        (Images(20, 80), {}, 6),  # as often as ten times in 60 epochs, at least
        (Images(20, 80), {"epochs": 25}, 3),
        (Images(20, 20), {}, 3),
        (Images(20, 80), {"epochs": 4}, 1),
        (Images(80, 20), {"validate_every": 7}, 7),
        (Cubes(80, 20, 32), {}, 1),  # one window each
        (Cubes(80, 20, 48), {"epochs": 600}, 5),  # eight windows each
        (Cubes(80, 20, 480), {"epochs": 600}, 60),
    ],
)
def test_it_costs_a_tenth_of_the_training_or_is_done_ten_times(
    samples: Any, given: dict[str, int], expected: int
) -> None:
    assert interval(JobSpec(dataset_id="ds-1", **given), samples) == expected  # type: ignore[arg-type]


class Threshold(nn.Module):
    """Calls bright voxels foreground."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(1.0))

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.level - images, images - self.level], 1)


def test_volumes_are_judged_whole(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}/store")
    put_balls(store, 5, (20, 24, 18))
    table = tables.from_parquet(store.get(keys.version("ds-3d", 1)), tables.VOLUMES)
    split = pa.array([None] * 3 + [tables.VALIDATION] * 2, pa.string())
    marked = table.set_column(table.schema.get_field_index("split"), tables.VOLUMES.field("split"), split)
    store.put(keys.version("ds-3d", 1), tables.to_parquet(marked.replace_schema_metadata(table.schema.metadata)))
    run = Run(
        TrainRequest(job_id="job", spec=JobSpec(dataset_id="ds-3d", patch_size=16)), 1, store, 0, 1, torch.device("cpu")
    )
    volumes = Volumes(store, "ds-3d", 1, 16, run=run)
    statistics = Statistics(torch.zeros(1), torch.ones(1), torch.tensor([0.9, 0.1]))
    expected = []
    for ordinal in (3, 4):
        image, label = volumes.volume(ordinal)
        pair = (image > 1)[None].float(), (label > 0)[None, None].float()
        expected.append(float(compute_dice(*pair)))
    assert 0.1 < np.mean(expected) < 1
    assert mean_dice(run, Threshold().eval(), statistics, volumes) == pytest.approx(np.mean(expected), abs=1e-6)
