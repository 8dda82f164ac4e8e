"""Masks from an exported model by NumPy and onnxruntime alone: what `onnx.zip` ships as `predict.py`.

    python predict.py lesion.png --out mask.png
    python predict.py case_0000.nii.gz case_0001.nii.gz --out mask.nii.gz --probabilities probabilities.npy

`model.onnx` and `model.json` lie beside this file (or where `--model` says). Where each channel is a file of its own,
the files are given in the order of the channels. It needs numpy, onnxruntime, and Pillow for images or nibabel for
volumes. Training reads its images by these same functions, so that a model meets what it was trained on.

Arrays of images are (H, W). Arrays of volumes are (D, H, W) in RAS+ orientation: W runs to the patient's right, H to
the front, D upwards. Voxels are not resampled. C is the number of classes, P the edge of a patch, S that of an image.
"""

from __future__ import annotations

import argparse
import gzip
import io
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import nibabel as nib
    from PIL import Image

PERCENTILES = (0.5, 99.5)  # intensities of a volume beyond these are clipped
SIGMA = 0.125  # of the Gaussian that weighs a window, as a share of its edge
LEAST_WEIGHT = 1e-3  # of a voxel in a window
WINDOWS = 4  # in one pass
SAME_PLACE = 1e-2  # mm (and mm per voxel): so far may affines that belong together differ
NIFTI_2 = 540  # size of its header, which a file begins with; NIfTI-1 has 348

Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (B, channels, *edges) to logits (B, C, *edges)


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image or volume.

    Attributes:
        probabilities: (C, H, W) or (C, D, H, W), float32, in the input's own size.
        encoded: the mask as a file, its values those of `mask_values`: PNG, or .nii.gz in the volume's own place.
    """

    probabilities: NDArray[np.float32]
    encoded: bytes


def predict(about: dict[str, Any], network: Network, sources: Sequence[bytes | Path]) -> Prediction:
    """The mask of one image or volume of any size.

    Args:
        about: the model's `model.json`.
        network: answers with logits.
        sources: its encoded files or their paths, in the order of the channels.

    Raises:
        ValueError: there are too few or too many, or they are not what they should be. Broken files raise what Pillow
            and nibabel do.
    """
    if len(sources) != about["files"]:
        raise ValueError(f"the model needs {about['files']} files for an image, not {len(sources)}")
    if about["spatial_dims"] == 3:
        files = [open_volume(source) for source in sources]
        image = normalise(volume_channels(files), about)
        probabilities = softmax(over_windows(network, image, about["patch_size"], about["sliding_window"]["overlap"]))
        return Prediction(probabilities, encode_volume(mask_values(about)[probabilities.argmax(0)], files[0]))
    return from_logits(about, network(to_input(about, sources)[None])[0], sources[0])


def to_input(about: dict[str, Any], sources: Sequence[bytes | Path]) -> NDArray[np.float32]:
    """An image as the network sees it, (channels, S, S), from its files."""
    return normalise(image_channels(sources, about["image_size"]), about)


def from_logits(about: dict[str, Any], logits: NDArray[np.float32], source: bytes | Path) -> Prediction:
    """What logits (C, S, S) say of an image, in its own size.

    Args:
        about: the model's `model.json`.
        logits: the network's answer.
        source: the image's file, the first of several.
    """
    size = _size(source)
    probabilities = np.stack([to_own_size(square, *size) for square in softmax(logits)])
    return Prediction(probabilities, encode_image(mask_values(about)[probabilities.argmax(0)]))


def mask_values(about: dict[str, Any]) -> NDArray[Any]:
    """The value of each class in a mask, of the smallest type that holds them."""
    values = np.array(about["mask_values"])
    return values.astype(np.min_scalar_type(values.max()))


def normalise(image: NDArray[Any], about: dict[str, Any]) -> NDArray[np.float32]:
    """An image (channels, *spatial) as the network sees it: minus the mean, over the spread of its training images."""
    shape = (-1, *[1] * (image.ndim - 1))
    mean, std = (np.array(about[name], dtype=np.float32).reshape(shape) for name in ("mean", "std"))
    values = image.astype(np.float32)
    normalised = ((values / 255 if image.dtype == np.uint8 else values) - mean) / std
    return np.asarray(normalised, dtype=np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities from logits (C, ...), each in [0, 1] and summing to 1 over the classes."""
    powers = np.exp(logits - logits.max(0))
    return np.asarray(powers / powers.sum(0), dtype=np.float32)


def _open_image(source: bytes | Path) -> Image.Image:
    from PIL import Image

    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _size(source: bytes | Path) -> tuple[int, int]:
    with _open_image(source) as image:
        return image.width, image.height


