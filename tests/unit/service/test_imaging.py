"""Outlines, held to scipy's morphology; pictures, held to their pixels."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from service import imaging

SIDES = ndimage.generate_binary_structure(2, 1)
CORNERS = np.ones((3, 3), bool)


def blobs(seed: int, shape: tuple[int, int] = (60, 80), classes: int = 2) -> np.ndarray:
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=shape), 5)
    return np.digitize(smooth, np.quantile(smooth, np.linspace(0, 1, classes + 1)[1:-1])).astype(np.uint8)


def reference(mask: np.ndarray) -> np.ndarray:
    """Of every class: what erosion takes away; beyond the image everything is the same class."""
    edge = np.zeros(mask.shape, bool)
    for value in np.unique(mask[mask > 0]):
        region = mask == value
        edge |= region & ~ndimage.binary_erosion(region, SIDES, border_value=1)
    return edge


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_outlines_are_those_of_scipy(seed: int, classes: int) -> None:
    mask = blobs(seed, classes=classes)
    assert reference(mask).any()
    np.testing.assert_array_equal(imaging.outline(mask), reference(mask))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_outlines_of_slivers(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(1).integers(0, 2, shape).astype(np.uint8)
    np.testing.assert_array_equal(imaging.outline(mask), reference(mask))


def test_empty_and_full_masks_have_no_outline() -> None:
    assert not imaging.outline(np.zeros((9, 9), np.uint8)).any()
    assert not imaging.outline(np.full((9, 9), 255, np.uint8)).any()


@pytest.mark.parametrize("radius", [0, 1, 2, 4])
def test_thicker_lines_are_those_of_scipy(radius: int) -> None:
    line = imaging.outline(blobs(3))
    expected = ndimage.binary_dilation(line, CORNERS, iterations=radius) if radius else line
    np.testing.assert_array_equal(imaging.thicken(line, radius), expected)


@pytest.mark.parametrize("seed", range(4))
def test_dashes_lie_on_the_line_and_are_even(seed: int) -> None:
    line = imaging.outline(blobs(seed))
    style = imaging.Style(line=2, halo=1)
    on = imaging.dashes(line, style)
    assert not (on & ~line).any()
    share = on.sum() / line.sum()
    assert 0.5 < share < 0.75  # 7 of 12
    _, count = ndimage.label(on, CORNERS)
    assert count > line.sum() / 60


def test_noise_is_drawn_solid() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (600, 600)).astype(np.uint8)
    line = imaging.outline(noise)
    assert line.sum() > imaging.MAX_DASHED
    assert imaging.dashes(line, imaging.style_for(600)) is line


def picture(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def where(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (pixels == np.array(colour)).all(axis=2)


def square(value: int = 255, at: int = 20) -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    mask[at : at + 40, at : at + 40] = value
    return mask


@pytest.mark.parametrize("grey", [0, 60, 128, 200, 255])
def test_both_lines_show_on_any_ground(grey: int) -> None:
    image = np.full((100, 100, 3), grey, np.uint8)
    pixels = picture(imaging.render(image, square(), square(1, at=40), 400, "png"))
    assert pixels.shape == (400, 400, 3)
    blue, orange = where(pixels, imaging.LABEL), where(pixels, imaging.PREDICTION)
    assert blue.sum() > 1000
    assert 500 < orange.sum() < blue.sum(), "dashed, so less of it"
    rows, columns = np.nonzero(blue)
    assert 78 <= rows.min() <= 82 and 238 <= columns.max() <= 242, "at the label's edge, in output pixels"

    def contrast(line: np.ndarray) -> float:
        """Largest difference in luminance between the line with its halo and the ground."""
        area = ndimage.binary_dilation(line, CORNERS, iterations=2)
        luminance = pixels @ np.array([0.299, 0.587, 0.114])
        return float(np.abs(luminance[area] - grey).max())

    assert contrast(blue) > 60
    assert contrast(orange) > 60


def test_lines_that_coincide_both_show() -> None:
    image = np.full((100, 100, 3), 150, np.uint8)
    pixels = picture(imaging.render(image, square(), square(1), 400, "png"))
    assert where(pixels, imaging.LABEL).sum() > 300
    assert where(pixels, imaging.PREDICTION).sum() > 300


def test_without_masks_the_image_is_only_scaled() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 100, 3), dtype=np.uint8)
    pixels = picture(imaging.render(image, None, None, 200, "png"))
    expected = np.asarray(Image.fromarray(image).resize((200, 100), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(("shape", "expected"), [((50, 100), (32, 64)), ((2000, 1), (64, 1)), ((1, 1), (64, 64))])
def test_the_longer_side_has_the_size(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.zeros((*shape, 3), np.uint8)
    mask = np.ones(shape, np.uint8)
    assert picture(imaging.render(image, mask, mask, 64)).shape[:2] == expected


def encoded(pixels: Any, kind: str, mode: str | None = None) -> io.BytesIO:
    sink = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(sink, kind)
    sink.seek(0)
    return sink


def test_decoding() -> None:
    grey = np.arange(200, dtype=np.uint8).reshape(10, 20)
    assert imaging.decode_image(encoded(grey, "PNG")).shape == (10, 20, 3)
    for kind in ("PNG", "TIFF"):
        wide = imaging.decode_image(encoded(grey.astype(np.uint16) * 100, kind))
        assert (wide.min(), wide.max()) == (0, 255)
        assert (np.diff(wide[..., 0].ravel().astype(int)) >= 0).all()
    assert imaging.decode_image(encoded(grey, "PNG", "RGBA")).shape == (10, 20, 3)
    np.testing.assert_array_equal(imaging.decode_mask(encoded(grey, "PNG")), grey)
