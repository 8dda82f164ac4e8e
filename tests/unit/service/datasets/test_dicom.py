"""DICOM series and segmentations: as the arrays that they were made of, and as SimpleITK reads them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    RLELossless,
)

from service.datasets.archive import Archive, MemberFault
from service.datasets.checked import CheckedDataset
from service.datasets.formats import dicom_files
from service.datasets.formats.dicom import group_of
from service.datasets.importing import Import
from service.datasets.kinds import LayoutKind, Media
from service.datasets.layout import read_layout
from service.datasets.limits import ImportLimits
from service.datasets.options import ImportOptions
from service.datasets.pairs import Layout
from service.datasets.rows import sample_rows
from service.errors import Invalid
from tests.dicom import MR, OBLIQUE, PET, SECRETS, SeriesOf, segmentation, written
from workers.contract import keys
from workers.contract.store import open_store
from workers.nifti import decode_pair

SLICES, ROWS, COLUMNS = 5, 7, 9  # 63 pixels: frames of bits do not begin with bytes
SHUFFLED = [3, 0, 4, 1, 2]


def stored(seed: int = 0, dtype: str = "u2", high: int = 4096) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, (SLICES, ROWS, COLUMNS)).astype(dtype)


def lesion(seed: int = 0, share: float = 0.3) -> np.ndarray:
    return np.random.default_rng(100 + seed).random((SLICES, ROWS, COLUMNS)) < share


def upright(**options: Any) -> SeriesOf:
    return SeriesOf(stored(), **options)


def dataset(series: SeriesOf, masks: dict[str, np.ndarray] | None = None, **options: Any) -> dict[str, bytes]:
    masks = masks or {"lesion": lesion()}
    return series.files("p1/ct/", SHUFFLED) | {"p1/seg/label": segmentation(series, masks, **options)}


def laid_out(upload: Any, files: dict[str, bytes]) -> tuple[Archive, Layout]:
    archive = Archive(upload.zip(files), ImportLimits())
    return archive, read_layout(archive, ImportLimits(), upload.scratch)


def converted(upload: Any, files: dict[str, bytes]) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    archive, layout = laid_out(upload, files)
    assert not layout.faults and len(layout.pairs) == 1
    both = []
    for source in (layout.pairs[0].image, layout.pairs[0].mask):
        source.extract(archive, upload.scratch / "out")
        both.append(nib.Nifti1Image.from_bytes(gzip.decompress((upload.scratch / "out").read_bytes())))
    return both[0], both[1]


def as_itk_reads(files: dict[str, bytes], folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels by x, y, z, and the affine in RAS+."""
    for path, data in files.items():
        (folder / Path(path).name).write_bytes(data)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize(
    "orientation", [None, OBLIQUE, (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)], ids=["axial", "oblique", "sagittal"]
)
@pytest.mark.parametrize("dtype", ["u2", "i2", "u1"])
def test_voxel_by_voxel(upload: Any, tmp_path: Path, orientation: Any, dtype: str) -> None:
    series = SeriesOf(stored(dtype=dtype, high=200), **({"orientation": orientation} if orientation else {}))
    mask = lesion()
    image, label = converted(upload, dataset(series, {"lesion": mask}))
    assert np.array_equal(np.asarray(image.dataobj), series.pixels.astype(int).T - 1024)
    assert np.array_equal(np.asarray(label.dataobj), mask.T)
    assert np.array_equal(image.affine, label.affine)
    (tmp_path / "itk").mkdir()
    theirs, affine = as_itk_reads(series.files("", SHUFFLED), tmp_path / "itk")
    assert np.array_equal(np.asarray(image.dataobj), theirs)
    assert np.allclose(image.affine, affine, atol=1e-4)
    # From the numbers that it was made of, by hand: LPS to RAS turns the first two axes.
    middle = np.array(series.position(3)) + 2 * 0.75 * np.array(series.orientation[:3])
    middle = middle + 4 * 0.5 * np.array(series.orientation[3:])
    assert np.allclose(image.affine @ [2, 4, 3, 1], [-middle[0], -middle[1], middle[2], 1], atol=1e-3)


