"""A cross-validation of real trainings, from an archive to the numbers, which are computed once more from the masks."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score, recall_score

from dale.synthetic import write_samples
from service.child import running_service
from service.cli.packing import as_archive
from service.client import Client, ImportOptions, JobSpec
from workers.contract import keys
from workers.contract.request import NetworkSpec
from workers.contract.store import open_store

pytestmark = pytest.mark.real
KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
SAMPLES, FOLDS = 24, 2


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    with running_service(tmp_path / "data", KEY) as url:
        yield url


@pytest.mark.timeout(900)
def test_every_sample_is_scored_once_by_a_network_that_has_not_seen_its_group(tmp_path: Path, service: str) -> None:
    write_samples(tmp_path / "lesions", SAMPLES, 64, seed=0)
    with Client(service, KEY) as dale:
        options = ImportOptions(group_pattern=r"(\d)$", test_share=0.2, split_seed=2)
        with as_archive(tmp_path / "lesions") as archive:
            dataset = dale.upload(archive, options=options)
        given = {row.sample: row for row in dale.dataset_samples(dataset.id, 1)}
        held_out = {name for name, row in given.items() if row.split == "test"}
        assert held_out
        network = NetworkSpec(arguments={"channels": [8, 16, 32], "strides": [2, 2]})
        spec = JobSpec(dataset_id=dataset.id, epochs=4, image_size=48, batch_size=8, network=network)
        made = dale.cross_validate(spec, folds=FOLDS)
        done = dale.wait_for_cross_validation(made.id)
        assert done.state == "SUCCEEDED", [one.cause for one in done.folds]
        scored = {one.sample: one for one in dale.out_of_fold(made.id)}
        assert scored.keys() == given.keys() - held_out

        store = open_store(f"file://{tmp_path / 'data' / 'objects'}")
        dice, recall = {}, {}
        for name, one in scored.items():
            version = done.folds[one.fold - 1].dataset_version
            trained_on = {row.group for row in dale.dataset_samples(dataset.id, version) if row.split == "train"}
            assert one.group not in trained_on
            masks = (
                store.get(keys.blob(dataset.id, one.mask_sha256)),
                store.get(keys.prediction(one.job_id, one.ordinal)),
            )
            label, predicted = (np.asarray(Image.open(io.BytesIO(mask))).ravel() > 0 for mask in masks)
            dice[name] = f1_score(label, predicted, zero_division=1.0)
            recall[name] = recall_score(label, predicted, zero_division=np.nan)  # of an empty label
        found = dale.cross_validated_metrics(made.id)
        assert found.evaluation is not None
        assert {name: one.dice for name, one in scored.items()} == pytest.approx(dice, abs=1e-5)
        summary = {one.metric: one for one in found.evaluation.metrics}
        assert summary["dice"].mean == pytest.approx(np.mean(list(dice.values())), abs=1e-5)
        assert summary["recall"].mean == pytest.approx(np.nanmean(list(recall.values())), abs=1e-5)
        assert found.evaluation.groups == len({one.group for one in scored.values()})
        by_fold = defaultdict(list)
        for name, one in scored.items():
            by_fold[one.fold].append(dice[name])
        (spread,) = [one for one in found.spread if one.metric == "dice"]
        assert spread.folds == pytest.approx([np.mean(by_fold[fold]) for fold in (1, 2)], abs=1e-5)
        pixels = sum(48 * 48 for _ in scored)
        assert [one.pixels for one in found.evaluation.calibration] == [pixels]
        assert "<svg" in dale.cross_validated_metrics_svg(made.id)
        dale.delete_cross_validation(made.id)
        assert list(store.list("jobs/")) == []
        assert [one for one in store.list(keys.dataset(dataset.id)) if one.endswith(".parquet")] == [
            keys.version(dataset.id, 1)
        ]
