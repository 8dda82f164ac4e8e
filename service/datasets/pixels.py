"""Opens one image or mask completely and says what is in it, or why it cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from service.datasets.archive import MemberFault
from service.datasets.duplicates import fingerprint

ORIENTATION = 0x0112
IMAGE_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I", "F"}
MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "TIFF": "image/tiff"}


@dataclass(frozen=True)
class ImageFacts:
    """What was found in an image."""

    width: int
    height: int
    media_type: str
    constant: bool
    fingerprint: bytes | None


@dataclass(frozen=True)
class MaskFacts:
    """What was found in a mask; `values` are pixel values after thresholding."""

    width: int
    height: int
    media_type: str
    values: tuple[int, ...]
    foreground: float  # share of the pixels that are not 0
    lossy: bool
    encoded: bool  # stored as it came is not enough: the stored file is the one that was written instead


def inspect_image(path: Path, max_pixels: int) -> ImageFacts:
    """Decode an image completely.

    Raises:
        MemberFault: it is not an image that a network can be trained on.
    """
    with _opened(path, max_pixels) as image:
        if image.mode not in IMAGE_MODES:
            raise MemberFault(f"has colour mode {image.mode}", "save it as 8-bit RGB or greyscale")
        extrema = image.getextrema()
        bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
        if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
            raise MemberFault("has pixels that are not finite numbers", "save it as 8-bit RGB or greyscale")
        constant = all(low == high for low, high in bands)
        return ImageFacts(image.width, image.height, MEDIA_TYPES[image.format or ""], constant, fingerprint(image))


def inspect_mask(path: Path, max_pixels: int, threshold: int | None, stored: Path) -> MaskFacts:
    """Decode a mask completely, and bring it to one form.

    A mask that is stored is an 8-bit greyscale file, so that everybody reads the same values from it. One that came
    so keeps its bytes; any other (palette, bilevel, RGB, 16 bits, or binarised) is written to `stored` as PNG.

    Raises:
        MemberFault: it is not a mask.
    """
    with _opened(path, max_pixels) as image:
        values = _mask_values(image)
        if threshold is not None:
            values = np.where(values >= threshold, 255, 0).astype(np.uint8)
        encoded = threshold is not None or image.mode != "L"
        if encoded:
            Image.fromarray(values.astype(np.uint8)).save(stored, "PNG")
        counts = np.array(Image.fromarray(values.astype(np.uint8)).histogram())  # bincount would take 8 bytes a pixel
        return MaskFacts(
            width=image.width,
            height=image.height,
            media_type=MEDIA_TYPES[image.format or ""],
            values=tuple(np.flatnonzero(counts).tolist()),
            foreground=float(1 - counts[0] / values.size),
            lossy=image.format == "JPEG" and threshold is None,
            encoded=encoded,
        )


def _mask_values(image: Image.Image) -> NDArray[np.uint8]:
    """Pixel values as the mask's author meant them: a palette's index, a grey value, 255 for bilevel white."""
    if image.mode in ("L", "P"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "PA", "RGB", "RGBA", "RGBX"):
        pixels = np.asarray(image)
        has_alpha = image.mode in ("LA", "PA", "RGBA")
        colours = pixels[..., :-1] if has_alpha or image.mode == "RGBX" else pixels
        if has_alpha and int(pixels[..., -1].min()) != 255:
            raise MemberFault("is partly transparent", "save it as 8-bit greyscale without transparency")
        if not (colours == colours[..., :1]).all():
            raise MemberFault("is a colour image, not a mask", "save class numbers as 8-bit greyscale, not as colours")
        grey: NDArray[np.uint8] = colours[..., 0]
        return grey
    if image.mode in ("I;16", "I;16B", "I"):
        wide = np.asarray(image)
        if int(wide.max()) > 255 or int(wide.min()) < 0:
            raise MemberFault(f"has values from {int(wide.min())} to {int(wide.max())}", "save it with 8 bits a pixel")
        return wide.astype(np.uint8)
    raise MemberFault(f"has colour mode {image.mode}", "save it as 8-bit greyscale")


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """An image whose pixels are all decoded; its size was checked before the first of them."""
    try:
        image = Image.open(path, formats=list(MEDIA_TYPES))
    except Image.DecompressionBombError as error:
        raise MemberFault("has too many pixels", f"at most {max_pixels} are accepted") from error
    except Exception as error:  # decoders raise anything on hostile bytes; each becomes a fault
        raise MemberFault("is not a PNG, JPEG or TIFF image", "convert it, or leave it out") from error
    with image:
        if image.width * image.height > max_pixels:
            raise MemberFault(f"has {image.width} x {image.height} pixels", f"at most {max_pixels} pixels are accepted")
        try:
            frames = getattr(image, "n_frames", 1)
            orientation = _orientation(image)
            image.load()
        except Exception as error:  # as above
            raise MemberFault(f"cannot be decoded: {error}", "open and save it again") from error
        if frames != 1:
            raise MemberFault(f"holds {frames} images", "save each page or frame as a file of its own")
        if orientation != 1:
            raise MemberFault(
                f"is stored rotated (EXIF orientation {orientation})",
                "the mask would not match: save it upright, without the orientation tag",
            )
        yield image


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ORIENTATION, 1)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        value = image.tag_v2.get(ORIENTATION, value)
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1
