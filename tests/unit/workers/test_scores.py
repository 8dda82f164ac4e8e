"""What is written of held-out volumes: rows that can be read, groups, millimetres, and every voxel once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch

from workers import scores as module
from workers.contract import tables
from workers.contract.request import JobSpec, TrainRequest
from workers.contract.store import open_store
from workers.run import Run
from workers.scores import Scores

SHAPE = (7, 9, 8)


def test_scores_of_volumes_are_written_and_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLAB", 2 * 9 * 8)  # so that a volume goes in four slabs
    store = open_store(f"file://{tmp_path}")
    request = TrainRequest(job_id="job-1", spec=JobSpec(dataset_id="ds-1"))
    run = Run(request, 1, store, 0, 1, torch.device("cpu"))
    groups = pa.table({"group": ["trained", "a", "a", None]})
    samples = SimpleNamespace(held_out=range(1, 4), spatial_dims=3, table=groups)
    scores = Scores(classes=2)
    label = np.zeros(SHAPE, np.uint8)
    label[2:5, 2:6, 2:6] = 1
    for ordinal in (3, 1, 2):
        prediction = np.roll(label, ordinal - 1, axis=0)  # planes lie 3 mm apart
        logits = torch.from_numpy(np.stack([1 - prediction, prediction])).float()
        scores.add(ordinal, prediction, label, (3.0, 0.5, 0.5))
        scores.calibrate(logits[None], torch.from_numpy(label)[None])
    shards, summary, evaluation = scores.write(run, samples)  # type: ignore[arg-type]

    (shard,) = shards
    rows = tables.from_parquet(store.get(shard.key), tables.TEST_SCORES).sort_by("ordinal").to_pylist()
    assert [row["ordinal"] for row in rows] == [1, 2, 3]
    assert [row["classes"]["hd95"] for row in rows] == [[0], [3], [6]]
    assert [row["dice"] for row in rows] == pytest.approx([1, 2 / 3, 1 / 3])
    assert summary == {
        "test_dice": pytest.approx(2 / 3),
        "test_dice_std": pytest.approx(0.2722, abs=1e-4),
        "test_samples": 3,
    }
    assert evaluation is not None
    assert (evaluation.samples, evaluation.groups, evaluation.hd95_unit) == (3, 2, "mm")
    dice = evaluation.metrics[0]
    assert (dice.low, dice.high) == pytest.approx((1 / 3, 5 / 6))  # only one of the two groups is drawn that often
    (calibration,) = evaluation.calibration
    sure = float(torch.tensor([0.0, 1.0]).softmax(0)[1])
    wrong = (0 + 32 + 64) / (3 * np.prod(SHAPE))
    assert calibration.pixels == 3 * np.prod(SHAPE)
    assert calibration.brier == pytest.approx((1 - wrong) * (1 - sure) ** 2 + wrong * sure**2)


def test_nothing_held_out_writes_nothing(tmp_path: Path) -> None:
    store = open_store(f"file://{tmp_path}")
    run = Run(TrainRequest(job_id="job-1", spec=JobSpec(dataset_id="ds-1")), 1, store, 0, 1, torch.device("cpu"))
    samples = SimpleNamespace(held_out=range(4, 4), spatial_dims=2)
    assert Scores(classes=2).write(run, samples) == ([], {}, None)  # type: ignore[arg-type]
    assert list(store.list("")) == []
