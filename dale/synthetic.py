"""Small synthetic lesion images that look like endoscopy or skin: seeded, with exact masks.

Made for the demonstration and the tests: a small UNet learns them in a minute, but not by a threshold,
because the lighting is uneven, contrast varies from clear to faint, and things that are no lesions lie about
(folds, hairs, shadows, highlights).

Command: `python -m dale.synthetic --out FOLDER --samples 240 --ratio 0.25 --seed 0 --hold-out 24` writes the
layout of `dale.folders`, with a share of the labels corrupted by `dale.noise`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from dale.folders import add_noise_arguments, summary, write_noisy_copy, write_values
from dale.noise import parse_kinds

Field = NDArray[np.float64]  # (S, S)
Picture = NDArray[np.float64]  # (S, S, 3), in [0, 1]

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Palette:
    """What one part of the body looks like: colours in [0, 1], and which distractors occur on it."""

    tissue: RGB
    vessel: RGB
    vessels: float  # how clearly vessels show
    lesions: tuple[RGB, ...]
    hairs: float  # probability
    highlights: float
    folds: float


MUCOSA = Palette((0.76, 0.45, 0.38), (0.60, 0.20, 0.20), 0.9, ((0.72, 0.29, 0.27), (0.86, 0.60, 0.52)), 0.0, 0.8, 0.7)
SKIN = Palette((0.83, 0.66, 0.55), (0.74, 0.50, 0.44), 0.3, ((0.42, 0.27, 0.21), (0.56, 0.39, 0.31)), 0.6, 0.0, 0.2)
WOUND = Palette((0.74, 0.55, 0.45), (0.60, 0.38, 0.32), 0.4, ((0.62, 0.20, 0.17), (0.75, 0.38, 0.28)), 0.2, 0.5, 0.4)


def smooth(size: int, wavelength: float, rng: np.random.Generator) -> Field:
    """Noise of zero mean and unit spread that varies over about `wavelength` pixels."""
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), max(wavelength / 4, 0.4), mode="wrap")
    noise: Field = (field - field.mean()) / (field.std() + 1e-12)
    return noise


def _blend(picture: Picture, colour: Any, weight: Field) -> Picture:
    return picture + weight[..., None] * (np.asarray(colour) - picture)


def _tissue(size: int, palette: Palette, rng: np.random.Generator) -> Picture:
    """Uneven tissue: cloudy at every scale, fine vessels, a tint of its own."""
    cloud = sum(smooth(size, size / 2**k, rng) * 0.55**k for k in range(5))
    colour = np.asarray(palette.tissue) + rng.normal(0, 0.03) + rng.normal(0, 0.012, 3)
    picture = colour * (1 + 0.07 * np.asarray(cloud)[..., None])
    ridges = np.abs(smooth(size, size / rng.uniform(2.5, 4), rng))
    vessels = np.exp(-((ridges / 0.07) ** 2)) * ndimage.gaussian_filter(rng.random((size, size)), size / 10) * 1.2
    return _blend(picture, palette.vessel, vessels * rng.uniform(0.3, 1) * palette.vessels)


def _outline(size: int, taken: Field, rng: np.random.Generator) -> Field | None:
    """Depth below the border of one irregular lesion, negative outside; None where it would touch another."""
    radius = size * rng.uniform(0.09, 0.24)
    cy, cx = rng.uniform(0.2, 0.8, 2) * size
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.6, 1.0)
    dy, dx = np.indices((size, size)) - np.array([cy, cx]).reshape(2, 1, 1)
    along = (dx * np.cos(angle) + dy * np.sin(angle)) * np.sqrt(ratio)
    across = (dy * np.cos(angle) - dx * np.sin(angle)) / np.sqrt(ratio)
    wobble = 0.22 * smooth(size, 2.2 * radius, rng) + 0.06 * smooth(size, 0.7 * radius, rng)
    depth = radius * (1 + wobble) - np.hypot(along, across)
    labels, _ = ndimage.label(depth > 0)
    centre = labels[int(cy), int(cx)]
    if centre == 0:
        return None
    depth = np.where((labels == centre) | (depth <= 0), depth, -1.0)
    grown = ndimage.binary_dilation(depth > 0, iterations=max(2, size // 24))
    return None if (grown & (taken > 0)).any() else depth


def _paint_lesion(picture: Picture, depth: Field, palette: Palette, rng: np.random.Generator) -> Picture:
    """A lesion with a soft border, its own texture and a contrast between faint and clear."""
    size = len(picture)
    colours = palette.lesions
    colour = np.asarray(colours[rng.integers(len(colours))]) + rng.normal(0, 0.03) + rng.normal(0, 0.015, 3)
    softness = size * rng.uniform(0.008, 0.02)
    weight = 1 / (1 + np.exp(-depth / softness))
    texture = 0.09 * smooth(size, size / 8, rng) + 0.05 * smooth(size, size / 24, rng)
    inner = colour * (1 + texture[..., None])
    height = np.clip(depth / (depth.max() + 1e-9), 0, 1)
    inner = inner * (0.9 + 0.25 * height[..., None])  # lit from the front: the middle is brighter
    dy, dx = np.gradient(ndimage.gaussian_filter(depth.clip(0), size / 40))
    angle = rng.uniform(0, 2 * np.pi)
    inner = inner + (0.06 * (dy * np.sin(angle) + dx * np.cos(angle)))[..., None]
    painted = _blend(picture, (0, 0, 0), np.exp(-((depth / (2.5 * softness)) ** 2)) * 0.12)
    opacity = rng.uniform(0.5, 1.0)
    return _blend(painted, inner, weight * opacity)


def _fold(picture: Picture, rng: np.random.Generator) -> Picture:
    """A fold of tissue: a bent dark line with a bright side."""
    size = len(picture)
    y, x = np.indices((size, size)) / size
    angle, offset = rng.uniform(0, np.pi), rng.uniform(0.15, 0.85)
    line = x * np.cos(angle) + y * np.sin(angle) - offset + 0.06 * smooth(size, size, rng)
    width = rng.uniform(0.015, 0.04)
    shade = -np.exp(-((line / width) ** 2)) + 0.6 * np.exp(-(((line - 2 * width) / width) ** 2))
    return _blend(picture, 0, -rng.uniform(0.15, 0.35) * shade)


def _shadow(picture: Picture, rng: np.random.Generator) -> Picture:
    """A dark, blurred patch about as large as a lesion: dark alone does not make a lesion."""
    size = len(picture)
    cy, cx = rng.uniform(0, size, 2)
    dy, dx = np.indices((size, size)) - np.array([cy, cx]).reshape(2, 1, 1)
    distance = np.hypot(dy, dx * rng.uniform(0.5, 1)) / (size * rng.uniform(0.1, 0.2))
    return _blend(picture, 0, rng.uniform(0.2, 0.4) * np.exp(-(distance**2)))


def _hairs(picture: Picture, rng: np.random.Generator) -> Picture:
    """A few thin dark bent hairs."""
    size = len(picture)
    y, x = np.indices((size, size)) / size
    for _ in range(rng.integers(2, 7)):
        angle, offset, bend = rng.uniform(0, np.pi), rng.uniform(-0.3, 1.2), rng.normal(0, 0.3)
        along = -x * np.sin(angle) + y * np.cos(angle)
        line = x * np.cos(angle) + y * np.sin(angle) - offset - bend * along**2
        start, length = rng.uniform(-0.8, 0.6), rng.uniform(0.3, 0.9)
        present = (along > start) & (along < start + length)
        hair = np.exp(-((line * size / rng.uniform(0.5, 0.9)) ** 2)) * present
        picture = _blend(picture, np.array([0.16, 0.10, 0.08]), hair * rng.uniform(0.5, 0.9))
    return picture


def _highlights(picture: Picture, rng: np.random.Generator) -> Picture:
    """Wet tissue mirrors the lamp: small white spots."""
    size = len(picture)
    field = smooth(size, size / rng.uniform(8, 14), rng)
    spots = 1 / (1 + np.exp(-(field - rng.uniform(2.3, 2.9)) * 12))
    return _blend(picture, (1.0, 0.98, 0.95), 0.9 * spots)


def _camera(picture: Picture, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Lamp fall-off toward the corners, a little blur, sensor noise, 8 bits."""
    size = len(picture)
    cy, cx = rng.uniform(0.35, 0.65, 2) * size
    dy, dx = np.indices((size, size)) - np.array([cy, cx]).reshape(2, 1, 1)
    fall = 1 - rng.uniform(0.25, 0.6) * (np.hypot(dy, dx) / size) ** 2 * 1.6
    picture = picture * fall[..., None] * rng.uniform(0.85, 1.12)
    picture = ndimage.gaussian_filter(picture, (size / 240, size / 240, 0))
    picture = picture + rng.normal(0, 0.012, picture.shape)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def lesion_image(size: int, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One image, (S, S, 3) uint8, and its mask, (S, S) of 0 and 1; mostly one lesion, or two or none."""
    palette = (MUCOSA, SKIN, WOUND)[int(rng.integers(3))]
    picture = _tissue(size, palette, rng)
    if rng.random() < palette.folds:
        picture = _fold(picture, rng)
    if rng.random() < 0.5:
        picture = _shadow(picture, rng)
    wanted = int(rng.choice([0, 1, 2], p=[0.04, 0.78, 0.18]))
    taken = np.full((size, size), -1.0)
    found = 0
    for _ in range(20 * wanted):
        depth = _outline(size, taken, rng)
        if depth is not None:
            picture = _paint_lesion(picture, depth, palette, rng)
            taken = np.maximum(taken, depth)
            found += 1
        if found == wanted:
            break
    if rng.random() < palette.hairs:
        picture = _hairs(picture, rng)
    if rng.random() < palette.highlights:
        picture = _highlights(picture, rng)
    return _camera(picture, rng), (taken > 0).astype(np.uint8)


def write_samples(out: Path, samples: int, size: int, seed: int) -> None:
    """Write `images/` and `masks/` (0 and 255) of so many clean samples, named lesion-0000 and so on."""
    (out / "images").mkdir(parents=True)
    (out / "masks").mkdir()
    for number, rng in enumerate(np.random.default_rng(seed).spawn(samples)):
        image, mask = lesion_image(size, rng)
        Image.fromarray(image).save(out / "images" / f"lesion-{number:04d}.png")
        write_values(out / "masks" / f"lesion-{number:04d}.png", mask * np.uint8(255))


def synthetic_command(arguments: Sequence[str] | None = None) -> None:
    """`python -m dale.synthetic`."""
    parser = argparse.ArgumentParser(
        prog="python -m dale.synthetic",
        description="Write a synthetic lesion dataset with some labels corrupted.",
    )
    parser.add_argument("--samples", type=int, default=240, help="training samples (default: 240)")
    parser.add_argument("--image-size", type=int, default=96, help="pixels of an edge (default: 96)")
    add_noise_arguments(parser)
    options = parser.parse_args(arguments)
    if options.samples < 1 or options.image_size < 32 or options.hold_out < 0:
        parser.error("--samples must be 1 or more, --image-size 32 or more, --hold-out 0 or more")
    try:
        kinds = parse_kinds(options.noise)
        with tempfile.TemporaryDirectory() as scratch:
            clean = Path(scratch) / "clean"
            write_samples(clean, options.samples + options.hold_out, options.image_size, options.seed)
            truth = write_noisy_copy(
                clean,
                options.out,
                ratio=options.ratio,
                kinds=kinds,
                seed=options.seed,
                hold_out=options.hold_out,
            )
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write(f"{options.out}: {summary(truth)}\n")


if __name__ == "__main__":
    synthetic_command()