def test_slopes_of_each_slice(upload: Any, tmp_path: Path) -> None:
    series = upright(kind=PET, slope=[0.5, 0.25, 1.5, 2, 3.125], intercept=0)
    image, _ = converted(upload, dataset(series))
    slopes = np.array(series.slope)[:, None, None]
    assert np.allclose(np.asarray(image.dataobj), (series.pixels * slopes).T) and image.get_data_dtype() == np.float32
    (tmp_path / "itk").mkdir()
    theirs, _ = as_itk_reads(series.files(""), tmp_path / "itk")
    assert np.allclose(np.asarray(image.dataobj), theirs)


def test_number_types(upload: Any) -> None:
    wide = stored(high=65_536)
    for intercept, expected in ((0, "u2"), (-1024, "i4"), (0.5, "f4")):
        image, _ = converted(upload, dataset(SeriesOf(wide, intercept=intercept, kind=MR)))
        assert image.get_data_dtype() == np.dtype(expected)
        assert np.array_equal(np.asarray(image.dataobj), wide.T.astype(float) + intercept)
    twelve = {n: {"BitsStored": 12, "HighBit": 11} for n in range(SLICES)}
    image, _ = converted(upload, dataset(upright(changed=twelve)))
    assert image.get_data_dtype() == np.int16
    fault = upload.faults(dataset(SeriesOf(wide, changed=twelve)))
    assert any("pixels beyond 12 bits" in one.reason for one in fault.values())


def test_an_upload(upload: Any) -> None:
    """Two patients, one of whose folders holds two series; slices, segments and labels in no order."""
    first, second, third, alone = (SeriesOf(stored(n), orientation=OBLIQUE) for n in range(4))
    files = dataset(first, {"tumour": lesion(1, 0.1), "liver": lesion(2), "empty": lesion(0, 0)})
    files |= second.files("p2/a", SHUFFLED) | third.files("p2/b", SHUFFLED) | alone.files("p3/x/")
    files["p2/seg2.dcm"] = segmentation(second, {"liver": lesion(3)})
    files["p2/seg3.dcm"] = segmentation(third, {"tumour": lesion(4)})
    files["notes/readme.txt"] = b"hello"
    files["p1/report"] = written(_report())
    checked = upload.check(files)
    assert (checked.layout, checked.media, checked.mask_values) == (LayoutKind.DICOM, Media.VOLUME, [0, 1, 2, 3])
    names = [sample.pair.name for sample in checked.samples]
    assert names[0] == "ct" and all(name.startswith("series-") and len(name) == 19 for name in names[1:])
    sample = checked.samples[0]
    assert (sample.width, sample.height, sample.depth) == (COLUMNS, ROWS, SLICES)
    assert np.allclose(sample.spacing, (0.75, 0.5, 2.5))
    warned = {warning.file: warning.reason for warning in checked.warnings}
    assert "5 images) without a segmentation" in warned["p3/x/0000"]
    assert "no DICOM files, ignored: 1" in warned["notes/"] and "ignored: 1" in warned["p1/"]
    assert warned["SegmentLabel"] == "declares class 'empty' (1), which no label has"
    assert "over each other" in warned["p1/seg/label"]
    _, layout = laid_out(upload, files)
    assert layout.classes == {0: "background", 1: "empty", 2: "liver", 3: "tumour"}


def _report() -> Dataset:
    one = upright().datasets()[0]
    one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    return one


def test_the_later_segment_lies_above(upload: Any) -> None:
    lower, upper = lesion(1), lesion(2)
    files = dataset(upright(), {"z": lower, "a": upper})  # classes are by name, drawing is by number
    _, label = converted(upload, files)
    assert np.array_equal(np.asarray(label.dataobj), np.where(upper, 1, np.where(lower, 2, 0)).T)
    share = (lower & upper).sum() / (lower | upper).sum()
    warned = [warning.reason for warning in upload.check(files).warnings]
    assert f"has segments over each other ({share:.1%} of what is segmented)" in warned


