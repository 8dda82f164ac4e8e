"""A run on volumes: two workers compute what one computes, and the result lies where the images lie."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.distributed.test_world_size import confidences, run
from tests.volumes import MASK_VALUES, PIL, nifti, put_balls
from workers.contract import keys
from workers.contract.request import JobSpec, ResultManifest, TrainRequest
from workers.contract.store import ObjectStore, open_store
from workers.predict import main

EPOCHS, STEPS, COUNT = 3, 5, 15
SHAPE = (18, 26, 22)
COLUMNS = ("confidence", "score", "dice", "expected_dice")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volumes")
    store = open_store(f"file://{root}/store")
    put_balls(store, COUNT, SHAPE)
    given = {
        "dataset_id": "ds-3d",
        "epochs": EPOCHS,
        "batch_size": 3,  # the ranks do not divide it
        "patch_size": 16,
        "network": {"name": "UNet", "arguments": {"channels": [4, 8, 16], "strides": [2, 2]}},
        "method": {"name": "dale", "start": 0.3},
    }
    for job in ("one", "two", "stopped"):
        request = TrainRequest(job_id=job, spec=JobSpec.model_validate(given))
        store.put(keys.request(job), request.model_dump_json().encode())
    run(root, "one", 1)
    return root


def model_of(store: ObjectStore, folder: Path) -> Path:
    result = ResultManifest.model_validate_json(store.get(keys.result_manifest("one")))
    folder.mkdir()
    for file in result.files:
        (folder / file.name).write_bytes(store.get(file.key))
    return folder


def test_two_workers_reach_the_confidences_of_one(root: Path) -> None:
    run(root, "two", 2)
    store = open_store(f"file://{root}/store")
    for epoch in range(EPOCHS):
        alone, together = confidences(store, "one", epoch), confidences(store, "two", epoch)
        assert alone["ordinal"].to_pylist() == together["ordinal"].to_pylist() == list(range(COUNT))
        for column in COLUMNS:
            tolerance = 1e-5 if (epoch + 1) * STEPS <= 10 else 1e-4
            np.testing.assert_allclose(
                together[column].to_numpy(), alone[column].to_numpy(), rtol=0, atol=tolerance, err_msg=column
            )
    assert alone["confidence"].to_numpy().min() < 0.9, "the confidences never moved: the comparison says nothing"


def test_an_interrupted_run_sees_the_patches_it_would_have_seen(root: Path) -> None:
    run(root, "stopped", 1, stop_after=2)
    run(root, "stopped", 1)
    store = open_store(f"file://{root}/store")
    alone, resumed = (confidences(store, job, EPOCHS - 1) for job in ("one", "stopped"))
    for column in COLUMNS:
        np.testing.assert_allclose(resumed[column].to_numpy(), alone[column].to_numpy(), atol=1e-5, err_msg=column)


def test_predictions_lie_where_the_images_lie(root: Path, tmp_path: Path) -> None:
    store = open_store(f"file://{root}/store")
    for ordinal in range(COUNT):
        (tmp_path / "mask.nii.gz").write_bytes(store.get(keys.prediction("one", ordinal, "nii.gz")))
        mask = nib.load(tmp_path / "mask.nii.gz")
        assert mask.shape == SHAPE
        np.testing.assert_array_equal(mask.affine, PIL)
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}


def test_the_model_predicts_the_files_of_a_folder(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(f"file://{root}/store")
    model = model_of(store, tmp_path / "model")
    described = json.loads((model / "model.json").read_text())
    assert (described["spatial_dims"], described["patch_size"]) == (3, 16)
    assert described["normalisation"]["percentiles"] == [0.5, 99.5]
    assert (described["mean"], described["std"]) == ([0.0], [1.0])
    arrays = put_balls(open_store(f"file://{tmp_path}/store"), COUNT, SHAPE)
    for folder, index in (("images", 0), ("masks", 1)):
        (tmp_path / folder).mkdir()
        for number, ending in ((1, "nii.gz"), (2, "nii")):
            data = nifti(arrays[number][index], compressed=ending == "nii.gz")
            (tmp_path / folder / f"case.{number}.{ending}").write_bytes(data)
    folders = [f"--{name}={tmp_path / name}" for name in ("model", "images", "masks", "out")]
    assert main(folders) == 0
    assert json.loads(capsys.readouterr().out)["dice"].keys() == {"case.1", "case.2"}
    for number in (1, 2):
        own = nib.load(tmp_path / "out" / f"case.{number}.nii.gz")
        (tmp_path / "mask.nii.gz").write_bytes(store.get(keys.prediction("one", number, "nii.gz")))
        written = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
        np.testing.assert_array_equal(np.asarray(own.dataobj), np.array(MASK_VALUES)[written])
        np.testing.assert_array_equal(own.affine, PIL)