def to_rgb(image: Image.Image) -> Image.Image:
    """An image as 8-bit RGB; one of more than 8 bits is stretched from its smallest and largest value to 0 and 255."""
    from PIL import Image

    if image.mode in {"I", "I;16", "F"}:
        values = np.asarray(image, dtype=np.float32)
        low, high = float(values.min()), float(values.max())
        image = Image.fromarray(((values - low) * (255 / max(high - low, 1e-6))).astype(np.uint8))
    return image.convert("RGB")


def to_square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """An RGB image resized to (size, size, 3)."""
    from PIL import Image

    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=2.0), dtype=np.uint8)


def decode_image(source: bytes | Path, size: int) -> NDArray[np.uint8]:
    """Decode an image and resize it to a square.

    Args:
        source: an encoded image (PNG, JPEG, TIFF) or the path of one.
        size: edge of the square, in pixels.

    Returns:
        (size, size, 3), RGB.
    """
    with _open_image(source) as image:
        return to_square(to_rgb(image), size)


def image_channels(sources: Sequence[bytes | Path], size: int) -> NDArray[np.uint8]:
    """The files of one sample as (channels, size, size): red, green and blue of a single file, else one of each.

    Args:
        sources: one encoded image, or several grey ones in the order of their channels.
        size: as for `decode_image`.
    """
    decoded = [decode_image(source, size) for source in sources]
    return decoded[0].transpose(2, 0, 1) if len(decoded) == 1 else np.stack([image[..., 0] for image in decoded])


def to_own_size(plane: NDArray[Any], width: int, height: int) -> NDArray[Any]:
    """A plane (h, w) of uint8 or float32, resized (nearest) to (height, width)."""
    from PIL import Image

    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.NEAREST))


def encode_image(values: NDArray[np.uint8]) -> bytes:
    """Values (H, W) as an 8-bit PNG."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(values).save(sink, "PNG", compress_level=1)
    return sink.getvalue()


def open_volume(source: bytes | Path) -> nib.Nifti1Image:
    """A NIfTI file (.nii or .nii.gz), its voxels not yet read.

    Raises:
        ValueError: it has no three axes, no intensities or no place; where it is no NIfTI at all, nibabel's errors.
    """
    import nibabel as nib

    data = source if isinstance(source, bytes) else source.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    sizes = {int.from_bytes(data[:4], order) for order in ("little", "big")}
    image = (nib.Nifti2Image if NIFTI_2 in sizes else nib.Nifti1Image).from_bytes(data)
    if len(image.shape) != 3 or 0 in image.shape:
        raise ValueError(f"a volume of one channel has three axes; this file has the shape {tuple(image.shape)}")
    if image.get_data_dtype().kind not in "iuf":
        raise ValueError(f"voxels of type {image.get_data_dtype()} are no intensities")
    if not np.isfinite(image.affine).all() or not np.linalg.det(image.affine):
        raise ValueError("the affine does not say where the voxels lie")
    return image


def to_ras(file: nib.Nifti1Image, values: NDArray[Any]) -> NDArray[Any]:
    """A file's voxels as (D, H, W) in RAS+ orientation."""
    from nibabel.orientations import apply_orientation, io_orientation

    turned: NDArray[Any] = apply_orientation(values, io_orientation(file.affine))
    return turned.transpose(2, 1, 0)


def decode_volume(file: nib.Nifti1Image) -> NDArray[np.float16]:
    """Intensities (D, H, W), clipped at the volume's `PERCENTILES`, then of mean 0 and standard deviation 1.

    Raises:
        ValueError: values are not finite; where voxels are missing, nibabel's errors.
    """
    values = to_ras(file, file.get_fdata(dtype=np.float32, caching="unchanged"))
    if not np.isfinite(values).all():
        raise ValueError("the image has values that are not finite")
    values = values.clip(*np.percentile(values, PERCENTILES))
    mean, spread = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    return np.ascontiguousarray((values - mean) / max(spread, 1e-6), dtype=np.float16)


def volume_channels(files: Sequence[nib.Nifti1Image], mask: nib.Nifti1Image | None = None) -> NDArray[np.float16]:
    """Intensities (channels, D, H, W), each channel as `decode_volume` has it.

    Args:
        files: one for each channel, in their order.
        mask: of all of them; without it they are compared with the first.

    Raises:
        ValueError: one cannot be read or they do not cover the same voxels; or nibabel's errors.
    """
    below = mask or files[0]
    for number, file in enumerate(files):
        what = "the image" if len(files) == 1 else f"channel {number} of the image"
        whose = "its mask" if mask else "its first channel"
        if file.shape != below.shape:
            raise ValueError(f"{what} has {file.shape} voxels, {whose} {below.shape}")
        if not np.allclose(file.affine, below.affine, rtol=0, atol=SAME_PLACE):
            raise ValueError(f"{what} and {whose} lie in different places: their affines differ")
    return np.stack([decode_volume(file) for file in files])


