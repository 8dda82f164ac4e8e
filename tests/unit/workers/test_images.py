"""Decoding against Pillow's own pixels, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workers.images import decode_image, decode_mask, encode_mask
from workers.predict import dice


def encoded(array: np.ndarray, kind: str = "PNG") -> bytes:
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, kind)
    return sink.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_an_image_of_the_right_size_is_taken_as_it_is(kind: str, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(pixels, kind), 32), pixels)
    (tmp_path / "image").write_bytes(encoded(pixels, kind))
    np.testing.assert_array_equal(decode_image(tmp_path / "image", 32), pixels)


def test_sixteen_bits_are_stretched_to_eight() -> None:
    ramp = np.linspace(1000, 3000, 32 * 32).reshape(32, 32).astype(np.uint16)
    image = decode_image(encoded(ramp), 32)
    assert (image.min(), image.max()) == (0, 255)
    assert np.corrcoef(image[..., 0].ravel(), ramp.ravel())[0, 1] > 0.999


def test_masks_become_class_indices_and_come_back() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:25] = 255
    classes = decode_mask(encoded(mask), None, [0, 255])
    np.testing.assert_array_equal(classes, mask // 255)
    large = np.asarray(Image.open(io.BytesIO(encode_mask(classes, 60, 40))))
    np.testing.assert_array_equal(large, (mask // 255).repeat(2, 0).repeat(2, 1))


def test_a_value_without_class_is_refused() -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[0, 0] = 7
    with pytest.raises(ValueError, match=r"mask values \[7\] stand for no class"):
        decode_mask(encoded(mask), None, [0, 255])


def test_dice_is_scikit_learns_f1() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 3, (2, 40, 40)).astype(np.uint8)
    assert dice(a, b, 3) == pytest.approx(f1_score(a.ravel(), b.ravel(), labels=[1, 2], average="macro"))
    assert dice(a * 0, a * 0, 3) == 1
