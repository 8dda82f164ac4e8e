"""Reasons of a run: in the images' own pixels or in mm, one row for each sample of each rank."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from tests.volumes import PIL
from workers import reasons
from workers.contract import keys, tables
from workers.contract.request import JobSpec, TrainRequest
from workers.contract.store import open_store
from workers.nifti import ras_spacing
from workers.reasons import Reasons
from workers.run import Run


def disc(radius: float, size: int = 64, centre: float = 32) -> np.ndarray:
    y, x = np.ogrid[:size, :size]
    return (((y - centre) ** 2 + (x - centre) ** 2) < radius**2).astype(np.uint8)


def test_what_is_written_is_in_the_images_own_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "gather", lambda value: [value])
    request = TrainRequest(job_id="job-1", spec=JobSpec(dataset_id="ds-1"))
    run = Run(request, 1, open_store(f"file://{tmp_path}/store"), 1, 2, torch.device("cpu"))
    found = Reasons()
    found.add(1, disc(12), disc(16), (2.5, 2.5), "px")  # 4 pixels of the network wider: 10 of the image
    found.add(3, disc(12), np.zeros((64, 64), np.uint8), (1, 1), "px")
    found.add(5, disc(12), disc(12), (1, 1), "px")
    (shard,) = found.write(run)
    assert (shard.key, shard.rows) == (keys.reasons("job-1", 1, 2), 3)
    rows = tables.from_parquet(run.store.get(shard.key), tables.REASONS).to_pylist()
    assert [(row["ordinal"], row["kind"], row["unit"]) for row in rows] == [
        (1, "wide", "px"),
        (3, "missing", "px²"),
        (5, "none", "px"),
    ]
    assert rows[0]["amount"] == pytest.approx(10, abs=1)
    assert rows[0]["text"] == "the label is 10 px wider all around"
    assert rows[1]["amount"] == disc(12).sum()
    assert [row["predicted"] for row in rows] == [[1], [1], [1]]


def test_the_classes_of_a_prediction_are_those_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "gather", lambda value: [value])
    run = Run(
        TrainRequest(job_id="job-1", spec=JobSpec(dataset_id="ds-1")),
        1,
        open_store(f"file://{tmp_path}/store"),
        0,
        1,
        torch.device("cpu"),
    )
    found = Reasons()
    both = disc(12)
    both[:8] = 3
    for ordinal, prediction in enumerate((both, np.zeros_like(both))):
        found.add(ordinal, prediction, disc(12), (1, 1), "px")
    (shard,) = found.write(run)
    rows = tables.from_parquet(run.store.get(shard.key), tables.REASONS).to_pylist()
    assert [row["predicted"] for row in rows] == [[1, 3], []]


@pytest.mark.parametrize("affine", [np.diag([1.0, 2, 3, 1]), PIL])
def test_spacing_follows_the_axes_as_they_are_turned(affine: np.ndarray) -> None:
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), affine)
    turned = nib.as_closest_canonical(image)
    width, height, depth = turned.header.get_zooms()
    assert ras_spacing(image) == pytest.approx((depth, height, width))
