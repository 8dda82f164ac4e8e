"""Several channels: files that belong together, what is refused of them, and how the API shows them."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from service.api.dependencies import Context
from service.db.tables import DatasetVersion, Sample
from service.jobs import networks
from tests.volumes import PIL, nifti, nnunet_files
from workers.contract import keys, tables
from workers.contract.request import NetworkSpec
from workers.data import Samples
from workers.volumes import Volumes

NAMES = ["T1", "T2"]
EDGE = 10


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def create(client: TestClient, upload: Any) -> Callable[[dict[str, bytes]], dict[str, Any]]:
    def create(members: dict[str, bytes]) -> dict[str, Any]:
        answer = client.post("/v1/datasets", files={"file": ("x.zip", upload.zip(members))}, data={"name": "balls"})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    return create


def grey_files(upload: Any, count: int = 2, names: tuple[str, ...] = ("near", "far")) -> dict[str, bytes]:
    """Grey PNG, a file for each channel."""
    about = {"channel_names": dict(enumerate(names)), "labels": {"background": 0, "lesion": 1}, "file_ending": ".png"}
    members = {"dataset.json": json.dumps(about).encode()}
    for number in range(count):
        for channel in range(len(names)):
            pixels = np.random.default_rng([number, channel]).integers(0, 256, (20, 30), dtype=np.uint8)
            members[f"imagesTr/c{number}_{channel:04}.png"] = upload.encode(pixels)
        members[f"labelsTr/c{number}.png"] = upload.encode(upload.disc(1))
    return members


def test_volumes_of_two_channels_are_what_workers_read(
    create: Callable[..., dict[str, Any]], client: TestClient, context: Context
) -> None:
    members = nnunet_files(3, EDGE, channels=NAMES)
    newest = create(members)["newest"]
    assert newest["channels"] == NAMES
    samples = client.get(newest["samples"]).json()["samples"]
    assert [len(sample["channels"]) for sample in samples] == [1, 1, 1]
    for number, sample in enumerate(samples):
        for channel in range(2):
            found = client.get(sample["image"], params={"channel": channel})
            assert found.content == members[f"imagesTr/case_{number:03}_{channel:04}.nii.gz"]
    assert client.get(samples[0]["image"], params={"channel": 2}).status_code == 404

    volumes = Volumes(context.store, newest["dataset_id"], 1, 8)
    assert (volumes.channel_names, volumes.files, len(volumes)) == (NAMES, 2, 3)
    assert volumes.volume(1)[0].shape == (2, EDGE, EDGE, EDGE)
    assert not np.array_equal(volumes.volume(1)[0][0], volumes.volume(1)[0][1])


def test_grey_images_of_two_channels_are_what_workers_read(
    create: Callable[..., dict[str, Any]], context: Context, upload: Any
) -> None:
    newest = create(grey_files(upload))["newest"]
    assert newest["channels"] == ["near", "far"]
    samples = Samples(context.store, newest["dataset_id"], 1, 16)
    assert (samples.channels, samples.files) == (2, 2)


def test_three_names_are_one_rgb_file_or_three_grey_ones(upload: Any) -> None:
    colours = ("R", "G", "B")
    grey = upload.check(grey_files(upload, names=colours))
    assert (grey.channels, len(grey.samples[0].channels)) == (list(colours), 2)
    members = {name: data for name, data in grey_files(upload, names=colours).items() if "imagesTr" not in name}
    members |= {f"imagesTr/c{n}_0000.png": upload.photo(n) for n in range(2)}
    rgb = upload.check(members)
    assert (rgb.channels, rgb.samples[0].channels) == (list(colours), ())


def test_files_of_one_image_keep_the_usual_names(upload: Any) -> None:
    assert upload.check(upload.good(2)).channels == ["red", "green", "blue"]
    assert upload.check(nnunet_files(2, EDGE)).channels == ["CT"]
    volume = nifti(np.random.default_rng(0).integers(0, 2, (4, 4, 4), dtype=np.uint8))
    assert upload.check({"images/a.nii.gz": volume, "masks/a.nii.gz": volume}).channels == ["intensity"]


def test_every_fault_of_a_channel_is_named(upload: Any) -> None:
    members = nnunet_files(8, EDGE, channels=NAMES)
    del members["imagesTr/case_001_0001.nii.gz"]
    del members["imagesTr/case_002_0000.nii.gz"]
    members["imagesTr/case_003_0002.nii.gz"] = members["imagesTr/case_003_0001.nii.gz"]
    members["imagesTr/case_004_0001.nii.gz"] = nifti(np.ones((EDGE, EDGE, EDGE - 1), np.uint8))
    members["imagesTr/case_005_0001.nii.gz"] = nifti(np.ones((EDGE,) * 3, np.uint8), PIL + 0.1 * np.eye(4))
    members["imagesTr/case_006_0001.nii.gz"] = nifti(np.full((EDGE,) * 3, np.nan, np.float32))
    members["imagesTr/case_007_0001.nii.gz"] = b"no volume"
    faults = upload.faults(members)
    expected = {
        "imagesTr/case_001_0000.nii.gz": "case 'case_001' has no channel 1 (T2)",
        "imagesTr/case_002_0001.nii.gz": "is channel 1 (T2) of case 'case_002', which lacks channel 0",
        "labelsTr/case_002.nii.gz": "has no image",
        "imagesTr/case_003_0002.nii.gz": "is channel 2 of case 'case_003'",
        "imagesTr/case_004_0001.nii.gz": "has 10 x 10 x 9 voxels, channel 0 10 x 10 x 10",
        "imagesTr/case_005_0001.nii.gz": "channel 0",
        "imagesTr/case_006_0001.nii.gz": "not finite",
        "imagesTr/case_007_0001.nii.gz": "not a NIfTI file",
    }
    assert faults.keys() == expected.keys()
    for file, reason in expected.items():
        assert reason in faults[file].reason and faults[file].hint, faults[file]
    assert "imagesTr/case_001_0001.nii.gz" in faults["imagesTr/case_001_0000.nii.gz"].hint


def test_channels_of_images_are_grey_and_of_one_size(upload: Any) -> None:
    members = grey_files(upload, count=3)
    members["imagesTr/c0_0001.png"] = upload.photo(1)
    members["imagesTr/c1_0001.png"] = upload.encode(np.arange(64, dtype=np.uint8).reshape(8, 8))
    faults = upload.faults(members)
    assert "colour mode RGB" in faults["imagesTr/c0_0001.png"].reason
    assert "is 8 x 8, channel 0 30 x 20 pixels" in faults["imagesTr/c1_0001.png"].reason
    assert len(faults) == 2


def test_equal_first_channels_alone_are_no_repetition(upload: Any) -> None:
    members = nnunet_files(3, EDGE, channels=NAMES)
    members["imagesTr/case_001_0000.nii.gz"] = members["imagesTr/case_000_0000.nii.gz"]
    assert not upload.check(members).warnings
    members["imagesTr/case_001_0001.nii.gz"] = members["imagesTr/case_000_0001.nii.gz"]
    assert ["is the same image as" in warning.reason for warning in upload.check(members).warnings] == [True]


def test_versions_keep_their_channels_and_tell_when_one_changes(
    create: Callable[..., dict[str, Any]], client: TestClient, context: Context
) -> None:
    dataset = create(nnunet_files(3, EDGE, channels=NAMES))["id"]
    changes = {"changes": (None, json.dumps({"exclude": ["case_001"]}), "application/json")}
    made = client.post(f"/v1/datasets/{dataset}/versions", files=changes)
    assert made.json()["channels"] == NAMES
    assert Volumes(context.store, dataset, 2, 8).channel_names == NAMES

    def difference() -> dict[str, Any]:
        found: dict[str, Any] = client.get(f"/v1/datasets/{dataset}/versions/1/diff/2").json()
        return found

    assert (difference()["removed"], difference()["changed_image"]) == (1, 0)
    with context.sessions.begin() as session:  # a channel that is another file, the first being the same
        where = (Sample.dataset_id == dataset, Sample.version == 2, Sample.name == "case_002")
        session.execute(update(Sample).where(*where).values(channels=["f" * 64]))
    assert difference()["changed_image"] == 1
    assert {"sample": "case_002", "changes": ["changed_image"]} in difference()["samples"]


def test_versions_from_before_channels_have_the_usual_ones(
    create: Callable[..., dict[str, Any]], client: TestClient, context: Context, upload: Any
) -> None:
    dataset = create(upload.good(2))["id"]
    with context.sessions.begin() as session:
        session.execute(update(DatasetVersion).values(channels=None))
    newest = client.get(f"/v1/datasets/{dataset}").json()["newest"]
    assert newest["channels"] == ["red", "green", "blue"]
    assert tables.channel_names(tables.schema_of(context.store.get(keys.version(dataset, 1)))) == newest["channels"]


def test_a_network_is_tried_with_the_channels_of_the_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def run(*args: Any, **options: Any) -> Any:
        asked.append(json.loads(options["input"]))
        raise networks.subprocess.TimeoutExpired("check", 1)

    monkeypatch.setattr(networks.subprocess, "run", run)
    networks.check_by_building(NetworkSpec(name="UNet"), size=64, classes=2, channels=3)
    assert not asked, "known to work"
    with pytest.raises(networks.Invalid):
        networks.check_by_building(NetworkSpec(name="UNet"), size=64, classes=2, channels=5)
    assert asked[0]["channels"] == 5
