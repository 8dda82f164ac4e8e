"""Draw the pictures of the documentation from synthetic data: `python docs/pictures.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from dale.annotators import corrupt_by_annotator
from dale.noise import KINDS, corrupt, dice
from dale.synthetic import lesion_image

OUT = Path(__file__).parent / "pictures"
SIZE = 168
SCALE = 2  # outlines are drawn at this scale, so that they are thin and smooth
GAP = 8
COLUMNS = 5
# Blue and yellow are told apart with any colour vision, and in grey too. A casing sets them off from the image.
BLUE, WHITE = (0, 90, 181), (255, 255, 255)
YELLOW, BLACK = (255, 212, 0), (0, 0, 0)
# Lesions of different sizes for the style of an annotator.
STYLE_SEEDS = (37, 24, 41, 9, 14)

Picture = NDArray[np.uint8]
Tile = tuple[str, Image.Image]


def outlined(image: Picture, given: Picture, corrupted: Picture | None = None) -> Image.Image:
    """The image with the border of the corrupted mask as a wide yellow line, and of the given one as a thin blue."""
    picture = np.asarray(Image.fromarray(image).resize((SIZE * SCALE, SIZE * SCALE), Image.Resampling.BICUBIC)).copy()
    yellow = np.zeros(picture.shape[:2], bool)
    if corrupted is not None and corrupted.any():
        away = border_distance(corrupted)
        yellow = away <= 3.5
        picture[away <= 4.5] = BLACK
        picture[yellow] = YELLOW
    away = border_distance(given)
    picture[(away <= 3) & ~yellow] = WHITE
    picture[away <= 2] = BLUE
    return Image.fromarray(picture)


def border_distance(mask: Picture) -> NDArray[np.float64]:
    """Distance of each pixel of the scaled image to the mask's smoothed border."""
    smooth = ndimage.gaussian_filter(mask.astype(float), 0.7)
    region = ndimage.zoom(smooth, SCALE, order=1, mode="nearest", grid_mode=True) > 0.5
    distance: NDArray[np.float64] = ndimage.distance_transform_edt(region) + ndimage.distance_transform_edt(~region)
    return distance


def sheet(sections: list[tuple[str, list[Tile]]]) -> Image.Image:
    """Tiles with a title each, in rows, under the heading of their section."""
    tile, line, heading = SIZE * SCALE, 34, 46
    height = sum(heading + -(-len(tiles) // COLUMNS) * (tile + line + GAP) for _, tiles in sections)
    picture = Image.new("RGB", (COLUMNS * (tile + GAP) - GAP, height), "white")
    draw = ImageDraw.Draw(picture)
    top = 0
    for title, tiles in sections:
        draw.text((0, top + 8), title, fill="black", font_size=26)
        top += heading
        for i, (name, image) in enumerate(tiles):
            x, y = i % COLUMNS * (tile + GAP), top + i // COLUMNS * (tile + line + GAP)
            draw.text((x, y + 4), name, fill="black", font_size=22)
            picture.paste(image, (x, y + line))
        top += -(-len(tiles) // COLUMNS) * (tile + line + GAP)
    return picture


def noise_kinds() -> None:
    """One lesion and its mask, corrupted by every kind; and five lesions that one annotator draws too wide."""
    image, mask = lesion_image(SIZE, np.random.default_rng(90))
    _, donor = lesion_image(SIZE, np.random.default_rng(5))
    kinds = [("as given", outlined(image, mask))]
    for number, kind in enumerate(KINDS):
        new = corrupt(mask, kind, np.random.default_rng(number), donor=donor)
        note = f"Dice {dice(new, mask):.2f}" if new.any() else "nothing drawn"
        kinds.append((f"{kind}, {note}", outlined(image, mask, new)))

    samples = {f"s{place}": lesion_image(SIZE, np.random.default_rng(seed)) for place, seed in enumerate(STYLE_SEEDS)}
    masks = {name: sample[1] for name, sample in samples.items()}
    everyone = dict.fromkeys(masks, "a0")
    drawn = corrupt_by_annotator(masks, 1.0, everyone, "dilate", np.random.default_rng(1))
    style = [
        (f"style:dilate, Dice {truth.dice:.2f}", outlined(samples[truth.id][0], masks[truth.id], new))
        for new, truth in drawn
    ]
    sections = [
        ("Kinds of noise. Blue: the mask as given. Yellow: the corrupted mask. Both where they agree.", kinds),
        ("Style of an annotator: every mask of one person is wider by the same share of the lesion's radius.", style),
    ]
    drawing = sheet(sections)
    drawing.quantize(256, dither=Image.Dither.NONE).save(OUT / "noise_kinds.png", optimize=True)


def synthetic_lesions() -> None:
    """A sheet of synthetic images."""
    rows = []
    streams = iter(np.random.default_rng(0).spawn(18))
    for _ in range(2):
        rows.append(np.hstack([lesion_image(96, next(streams))[0] for _ in range(9)]))
    Image.fromarray(np.vstack(rows)).save(OUT / "synthetic.jpg", quality=88)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    noise_kinds()
    synthetic_lesions()