def test_two_segments_of_one_label(upload: Any) -> None:
    first, second = lesion(1), lesion(2)
    series = upright()
    data = segmentation(series, {"a": first, "b": second}, change=_relabel)
    files = series.files("ct/") | {"seg": data}
    _, label = converted(upload, files)
    assert np.array_equal(np.asarray(label.dataobj), (first | second).T)
    assert not any("over each other" in warning.reason for warning in upload.check(files).warnings)


def _relabel(one: Dataset) -> None:
    for segment in one.SegmentSequence:
        segment.SegmentLabel = " lesion "


def test_fractional(upload: Any) -> None:
    parts = np.random.default_rng(0).integers(0, 5, (SLICES, ROWS, COLUMNS)) / 4
    options = {"kind": "FRACTIONAL", "fractional_type": "PROBABILITY", "max_fractional_value": 4}
    files = dataset(upright(), {"lesion": parts}, **options)
    _, label = converted(upload, files)
    assert np.array_equal(np.asarray(label.dataobj), (parts >= 0.5).T)
    assert any("is FRACTIONAL" in warning.reason for warning in upload.check(files).warnings)


def test_implicit_headers_and_series_found_by_their_images(upload: Any) -> None:
    series = upright(syntax=ImplicitVRLittleEndian)

    def forget(one: Dataset) -> None:
        del one.ReferencedSeriesSequence

    image, label = converted(upload, dataset(series, change=forget))
    assert np.array_equal(np.asarray(image.dataobj), series.pixels.T.astype(int) - 1024)
    assert np.array_equal(np.asarray(label.dataobj), lesion().T)


def test_stored_as_it_was_checked_and_without_the_patient(upload: Any, tmp_path: Path) -> None:
    store = open_store((tmp_path / "store").as_uri())
    files = dataset(upright())
    assert all(secret.encode() in files["p1/ct/0000"] for secret in SECRETS)
    work = Import(store, ImportLimits(), upload.zip(files), ImportOptions())
    checked: CheckedDataset = work.check()
    work.store()
    sample = checked.samples[0]
    blobs = [store.get(keys.blob(work.dataset_id, sha)) for sha in (sample.image_sha256, sample.mask_sha256)]
    decode_pair(blobs[:1], blobs[1], checked.mask_values)  # workers can read it
    everything = b"".join(gzip.decompress(blob) for blob in blobs)
    everything += json.dumps(sample_rows(checked)).encode() + repr(checked.warnings).encode()
    everything += store.get(keys.version(work.dataset_id, 1))
    for told in (*SECRETS, "20200101", "1.2.826", "2.25."):
        assert told.encode() not in everything


def test_groups_tell_nobody_who_it_is() -> None:
    assert group_of("4711", "a") == group_of("4711", "a") != group_of("4711", "b")
    assert group_of("4711", "a") != group_of("471", "1a") and len(group_of("4711", "a")) == 12
    assert int(group_of("4711", "a"), 16) >= 0


def moved(number: int, by: float = 0.3, axis: int = 2) -> dict[int, dict[str, Any]]:
    position = upright().position(number)
    position[axis] += by
    return {number: {"ImagePositionPatient": position}}


def tilted() -> dict[int, dict[str, Any]]:
    return {n: {"ImagePositionPatient": np.add(upright().position(n), [0, 0.5 * n, 0]).tolist()} for n in range(SLICES)}


