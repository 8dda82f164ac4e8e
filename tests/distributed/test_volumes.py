"""A run on volumes: two workers compute what one computes, and the result lies where the images lie."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pyarrow as pa
import pytest
from nibabel.affines import apply_affine
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist

from tests.distributed.test_world_size import confidences, run, same_neighbours
from tests.volumes import MASK_VALUES, PIL, nifti, other_channel, put_balls
from workers.contract import keys, tables
from workers.contract.request import JobSpec, ResultManifest, TrainRequest
from workers.contract.store import ObjectStore, open_store
from workers.nifti import open_volume
from workers.predict import load_model, main, predict_nifti

EPOCHS, STEPS, COUNT = 3, 5, 15
SHAPE = (18, 26, 22)
COLUMNS = ("confidence", "score", "dice", "expected_dice")


@pytest.fixture(scope="module", params=[1, 2], ids=["one channel", "two channels"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("volumes")
    store = open_store(f"file://{root}/store")
    put_balls(store, COUNT, SHAPE, second=request.param == 2)
    given = {
        "dataset_id": "ds-3d",
        "epochs": EPOCHS,
        "exports": [],
        "batch_size": 3,  # the ranks do not divide it
        "patch_size": 16,
        "network": {"name": "UNet", "arguments": {"channels": [4, 8, 16], "strides": [2, 2]}},
        "method": {"name": "dale", "start": 0.3},
    }
    for job in ("one", "two", "stopped"):
        asked = TrainRequest(job_id=job, spec=JobSpec.model_validate(given))
        store.put(keys.request(job), asked.model_dump_json().encode())
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
    same_neighbours(store, "one", "two")
    assert alone["confidence"].to_numpy().min() < 0.9, "the confidences never moved: the comparison says nothing"


def test_an_interrupted_run_sees_the_patches_it_would_have_seen(root: Path) -> None:
    run(root, "stopped", 1, stop_after=2)
    run(root, "stopped", 1)
    store = open_store(f"file://{root}/store")
    alone, resumed = (confidences(store, job, EPOCHS - 1) for job in ("one", "stopped"))
    for column in COLUMNS:
        np.testing.assert_allclose(resumed[column].to_numpy(), alone[column].to_numpy(), atol=1e-5, err_msg=column)


def test_predictions_and_maps_lie_where_the_images_lie(root: Path, tmp_path: Path) -> None:
    store = open_store(f"file://{root}/store")
    labels = tables.from_parquet(store.get(keys.version("ds-3d", 1)), tables.VOLUMES)["mask_sha256"].to_pylist()
    differing = 0
    for ordinal in range(COUNT):
        found = []
        for number, key in enumerate((keys.prediction, keys.doubt_map)):
            (tmp_path / f"{number}.nii.gz").write_bytes(store.get(key("one", ordinal, "nii.gz")))
            file = nib.load(tmp_path / f"{number}.nii.gz")
            assert (file.shape, file.get_data_dtype()) == (SHAPE, np.uint8)
            np.testing.assert_array_equal(file.affine, PIL)
            found.append(np.asarray(file.dataobj))
        mask, doubt = found
        assert set(np.unique(mask)) <= {0, 1}
        given = np.asarray(open_volume(store.get(keys.blob("ds-3d", labels[ordinal]))).dataobj)
        apart = np.array(MASK_VALUES)[mask] != given
        assert not doubt[~apart].any()
        assert (doubt[apart] > 0).mean() > 0.9, "some lie too near to one half to count"
        differing += apart.sum()
    assert differing > 0


def test_held_out_volumes_are_scored_in_millimetres(root: Path) -> None:
    """HD95 by all distances between border voxels, in the space that the files' affine says."""
    store = open_store(f"file://{root}/store")
    table = tables.from_parquet(store.get(keys.version("ds-3d", 1)), tables.VOLUMES)
    split = pa.array([tables.TRAIN] * (COUNT - 3) + [tables.TEST] * 3)
    held_out = table.set_column(table.schema.get_field_index("split"), tables.VOLUMES.field("split"), split)
    store.put(keys.version("ds-3d", 2), tables.to_parquet(held_out))
    spec = TrainRequest.model_validate_json(store.get(keys.request("one"))).spec
    asked = TrainRequest(job_id="held", spec=spec.model_copy(update={"dataset_version": 2}))
    store.put(keys.request("held"), asked.model_dump_json().encode())
    run(root, "held", 1)
    result = ResultManifest.model_validate_json(store.get(keys.result_manifest("held")))
    assert result.evaluation is not None
    assert (result.evaluation.samples, result.evaluation.hd95_unit) == (3, "mm")
    assert result.evaluation.calibration[0].pixels == 3 * np.prod(SHAPE)
    rows = tables.from_parquet(store.get(result.test[0].key), tables.TEST_SCORES).to_pylist()
    assert [row["ordinal"] for row in rows] == [12, 13, 14]
    defined = 0
    for row in rows:
        sources = (
            keys.prediction("held", row["ordinal"], "nii.gz"),
            keys.blob("ds-3d", table["mask_sha256"][row["ordinal"]].as_py()),
        )
        mask, label = (np.asarray(open_volume(store.get(source)).dataobj) > 0 for source in sources)
        (hd95,) = row["classes"]["hd95"]
        assert (hd95 is None) == (not mask.any() or not label.any())
        if hd95 is not None:
            defined += 1
            one, other = (apply_affine(PIL, np.argwhere(some & ~binary_erosion(some))) for some in (mask, label))
            distances = cdist(one, other)
            expected = max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))
            assert hd95 == pytest.approx(expected, rel=1e-4)
    assert defined, "nothing was found: the comparison says nothing"