def encode_volume(values: NDArray[Any], source: nib.Nifti1Image) -> bytes:
    """A mask, or other values, as .nii.gz, in the shape, orientation and place of the volume that they belong to.

    Args:
        values: (D, H, W) in RAS+ orientation, or (C, D, H, W), C becoming the fourth axis; the file keeps the type.
        source: the volume's own file.
    """
    from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

    back = ornt_transform(axcodes2ornt("RAS"), io_orientation(source.affine))
    header = source.header.copy()
    header.set_data_dtype(values.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    image = type(source)(apply_orientation(values.T, back), source.affine, header)
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)


def over_windows(network: Network, image: NDArray[np.float32], edge: int, overlap: float) -> NDArray[np.float32]:
    """Logits of a volume from windows that overlap, weighted by a Gaussian, as MONAI's sliding window has them.

    Args:
        network: for windows of `edge` voxels.
        image: (channels, D, H, W); if smaller than a window, it is padded with 0.
        edge: P.
        overlap: share of a window that the next covers too, on each axis.

    Returns:
        (C, D, H, W).
    """
    pads = [((missing := max(edge - extent, 0)) // 2, missing - missing // 2) for extent in image.shape[1:]]
    padded = np.pad(image, [(0, 0), *pads])
    shape = padded.shape[1:]
    weight = _gaussian(edge)
    weights = np.zeros(shape, dtype=np.float32)
    sums: NDArray[np.float32] | None = None
    for places in _batches(itertools.product(*(_starts(extent, edge, overlap) for extent in shape)), WINDOWS):
        windows = [tuple(slice(start, start + edge) for start in place) for place in places]
        logits = network(np.stack([padded[:, *window] for window in windows]))
        if sums is None:
            sums = np.zeros((logits.shape[1], *shape), dtype=np.float32)
        for window, part in zip(windows, logits, strict=True):
            sums[:, *window] += part * weight
            weights[window] += weight
    assert sums is not None  # noqa: S101 - no volume is without voxels
    inner = tuple(slice(before, before + extent) for (before, _), extent in zip(pads, image.shape[1:], strict=True))
    whole: NDArray[np.float32] = (sums / weights)[:, *inner]
    return whole


def _gaussian(edge: int) -> NDArray[np.float32]:
    along = np.exp(np.arange(-(edge - 1) / 2, edge / 2, dtype=np.float32) ** 2 / np.float32(-2 * (SIGMA * edge) ** 2))
    weight = along[:, None, None] * along[:, None] * along
    return np.asarray(weight.clip(min=max(float(weight.min()), LEAST_WEIGHT)), dtype=np.float32)


def _starts(extent: int, edge: int, overlap: float) -> list[int]:
    return [*range(0, extent - edge, max(int(edge * (1 - overlap)), 1)), extent - edge]


def _batches(places: Iterator[tuple[int, ...]], size: int) -> Iterator[list[tuple[int, ...]]]:
    while some := list(itertools.islice(places, size)):
        yield some


def load(folder: Path) -> tuple[dict[str, Any], Network]:
    """`model.json` and the network in `model.onnx`."""
    import onnxruntime

    about: dict[str, Any] = json.loads((folder / "model.json").read_text())
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return about, lambda images: session.run(None, {name: images})[0]


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="The mask of an image or a volume, from a trained model.")
    parser.add_argument("files", type=Path, nargs="+", help="the image's files, in the order of the channels")
    parser.add_argument("--out", type=Path, required=True, help="the mask: .png of an image, .nii.gz of a volume")
    parser.add_argument("--probabilities", type=Path, help="also write (classes, *spatial), float32, as .npy")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, help="folder of model.onnx and model.json")
    options = parser.parse_args(argv)
    about, network = load(options.model)
    ending = ".nii.gz" if about["spatial_dims"] == 3 else ".png"
    if not options.out.name.endswith(ending):
        parser.error(f"--out {options.out}: the masks of this model end in {ending}")
    try:
        found = predict(about, network, options.files)
    except (OSError, ValueError) as error:
        parser.error(f"{', '.join(map(str, options.files))}: {error}")
    options.out.write_bytes(found.encoded)
    if options.probabilities:
        np.save(options.probabilities, found.probabilities)
    return 0


if __name__ == "__main__":
    sys.exit(main())