SERIES_FAULTS: dict[str, tuple[dict[int, dict[str, Any]], str]] = {
    "place": (moved(2), "mm after p1/ct/"),
    "same place": (moved(2, -2.5), "lies where p1/ct/"),
    "aside": (moved(2, axis=0), "off the line of its series"),
    "tilt": (tilted(), "gantry tilt"),
    "oriented": ({2: {"ImageOrientationPatient": list(OBLIQUE)}}, "is oriented otherwise"),
    "no orientation": ({2: {"ImageOrientationPatient": None}}, "no usable ImageOrientationPatient"),
    "all skewed": ({n: {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]} for n in range(SLICES)}, "no orientation"),
    "spacing": ({2: {"PixelSpacing": [0.5, 0.8]}}, "pixels of other extent"),
    "no extent": ({n: {"PixelSpacing": [0, 1]} for n in range(SLICES)}, "without extent"),
    "size": ({2: {"Rows": 6, "PixelData": bytes(6 * COLUMNS * 2)}}, "other rows or columns"),
    "lies": ({2: {"Rows": 60_000, "Columns": 60_000}}, "bytes of pixels, not 7200000000"),
    "nothing": ({2: {"Rows": 0}}, "no rows or columns"),
    "no pixels": ({2: {"PixelData": None}}, "no PixelData"),
    "colours": ({2: {"SamplesPerPixel": 3}}, "several frames or colours"),
    "inverted": ({2: {"PhotometricInterpretation": "MONOCHROME1"}}, "not MONOCHROME2"),
    "bits": ({2: {"BitsStored": 17}}, "17 of 16 bits"),
    "no place": ({2: {"ImagePositionPatient": None}}, "no usable ImagePositionPatient"),
    "table": ({2: {"ModalityLUTSequence": [Dataset()]}}, "in a table"),
}


@pytest.mark.parametrize(("changed", "reason"), SERIES_FAULTS.values(), ids=SERIES_FAULTS)
def test_series_that_are_no_volume(upload: Any, changed: dict[int, dict[str, Any]], reason: str) -> None:
    files = upright(changed=changed, uid="1.2.3").files("p1/ct/", SHUFFLED)
    files["seg"] = segmentation(upright(uid="1.2.3"), {"lesion": lesion()})
    faults = upload.faults(files)
    assert any(reason in fault.reason and fault.hint and file for file, fault in faults.items())


def test_missing_slices(upload: Any) -> None:
    files = dataset(upright())
    del files[f"p1/ct/{SHUFFLED[3]:04d}"]
    fault = upload.faults(files)[f"p1/ct/{SHUFFLED[4]:04d}"]
    assert "lies 5 mm after p1/ct/0004, the others 2.5 mm after each other" in fault.reason
    series = upright()
    one = dict(list(series.files("p1/").items())[:1]) | {"seg": segmentation(series, {"lesion": lesion()})}
    assert "the only slice" in upload.faults(one)["p1/0000"].reason


def edited(path: str, value: Any, frame: int | None = 0) -> Callable[[Dataset], None]:
    """Set an element below the functional groups of a frame, or of the dataset."""

    def change(one: Dataset) -> None:
        *way, tag = path.split(".")
        for name in way:
            one = getattr(one, name)[frame if name.startswith("PerFrame") else 0]
        setattr(one, tag, value)

    return change


PER_FRAME = "PerFrameFunctionalGroupsSequence."
SEG_FAULTS = {
    "elsewhere": (edited(f"{PER_FRAME}PlanePositionSequence.ImagePositionPatient", [0, 0, 0]), "lies on no slice"),
    "turned": (
        edited("SharedFunctionalGroupsSequence.PlaneOrientationSequence.ImageOrientationPatient", list(OBLIQUE)),
        "not oriented or spaced",
    ),
    "finer": (
        edited("SharedFunctionalGroupsSequence.PixelMeasuresSequence.PixelSpacing", [0.25, 0.375]),
        "not oriented or spaced",
    ),
    "unknown segment": (
        edited("SharedFunctionalGroupsSequence.SegmentIdentificationSequence.ReferencedSegmentNumber", 7),
        "segment 7, which it does not describe",
    ),
    "unnamed": (edited("SegmentSequence.SegmentLabel", " "), "without a usable SegmentLabel"),
    "frames": (edited("NumberOfFrames", 60_000), "60000 frames"),
    "vast": (edited("Rows", 60_000), "bytes of pixels"),
    "other size": (edited("Columns", COLUMNS - 1), "bytes of pixels"),
    "other series": (edited("ReferencedSeriesSequence.SeriesInstanceUID", "1.2.3"), ""),
    "type": (edited("SegmentationType", "LABELMAP"), "is LABELMAP with 1 bits"),
}