def test_the_model_predicts_the_files_of_a_folder(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store(f"file://{root}/store")
    model = model_of(store, tmp_path / "model")
    described = json.loads((model / "model.json").read_text())
    assert (described["spatial_dims"], described["patch_size"]) == (3, 16)
    assert described["normalisation"]["percentiles"] == [0.5, 99.5]
    files = described["files"]
    assert (described["mean"], described["std"]) == ([0.0] * files, [1.0] * files)
    assert described["channels"] == (["CT"] if files == 1 else ["T1", "T2"])
    assert described["network"]["arguments"]["in_channels"] == files
    arrays = put_balls(open_store(f"file://{tmp_path}/store"), COUNT, SHAPE)
    for folder, index in (("images", 0), ("masks", 1)):
        (tmp_path / folder).mkdir()
        for number, ending in ((1, "nii.gz"), (2, "nii")):
            arrays_of_case = [arrays[number][index]]
            if folder == "images" and files == 2:
                arrays_of_case.append(other_channel(arrays[number][0]))
            for channel, values in enumerate(arrays_of_case):
                case = f"case.{number}" + (f"_{channel:04}" if len(arrays_of_case) == 2 else "")
                data = nifti(values, compressed=ending == "nii.gz")
                (tmp_path / folder / f"{case}.{ending}").write_bytes(data)
    folders = [f"--{name}={tmp_path / name}" for name in ("model", "images", "masks", "out")]
    assert main(folders) == 0
    assert json.loads(capsys.readouterr().out)["dice"].keys() == {"case.1", "case.2"}
    for number in (1, 2):
        own = nib.load(tmp_path / "out" / f"case.{number}.nii.gz")
        (tmp_path / "mask.nii.gz").write_bytes(store.get(keys.prediction("one", number, "nii.gz")))
        written = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
        np.testing.assert_array_equal(np.asarray(own.dataobj), np.array(MASK_VALUES)[written])
        np.testing.assert_array_equal(own.affine, PIL)


def test_swapped_channels_predict_something_else(root: Path, tmp_path: Path) -> None:
    store = open_store(f"file://{root}/store")
    network, description = load_model(model_of(store, tmp_path / "model"))
    if description["files"] == 1:
        pytest.skip("nothing to swap")
    image = put_balls(open_store(f"file://{tmp_path}/store"), 2, SHAPE)[1][0]
    first, second = tmp_path / "first.nii.gz", tmp_path / "second.nii.gz"
    first.write_bytes(nifti(image))
    second.write_bytes(nifti(other_channel(image)))
    given, swapped = (predict_nifti(network, description, files) for files in ([first, second], [second, first]))
    given_mask, swapped_mask = (np.asarray(open_volume(data).dataobj) for data in (given, swapped))
    assert given_mask.any()
    assert (given_mask != swapped_mask).mean() > 0.01
    lonely = ["--model", str(tmp_path / "model"), "--images", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit):
        main(lonely)
