"""MetaImage volumes: converted as SimpleITK reads them, refused where they would lead elsewhere."""

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from service.datasets.archive import Archive, MemberFault
from service.datasets.formats.sources import source_of
from service.datasets.kinds import Media
from service.datasets.limits import ImportLimits
from workers.nifti import decode_pair

SHAPE = (6, 7, 8)
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(100, 30, SHAPE).astype(np.float32)
LABEL = (IMAGE > 120).astype(np.uint8)
OBLIQUE = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
GEOMETRY = {"spacing": (0.5, 1.25, 2.0), "origin": (-10.5, 20.25, 300.125), "direction": OBLIQUE.ravel().tolist()}
HEADER = {"ObjectType": "Image", "NDims": 3, "BinaryData": True, "BinaryDataByteOrderMSB": False, "DimSize": "6 7 8"}


def itk(array: np.ndarray, folder: Path, **options: Any) -> bytes:
    """As SimpleITK writes an array whose first axis is x."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(GEOMETRY["spacing"])
    image.SetOrigin(GEOMETRY["origin"])
    image.SetDirection(GEOMETRY["direction"])
    image.SetMetaData("dim[0]", "3")  # as of an image that came from NIfTI
    image.SetMetaData("descrip", "5.0.10 é")
    sitk.WriteImage(image, str(folder / "x.mha"), **options)
    return (folder / "x.mha").read_bytes()


def by_hand(voxels: bytes = IMAGE.tobytes(order="F"), **changed: object) -> bytes:
    keys = {**HEADER, "ElementType": "MET_FLOAT", **changed}
    lines = [f"{key} = {value}\n" for key, value in keys.items() if value is not None]
    return "".join([*lines, "" if "ElementDataFile" in changed else "ElementDataFile = LOCAL\n"]).encode() + voxels


def converted(upload: Any, data: bytes, limits: ImportLimits | None = None) -> bytes:
    archive = Archive(upload.zip({"images/a.mha": data}), limits or ImportLimits())
    target = upload.scratch / "converted"
    source_of(archive.members[0]).extract(archive, target)
    assert list(upload.scratch.glob("converted*")) == [target]
    return target.read_bytes()


def opened(data: bytes) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(data))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_what_itk_writes(upload: Any, tmp_path: Path, kind: str, compressed: bool) -> None:
    array = IMAGE.astype(kind)
    data = itk(array, tmp_path, useCompression=compressed)
    nifti = converted(upload, data)
    image = opened(nifti)
    assert np.array_equal(np.asarray(image.dataobj), array) and image.get_data_dtype() == np.dtype(kind)
    # The file that SimpleITK itself converts it to, read by nibabel, says the same.
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "x.mha")), str(tmp_path / "theirs.nii.gz"))
    theirs = nib.load(tmp_path / "theirs.nii.gz")
    assert np.array_equal(np.asarray(theirs.dataobj), array)
    for affine in (image.affine, image.get_qform()):
        assert np.allclose(affine, theirs.affine, atol=1e-4)
    # And SimpleITK reads what was stored as it reads the original.
    (tmp_path / "ours.nii.gz").write_bytes(nifti)
    ours = sitk.ReadImage(str(tmp_path / "ours.nii.gz"))
    assert np.allclose(ours.GetDirection(), GEOMETRY["direction"], atol=1e-5)
    assert np.allclose(ours.GetOrigin(), GEOMETRY["origin"], atol=1e-4)
    assert np.allclose(ours.GetSpacing(), GEOMETRY["spacing"], atol=1e-6)


def test_the_same_file_gives_the_same_bytes(upload: Any, tmp_path: Path) -> None:
    data = itk(IMAGE, tmp_path)
    assert converted(upload, data) == converted(upload, data)


def test_older_keys_and_byte_orders(upload: Any, tmp_path: Path) -> None:
    data = by_hand(
        IMAGE.astype(">f4").tobytes(order="F"), BinaryDataByteOrderMSB=True, Position="1 2 3", ElementSize="2 3 4"
    )
    image = opened(converted(upload, data))
    assert np.array_equal(np.asarray(image.dataobj), IMAGE)
    (tmp_path / "old.mha").write_bytes(data)
    theirs = sitk.ReadImage(str(tmp_path / "old.mha"))
    assert np.array_equal(sitk.GetArrayFromImage(theirs).T, IMAGE)
    assert theirs.GetSpacing() == (2, 3, 4) and theirs.GetOrigin() == (1, 2, 3)
    assert np.array_equal(image.affine, [[-2, 0, 0, -1], [0, -3, 0, -2], [0, 0, 4, 3], [0, 0, 0, 1]])


def test_in_an_upload(upload: Any, tmp_path: Path) -> None:
    """MetaImage and NIfTI may be mixed: an .mha image may have a .nii.gz label, if they lie at the same place."""
    image, label = itk(IMAGE, tmp_path), itk(LABEL, tmp_path)
    members = {
        "images/a.mha": image,
        "masks/a.mha": label,
        "images/b.MHA": itk(IMAGE + 1, tmp_path),
        "masks/b.nii.gz": converted(upload, label),
    }
    checked = upload.check(members)
    assert (checked.media, checked.mask_values, [s.pair.name for s in checked.samples]) == (
        Media.VOLUME,
        [0, 1],
        ["a", "b"],
    )
    first = checked.samples[0]
    assert (first.width, first.height, first.depth) == SHAPE and first.media_type == "application/gzip"
    assert np.allclose(first.spacing, GEOMETRY["spacing"])
    decode_pair([converted(upload, image)], converted(upload, label), checked.mask_values)  # workers can read it


FAULTS = {
    "elsewhere": ({"ElementDataFile": "/etc/passwd\n"}, "another file"),
    "list": ({"ElementDataFile": "LIST\na.raw\n"}, "another file"),
    "pattern": ({"ElementDataFile": "x%d.raw 1 9 1\n"}, "another file"),
    "twice": ({"ElementDataFile": "LOCAL\nElementDataFile = /etc/passwd\n"}, "has more bytes of voxels"),
    "2D": ({"NDims": 2}, "has 2 axes"),
    "channels": ({"ElementNumberOfChannels": 3}, "has 3 channels"),
    "text": ({"BinaryData": "False"}, "as text"),
    "long": ({"ElementType": "MET_LONG"}, "type MET_LONG"),
    "no type": ({"ElementType": None}, "type None"),
    "no size": ({"DimSize": None}, "no DimSize"),
    "negative": ({"DimSize": "-6 -7 8"}, "DimSize -6 -7 8"),
    "half": ({"DimSize": "6.5 7 8"}, "DimSize 6.5 7 8"),
    "vast": ({"DimSize": "60000 60000 60000"}, "60000 x 60000 x 60000 voxels"),
    "endless": ({"DimSize": "1e308 1e308 inf"}, "DimSize = 1e308"),
    "long axis": ({"DimSize": "40000 1 1"}, "40000 x 1 x 1 voxels of 4 bytes"),
    "larger": ({"DimSize": "6 7 9"}, "has 1344 bytes of voxels, not 1512"),
    "smaller": ({"DimSize": "6 7 7"}, "has more bytes of voxels, not 1176"),
    "far": ({"Offset": "1e300 0 0"}, "where no patient is"),
    "tiny": ({"ElementSpacing": "1e-300 1 1"}, "where no patient is"),
    "flat": ({"ElementSpacing": "1 0 1"}, "without extent"),
    "skewed": ({"TransformMatrix": "1 0 0 1 1 0 0 0 1"}, "not perpendicular"),
    "nan": ({"Offset": "nan 0 0"}, "Offset = nan 0 0"),
    "two numbers": ({"Offset": "0 0"}, "3 numbers are needed"),
    "neither": ({"CompressedData": "perhaps"}, "CompressedData = perhaps"),
    "not packed": ({"CompressedData": "True"}, "cannot be unpacked"),
    "other object": ({"ObjectType": "Tube"}, "not an image"),
    "header size": ({"HeaderSize": "-1"}, "another header"),
}


@pytest.mark.parametrize(("changed", "reason"), FAULTS.values(), ids=FAULTS)
def test_faults(upload: Any, changed: dict[str, object], reason: str) -> None:
    faults = upload.faults({"images/a.mha": by_hand(**changed), "masks/a.mha": by_hand()})
    fault = faults["images/a.mha"]
    assert reason in f"{fault.reason} {fault.hint}" and fault.hint


@pytest.mark.parametrize("data", [b"", b"hello", b"=" * 200_000, b"A = 1\n" * 3, b"Comment = " + b"x" * 100_000])
def test_what_is_no_metaimage(upload: Any, data: bytes) -> None:
    assert upload.faults({"images/a.mha": data, "masks/a.mha": by_hand()})["images/a.mha"].reason


def test_bombs_are_not_unpacked(upload: Any) -> None:
    bomb = by_hand(zlib.compress(bytes(50_000_000), 9), CompressedData=True)
    with pytest.raises(MemberFault, match="more bytes of voxels"):
        converted(upload, bomb)
    assert sum(path.stat().st_size for path in upload.scratch.iterdir()) < 100_000
    honest = by_hand(zlib.compress(bytes(4_000_000), 9), CompressedData=True, DimSize="100 100 100")
    with pytest.raises(MemberFault, match="voxels of 4 bytes"):
        converted(upload, honest, ImportLimits(max_volume_bytes=3_999_999))
    with pytest.raises(MemberFault, match="has 100 x 100 x 100 voxels"):
        converted(upload, honest, ImportLimits(max_voxels=999_999))


def test_damaged_files_are_faults_or_whole_volumes(
    upload: Any, tmp_path: Path, break_bytes: Callable[[bytes, int], bytes]
) -> None:
    whole = itk(IMAGE, tmp_path, useCompression=True)
    start = whole.index(b"LOCAL\n") + 6
    passed = 0
    for seed in range(300):
        damaged = break_bytes(whole[:start], 2 * seed) + whole[start:] if seed % 3 else break_bytes(whole, seed)
        try:
            image = opened(converted(upload, damaged))
        except MemberFault as fault:
            assert fault.reason and fault.hint
            continue
        passed += 1
        assert np.isfinite(image.affine).all() and image.shape == SHAPE
        assert np.asarray(image.dataobj).size == IMAGE.size
    assert passed > 5


def test_corrections_may_be_metaimages(upload: Any, tmp_path: Path) -> None:
    from service.datasets.checked import Findings
    from service.datasets.masks import MaskCheck

    image, label = converted(upload, itk(IMAGE, tmp_path)), itk(LABEL, tmp_path)
    archive = Archive(io.BytesIO(upload.zip({"masks/a.mha": label}).getvalue()), ImportLimits())
    work = MaskCheck(
        archive, ImportLimits(), Media.VOLUME, tmp_path, lambda digest, target: target.write_bytes(image) and None
    )
    found = Findings([], [])
    masks = work.check(
        {"a": source_of(archive.members[0])}, {"a": {"image_sha256": "", "width": 6, "height": 7}}, [0, 1], found
    )
    assert not found.faults and masks["a"].foreground == pytest.approx(LABEL.mean())