@pytest.mark.parametrize(("change", "reason"), SEG_FAULTS.values(), ids=SEG_FAULTS)
def test_segmentations_that_do_not_fit(upload: Any, change: Callable[[Dataset], None], reason: str) -> None:
    files = dataset(upright(), change=change)
    if not reason:  # the images that it was drawn on tell the series where the reference leads nowhere
        assert upload.check(files)
        return
    fault = upload.faults(files)["p1/seg/label"]
    assert reason in fault.reason and fault.hint


def test_which_series_it_is_of(upload: Any) -> None:
    series, other = upright(), upright()
    files = dataset(series)
    files["p1/again"] = segmentation(series, {"lesion": lesion(1)})
    assert "same series as" in next(iter(upload.faults(files).values())).reason
    files["p1/again"] = segmentation(other, {"lesion": lesion(1)})
    assert "not in the upload" in upload.faults(files)["p1/again"].reason
    fault = upload.faults(series.files("ct/"))[None]
    assert "no DICOM segmentation" in fault.reason


@pytest.mark.parametrize("syntax", [JPEGLossless, RLELossless, DeflatedExplicitVRLittleEndian])
def test_packed_pixels_are_faults_that_say_what_to_do(upload: Any, syntax: str) -> None:
    packed = encapsulate([b"\0" * 100])
    changed = {n: {"PixelData": packed} for n in range(SLICES)}
    series = upright(uid="1.2.3", syntax=syntax, changed={} if "1.99" in syntax else changed)
    files = series.files("ct/") | {"seg": segmentation(upright(uid="1.2.3"), {"lesion": lesion()})}
    for path, fault in upload.faults(files).items():
        assert path == "seg" or ("transfer syntax" in fault.reason and "gdcmconv" in fault.hint)


def test_headers_without_end(upload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_files, "MAX_ITEMS", 1000)
    item = Dataset()
    item.EncapsulatedDocument = bytes(9_000_000)
    long = {0: {"ReferencedSeriesSequence": [item]}}
    many = {0: {"ReferencedSeriesSequence": [Dataset() for _ in range(1010)]}}
    for changed in (long, many):
        files = upright(uid="1.2.3", changed=changed).files("ct/")
        files["seg"] = segmentation(upright(uid="1.2.3"), {"lesion": lesion()})
        assert "a header without end" in upload.faults(files)["ct/0000"].reason


def test_limits(upload: Any) -> None:
    files = dataset(upright())
    size = SLICES * ROWS * COLUMNS
    faults = upload.faults(files, limits=ImportLimits(max_voxels=size - 1))
    assert all("has 9 x 7 x 5 voxels" in fault.reason for fault in faults.values()) and len(faults) == 2
    many = {f"s{n}": lesion(n) for n in range(3)}
    assert "of 3 labels" in upload.faults(dataset(upright(), many), limits=ImportLimits(max_classes=3))[None].reason


def test_hostile_files_are_faults(upload: Any, break_bytes: Callable[[bytes, int], bytes]) -> None:
    """Bytes of headers: of a slice in turn with the segmentation."""
    files = dataset(upright(uid="1.2.3", study="1.2.4", frame="1.2.5"))
    passed = 0
    for seed in range(150):
        path = ("p1/seg/label", "p1/ct/0003")[seed % 2]
        whole = files[path]
        start = 132 if seed % 3 else 0
        damaged = whole[:start] + break_bytes(whole[start:], seed // 2)
        try:
            archive, layout = laid_out(upload, files | {path: damaged})
        except Invalid as refused:
            assert refused.errors
            continue
        assert all(fault.reason and (fault.file or fault.field) for fault in layout.faults)
        for pair in layout.pairs:
            try:
                pair.image.extract(archive, upload.scratch / "out")
                pair.mask.extract(archive, upload.scratch / "out")
                passed += 1
            except MemberFault as fault:
                assert fault.reason
    assert passed > 10
