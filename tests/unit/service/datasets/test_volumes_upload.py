"""Uploads of volumes and of nnU-Net's raw format: what is accepted, what is refused, and in which words."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.datasets.archive import Archive
from service.datasets.checking import check
from service.datasets.kinds import LayoutKind, Media
from service.datasets.layout import recognise
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.datasets.rows import sample_rows, sample_table
from service.errors import Invalid
from tests.volumes import PIL, nifti, nnunet_files
from workers.contract import tables
from workers.nifti import decode_pair

SHAPE = (6, 7, 8)
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(100, 30, SHAPE).astype(np.float32)
LABEL = (IMAGE > 120).astype(np.uint8)
ABOUT = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}


def folders(**changed: bytes) -> dict[str, bytes]:
    """Two volumes as images/ and masks/; `image` and `label` replace files of the second."""
    members = {f"images/{name}.nii.gz": nifti(IMAGE + number) for number, name in enumerate("ab")}
    members |= {f"masks/{name}.nii.gz": nifti(LABEL) for name in "ab"}
    if "image" in changed:
        members["images/b.nii.gz"] = changed["image"]
    if "label" in changed:
        members["masks/b.nii.gz"] = changed["label"]
    return members


def nnunet(about: dict[str, Any] | None = None, count: int = 2) -> dict[str, bytes]:
    members = nnunet_files(count, edge=8)
    return members | ({"dataset.json": json.dumps({**ABOUT, **about}).encode()} if about else {})


def png_nnunet(upload: Any) -> dict[str, bytes]:
    about = {**ABOUT, "channel_names": {"0": "R", "1": "G", "2": "B"}, "file_ending": ".png"}
    members = {"dataset.json": json.dumps(about).encode()}
    for number in range(2):
        members[f"imagesTr/c{number}_0000.png"] = upload.photo(number)
        members[f"labelsTr/c{number}.png"] = upload.encode(upload.disc(1))
    return members


def test_folders_of_volumes(upload: Any) -> None:
    members = folders()
    members["masks/a.nii"] = gzip.decompress(members.pop("masks/a.nii.gz"))  # a packed image may have a bare mask
    checked = upload.check(members)
    assert (checked.layout, checked.media, checked.mask_values) == (LayoutKind.FOLDERS, Media.VOLUME, [0, 1])
    first, second = checked.samples
    assert (first.pair.name, first.width, first.height, first.depth) == ("a", *SHAPE)
    assert first.spacing == pytest.approx((0.5, 1, 2))
    assert first.foreground == pytest.approx(LABEL.mean())
    assert first.label_values == (1,)
    assert (first.mask_media_type, second.mask_media_type) == ("application/octet-stream", "application/gzip")


def test_nnunet(upload: Any) -> None:
    members = {f"Dataset001_X/{name}": data for name, data in nnunet().items()}
    members |= {f"Dataset001_X/imagesTs/t{number}_0000.nii.gz": b"x" for number in range(3)}
    checked = upload.check(members)
    assert (checked.layout, checked.media, checked.mask_values) == (LayoutKind.NNUNET, Media.VOLUME, [0, 1])
    assert [sample.pair.name for sample in checked.samples] == ["case_000", "case_001"]
    assert [(warning.file, warning.reason) for warning in checked.warnings] == [
        ("Dataset001_X/imagesTs/", "files that are ignored: 3")
    ]


def test_nnunet_of_png_is_a_dataset_of_images(upload: Any) -> None:
    checked = upload.check(png_nnunet(upload))
    assert (checked.media, checked.mask_values, checked.samples[0].depth) == (Media.IMAGE, [0, 1], None)
    assert [sample.pair.name for sample in checked.samples] == ["c0", "c1"]


def test_a_layout_can_be_asked_for(upload: Any) -> None:
    both = folders() | nnunet()
    assert "layout=" in upload.faults(both)[None].hint
    for kind in (LayoutKind.FOLDERS, LayoutKind.NNUNET):
        assert upload.check(both, layout=kind.value).layout is kind
        single = Archive(upload.zip(folders() if kind is LayoutKind.FOLDERS else nnunet()), ImportLimits())
        assert recognise(single.members) is kind
    assert "no imagesTr/ and labelsTr/" in upload.faults(folders(), layout="nnunet")[None].reason


def test_the_table_is_what_workers_read(upload: Any) -> None:
    checked = upload.check(folders())
    table = tables.to_parquet(sample_table(sample_rows(checked), checked.mask_values, checked.media, checked.channels))
    assert tables.holds_volumes(tables.schema_of(table))
    rows = tables.from_parquet(table, tables.VOLUMES).to_pylist()
    assert [(row["width"], row["height"], row["depth"]) for row in rows] == [SHAPE, SHAPE]
    assert [row[f"spacing_{axis}"] for row in rows for axis in "xyz"] == [0.5, 1, 2] * 2
    assert json.loads(tables.from_parquet(table, tables.VOLUMES).schema.metadata[tables.MASK_VALUES]) == [0, 1]


AFFINES = {
    "voxels of": PIL @ np.diag([1, 1, 1.5, 1]),
    "oriented": PIL @ np.diag([-1, 1, 1, 1]),
    "affines differ": PIL + np.outer([0, 1, 0, 0], [0, 0, 0, 0.5]),
}


@pytest.mark.parametrize(("reason", "affine"), AFFINES.items())
def test_labels_that_lie_elsewhere(upload: Any, reason: str, affine: np.ndarray) -> None:
    faults = upload.faults(folders(label=nifti(LABEL, affine)))
    assert list(faults) == ["masks/b.nii.gz"]
    assert reason in faults["masks/b.nii.gz"].reason and faults["masks/b.nii.gz"].hint


def test_a_label_may_lie_a_hundredth_of_a_millimetre_off(upload: Any) -> None:
    shift = np.outer([1, 0, 0, 0], [0, 0, 0, 1])
    assert upload.check(folders(label=nifti(LABEL, PIL + 0.009 * shift)))
    assert upload.faults(folders(label=nifti(LABEL, PIL + 0.011 * shift)))


def with_value(array: np.ndarray, value: float, dtype: type = np.float32) -> bytes:
    changed = array.astype(dtype)
    changed[1, 2, 3] = value
    return nifti(changed)


FAULTS = {
    "text": ({"image": b"hello", "label": b"hello"}, "not a NIfTI file"),
    "bad gzip": ({"image": b"\x1f\x8bhello"}, "cannot be unpacked"),
    "cut gzip": ({"image": nifti(IMAGE)[:-200]}, "cannot be unpacked"),
    "cut nifti": ({"image": nifti(IMAGE, compressed=False)[:-200]}, "cannot be decoded"),
    "header alone": ({"image": nifti(IMAGE, compressed=False)[:300]}, "not a NIfTI file"),
    "2D": ({"image": nifti(IMAGE[0])}, "shape 7 x 8"),
    "4D": ({"image": nifti(np.stack([IMAGE, IMAGE], -1))}, "shape 6 x 7 x 8 x 2"),
    "colour": ({"image": nifti(IMAGE.astype(np.complex64))}, "complex64"),
    "shape": ({"label": nifti(LABEL[1:])}, "has 5 x 7 x 8 voxels, its image 6 x 7 x 8"),
    "NaN": ({"image": with_value(IMAGE, np.nan)}, "not finite"),
    "infinity": ({"image": with_value(IMAGE, -np.inf)}, "not finite"),
    "half": ({"label": with_value(LABEL, 0.5)}, "no whole numbers"),
    "NaN label": ({"label": with_value(LABEL, np.nan)}, "no whole numbers"),
    "negative": ({"label": with_value(LABEL, -1, np.int16)}, "from -1 to 1"),
    "large": ({"label": with_value(LABEL, 70_000, np.int32)}, "to 70000"),
    "other value": ({"label": with_value(LABEL, 3, np.uint8)}, "mask values 0, 1, 3"),
}


@pytest.mark.parametrize(("changed", "reason"), FAULTS.values(), ids=FAULTS)
def test_faults_name_their_file(upload: Any, changed: dict[str, bytes], reason: str) -> None:
    faults = upload.faults(folders(**changed))
    files = {f"{'images' if part == 'image' else 'masks'}/b.nii.gz" for part in changed}
    assert faults.keys() - {None} == files
    for file in files:
        assert reason in faults[file].reason and faults[file].hint


def test_one_bad_file_hides_no_other(upload: Any) -> None:
    members = nnunet(count=6)
    members["imagesTr/case_000_0000.nii.gz"] = b"x"
    members["labelsTr/case_000.nii.gz"] = nifti(np.full((8, 8, 8), 3, np.uint8))
    members["labelsTr/case_001.nii.gz"] = b"x"
    members["labelsTr/case_002.nii.gz"] = nifti(np.full((8, 8, 8), 2, np.uint8))
    del members["labelsTr/case_003.nii.gz"]
    members["imagesTr/case_004_0001.nii.gz"] = members["imagesTr/case_004_0000.nii.gz"]
    members["imagesTr/case.nii.gz"] = members["labelsTr/notes.txt"] = b"x"
    faults = upload.faults(members)
    expected = {
        "imagesTr/case_000_0000.nii.gz": "not a NIfTI file",
        "labelsTr/case_000.nii.gz": "has the values 3",
        "labelsTr/case_001.nii.gz": "not a NIfTI file",
        "labelsTr/case_002.nii.gz": "has the values 2",
        "imagesTr/case_003_0000.nii.gz": "has no label",
        "imagesTr/case_004_0001.nii.gz": "is channel 1",
        "imagesTr/case.nii.gz": "no number of a channel",
        "labelsTr/notes.txt": "does not end in .nii.gz",
    }
    assert faults.keys() == expected.keys()
    for file, reason in expected.items():
        assert reason in faults[file].reason and faults[file].hint


ABOUTS = {
    "channels": ({"channel_names": {"0": "T1", "2": "T2"}}, "has the channels 0, 2"),
    "ignore": ({"labels": {"background": 0, "lesion": 1, "ignore": 2}}, "ignore label"),
    "regions": ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "'whole' is a region"),
    "gap": ({"labels": {"background": 0, "lesion": 2}}, "label values 0, 2"),
    "no background": ({"labels": {"a": 1, "b": 2}}, "label values 1, 2"),
    "ending": ({"file_ending": ".mha"}, "file_ending"),
    "old": ({"modality": {"0": "MR"}}, "nnU-Net v1"),
    "old labels": ({"labels": {"0": "background", "1": "lesion"}}, "labels.0"),
}


@pytest.mark.parametrize(("about", "reason"), ABOUTS.values(), ids=ABOUTS)
def test_descriptions_that_cannot_be_trained(upload: Any, about: dict[str, Any], reason: str) -> None:
    with pytest.raises(Invalid) as refused:
        upload.check(nnunet(about))
    assert all(fault.file == "dataset.json" and fault.hint for fault in refused.value.errors)
    assert reason in " ".join(fault.reason for fault in refused.value.errors)


def test_a_missing_or_unreadable_description(upload: Any) -> None:
    members = nnunet()
    for data, reason in ((b"{", "not JSON"), (b"[" * 100_000, "not JSON"), (b"[]", "the whole")):
        assert reason in upload.faults(members | {"dataset.json": data})["dataset.json"].reason
    assert "has 1100000 bytes" in upload.faults(members | {"dataset.json": b" " * 1_100_000})["dataset.json"].reason
    del members["dataset.json"]
    assert upload.faults(members)["dataset.json"].reason == "is missing"


def test_warnings(upload: Any) -> None:
    members = nnunet({"labels": {"background": 0, "lesion": 1, "rare": 2}}, count=3)
    members["imagesTr/case_001_0000.nii.gz"] = nifti(np.full((8, 8, 8), 5, np.int16))
    members["labelsTr/case_002.nii.gz"] = nifti(np.zeros((8, 8, 8), np.uint8))
    checked = upload.check(members)
    assert checked.mask_values == [0, 1, 2]
    assert {warning.file: warning.reason for warning in checked.warnings} == {
        "imagesTr/case_001_0000.nii.gz": "has the same intensity everywhere",
        "labelsTr/case_002.nii.gz": "is empty",
        "dataset.json": "declares class 'rare' (2), which no label has",
    }


def test_labels_that_are_all_empty(upload: Any) -> None:
    members = nnunet()
    for name in ("case_000", "case_001"):
        members[f"labelsTr/{name}.nii.gz"] = nifti(np.zeros((8, 8, 8), np.uint8))
    checked = upload.check(members)
    assert checked.mask_values == [0, 1]
    assert "every label is empty" in next(one.reason for one in checked.warnings if one.file == "dataset.json")


def test_images_and_volumes_do_not_mix(upload: Any) -> None:
    members = folders() | {"images/c.png": upload.photo(), "masks/c.png": upload.encode(upload.disc())}
    assert {fault.reason for fault in upload.faults(members).values()} == {"is an image among volumes"}
    members = upload.good(3) | {"images/c.nii.gz": nifti(IMAGE), "masks/c.nii.gz": nifti(LABEL)}
    assert {fault.reason for fault in upload.faults(members).values()} == {"is a volume among images"}


def test_volumes_have_no_threshold(upload: Any) -> None:
    with pytest.raises(Invalid) as refused:
        upload.check(folders(), mask_threshold=128)
    assert [fault.field for fault in refused.value.errors] == ["mask_threshold"]


def test_bombs_are_not_unpacked(upload: Any) -> None:
    bomb = gzip.compress(bytes(5_000_000))
    limits = ImportLimits(max_volume_bytes=1_000_000)
    assert "unpacks to more than 1000000" in upload.faults(folders(image=bomb), limits=limits)["images/b.nii.gz"].reason
    assert max(path.stat().st_size for path in upload.scratch.iterdir()) <= 1_000_000
    whole = sum(map(len, folders().values()))
    assert "in all" in upload.faults(folders(), limits=ImportLimits(max_total_bytes=whole))[None].reason
    fault = upload.faults(folders(), limits=ImportLimits(max_voxels=335))["images/b.nii.gz"]
    assert (fault.reason, fault.hint) == ("has 6 x 7 x 8 voxels", "at most 335 voxels are accepted")


def test_damaged_volumes_are_faults_or_workers_read_them(
    upload: Any, break_bytes: Callable[[bytes, int], bytes]
) -> None:
    """Whatever passes the check can be trained on: the two sides must not disagree about a file."""
    image, label = (nifti(array, compressed=False) for array in (IMAGE, LABEL))
    passed = 0
    for seed in range(150):
        damaged = break_bytes(image[:352], 2 * seed) + image[352:]
        members = {"images/a.nii": damaged, "masks/a.nii": label}
        try:
            checked = check(
                Archive(upload.zip(members), ImportLimits()), ImportLimits(), ImportOptions(), upload.scratch
            )
        except Invalid as refused:
            assert all(fault.reason and fault.file for fault in refused.errors)
            continue
        passed += 1
        decode_pair([damaged], label, checked.mask_values)
    assert passed > 10
