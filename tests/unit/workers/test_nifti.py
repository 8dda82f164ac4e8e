"""NIfTI files: what numpy, by hand, makes of them; and back into the place they came from."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from tests.volumes import PIL, nifti
from workers.nifti import NOT_NIFTI, decode_labels, decode_pair, decode_volume, encode_labels, open_volume

SHAPE = (5, 6, 7)
RNG = np.random.default_rng(0)
IMAGE = RNG.normal(100, 30, SHAPE).astype(np.float32)
MASK = RNG.choice(np.array([0, 3, 900], dtype=np.int16), SHAPE)


def without_affine(file: bytes) -> bytes:
    """Its sform, three rows of four numbers, set to zero."""
    return file[:280] + bytes(48) + file[328:]


def test_intensities_are_numpys() -> None:
    found = decode_volume(open_volume(nifti(IMAGE)))
    clipped = IMAGE.clip(*np.percentile(IMAGE, (0.5, 99.5)))
    scored = (clipped - clipped.mean()) / clipped.std()
    # Axes of the file: to the back, to the left, downwards. Ours: up, front, right.
    expected = scored[::-1, ::-1, ::-1].transpose(2, 0, 1)
    assert (found.dtype, found.shape) == (np.float16, (7, 5, 6))
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert abs(found.astype(float).mean()) < 1e-3
    assert abs(found.astype(float).std() - 1) < 1e-3


def test_nibabels_own_reorientation_agrees() -> None:
    theirs = nib.as_closest_canonical(nib.Nifti1Image(MASK, PIL))
    ours = decode_labels(open_volume(nifti(MASK)), [0, 3, 900])
    np.testing.assert_array_equal(np.array([0, 3, 900])[ours].transpose(2, 1, 0), np.asarray(theirs.dataobj))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("order", [[0, 3, 9], [9, 0, 3]])
def test_classes_are_positions_in_the_mask_values(kind: type, order: list[int]) -> None:
    values = RNG.choice(np.array(order), SHAPE).astype(kind)
    found = decode_labels(open_volume(nifti(values, np.eye(4))), order)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(np.array(order)[found].transpose(2, 1, 0), values)


def test_a_scale_in_the_header_counts() -> None:
    image = nib.Nifti1Image(MASK, np.eye(4))
    image.header.set_slope_inter(2, 1)
    file = open_volume(image.to_bytes())
    assert (file.dataobj.slope, file.dataobj.inter) == (2, 1)
    classes = decode_labels(file, [1, 7, 1801])
    np.testing.assert_array_equal(np.array([0, 3, 900])[classes].transpose(2, 1, 0), MASK)


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_a_mask_goes_back_to_where_its_image_lies(kind: type) -> None:
    own = kind(IMAGE, PIL)
    own.set_qform(PIL, 1)
    own.header["descrip"] = b"scanned"
    source = open_volume(own.to_bytes())
    classes = decode_labels(open_volume(nifti(MASK)), [0, 3, 900])
    written = type(source).from_bytes(gzip.decompress(encode_labels(classes, source)))
    assert written.shape == SHAPE
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(written.affine, own.affine)
    assert written.header.get_zooms() == own.header.get_zooms()
    assert (written.header["sform_code"], written.header["qform_code"]) == (
        own.header["sform_code"],
        own.header["qform_code"],
    )
    np.testing.assert_array_equal(np.array([0, 3, 900])[np.asarray(written.dataobj)], MASK)


@pytest.mark.parametrize(
    ("image", "mask", "reason"),
    [
        (nifti(IMAGE[..., None].repeat(2, 3)), nifti(MASK), "three axes"),
        (nifti(IMAGE), nifti(MASK[:4]), r"the image has \(5, 6, 7\) voxels, its mask \(4, 6, 7\)"),
        (nifti(IMAGE), nifti(MASK, np.eye(4)), "affines differ"),
        (nifti(IMAGE), nifti(MASK + np.int16(1)), r"mask values \[1, 4, 901\] stand for no class"),
        (nifti(IMAGE), nifti(np.where(MASK == 3, np.nan, MASK)), "stand for no class"),
        (nifti(np.where(MASK == 3, np.inf, IMAGE)), nifti(MASK), "not finite"),
        (without_affine(nifti(IMAGE, compressed=False)), nifti(MASK), "does not say where"),
        (nifti(np.zeros(SHAPE, np.complex64)), nifti(MASK), "no intensities"),
        (nifti(np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])), nifti(MASK), "no intensities"),
        (b"", nifti(MASK), ""),
        (b"\x1f\x8b", nifti(MASK), ""),
        (b"not a volume", nifti(MASK), ""),
        (nifti(IMAGE), b"\x89PNG" + bytes(2000), ""),
    ],
)
def test_files_that_do_not_serve_are_refused(image: bytes, mask: bytes, reason: str) -> None:
    with pytest.raises(NOT_NIFTI, match=reason):
        decode_pair([image], mask, [0, 3, 900])


@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_file_is_refused_wherever_it_ends(compressed: bool) -> None:
    whole, mask = nifti(IMAGE, compressed=compressed), nifti(MASK)
    decode_pair([whole], mask, [0, 3, 900])
    for end in [*range(0, len(whole) - 9, 41), len(whole) - 9, len(whole) - 1]:
        with pytest.raises(NOT_NIFTI):
            decode_pair([whole[:end]], mask, [0, 3, 900])


def test_a_damaged_file_is_refused_or_read_but_raises_nothing_else() -> None:
    whole, mask, rng = nifti(IMAGE, compressed=False), nifti(MASK), np.random.default_rng(1)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, 400, 3):
            damaged[place] = rng.integers(256)
        try:
            decode_pair([bytes(damaged)], mask, [0, 3, 900])
        except NOT_NIFTI:
            continue


def test_a_constant_volume_is_zero() -> None:
    assert not decode_volume(open_volume(nifti(np.full(SHAPE, 9, np.uint8)))).any()
