"""Draw the pictures of the documentation from synthetic data: `python docs/pictures.py`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from dale.noise import KINDS, corrupt, dice
from dale.synthetic import lesion_image

OUT = Path(__file__).parent / "pictures"
SIZE = 168
TITLE = 18
COLOURS = {"given": (60, 220, 90), "corrupted": (255, 190, 20)}


def outlined(image: NDArray[np.uint8], masks: dict[str, NDArray[np.uint8]]) -> Image.Image:
    """The image with the border of each mask drawn over it."""
    picture = image.copy()
    for name, mask in masks.items():
        picture[(mask > 0) & ~ndimage.binary_erosion(mask > 0, iterations=1)] = COLOURS[name]
    return Image.fromarray(picture)


def noise_kinds() -> None:
    """One lesion and its mask, corrupted by every kind: green as given, yellow as corrupted."""
    image, mask = lesion_image(SIZE, np.random.default_rng(90))
    _, donor = lesion_image(SIZE, np.random.default_rng(5))
    tiles = [("as given", outlined(image, {"given": mask}))]
    for number, kind in enumerate(KINDS):
        new = corrupt(mask, kind, np.random.default_rng(number), donor=donor)
        title = f"{kind}, Dice {dice(new, mask):.2f}"
        tiles.append((title, outlined(image, {"given": mask, "corrupted": new})))
    columns = 5
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (SIZE + 4), rows * (SIZE + TITLE + 4)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (title, tile) in enumerate(tiles):
        x, y = i % columns * (SIZE + 4), i // columns * (SIZE + TITLE + 4)
        draw.text((x + 2, y + 2), title, fill="black", font_size=12)
        sheet.paste(tile, (x, y + TITLE))
    sheet.save(OUT / "noise_kinds.png", optimize=True)


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
