"""Draw the pictures of `method-in-pictures.md`: `python docs/method_pictures.py`. One small training, some two minutes.

Everything shown is computed by the library itself, on synthetic lesions whose masks were spoilt on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import torch
from monai.networks.nets import UNet
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

import dale
from dale.alignment import MaximumMeanDiscrepancy
from dale.noise import KINDS, corrupt
from dale.stability import half_resolution
from dale.synthetic import lesion_image
from docs.pictures import border_distance, outlined
from tests.benchmarks.robustness.plots import canvas, save, tag, ticks, write_text

OUT = Path(__file__).parent / "pictures" / "method"
SAMPLES, SIZE, EPOCHS, RATIO, SEED = 96, 64, 50, 0.25, 3
TILE, GAP, LINE = 168 * 2, 12, 40
RIGHT, WRONG, GREY = "#0072b2", "#d55e00", "#777777"
# Left, right, top and bottom of the inside of a plot, and its size in all.
LEFT, WIDTH, TOP, HEIGHT = 60, 560, 20, 240
Picture = NDArray[np.uint8]


@dataclass
class Run:
    """A training, and what came of it."""

    pictures: list[Picture]  # (S, S, 3)
    truth: list[Picture]  # (S, S), masks before they were spoilt
    masks: list[Picture]  # as given
    kinds: list[str]  # what was done to each; empty: nothing
    images: Tensor  # (N, 3, S, S), normalised
    method: dale.Dale
    history: NDArray[np.float64]  # (epochs, N), confidences

    def wrong(self) -> list[int]:
        """Numbers of the spoilt ones."""
        return [number for number, kind in enumerate(self.kinds) if kind]


def train() -> Run:
    """Train on lesions of which a share is spoilt."""
    pictures, truth, masks, kinds = [], [], [], []
    for number, rng in enumerate(np.random.default_rng(SEED).spawn(SAMPLES)):
        picture, mask = lesion_image(SIZE, rng)
        kind = KINDS[number % len(KINDS)] if rng.random() < RATIO and mask.any() else ""
        given = corrupt(mask, kind, rng, donor=truth[-1] if truth else mask) if kind else mask
        pictures.append(picture)
        truth.append(mask)
        masks.append(given)
        kinds.append(kind)
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    images = (pixels - pixels.mean((0, 2, 3), keepdim=True)) / pixels.std((0, 2, 3), keepdim=True)
    labels = one_hot(np.stack(masks))
    torch.manual_seed(SEED)
    network = UNet(spatial_dims=2, in_channels=3, out_channels=2, channels=(16, 32, 64), strides=(2, 2))
    method = dale.Dale(network, samples=SAMPLES, epochs=EPOCHS, prior=labels.mean((0, 2, 3)), seed=SEED)
    optimizer = torch.optim.AdamW(method.parameters(), lr=2e-3)
    history = []
    for _ in range(EPOCHS):
        for index in torch.randperm(SAMPLES).split(8):
            optimizer.zero_grad()
            method.loss(images[index], labels[index], index).backward()
            optimizer.step()
            method.after_step()
        method.end_epoch()
        history.append(method.confidence.numpy().copy())
    return Run(pictures, truth, masks, kinds, images, method, np.stack(history).astype(float))


def one_hot(masks: Picture) -> Tensor:
    """(N, S, S) of 0 and 1 as (N, 2, S, S)."""
    return torch.nn.functional.one_hot(torch.from_numpy(masks).long(), 2).permute(0, 3, 1, 2).float()


@torch.no_grad()
def predict(run: Run, number: int) -> Tensor:
    """The teacher's probabilities, (1, 2, S, S)."""
    probabilities: Tensor = run.method.teacher(run.images[number : number + 1]).softmax(1)
    return probabilities


def row(tiles: list[tuple[str, Image.Image]], name: str) -> None:
    """Pictures with a title each, side by side, as a PNG on white."""
    sheet = Image.new("RGB", (len(tiles) * (TILE + GAP) - GAP, TILE + LINE), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (title, tile) in enumerate(tiles):
        draw.text((place * (TILE + GAP) + 2, 6), title, fill="black", font_size=22)
        sheet.paste(tile.resize((TILE, TILE), Image.Resampling.BICUBIC), (place * (TILE + GAP), LINE))
    sheet.quantize(128, dither=Image.Dither.NONE).save(OUT / f"{name}.png", optimize=True)


def large(values: NDArray[np.generic], *, smooth: bool = False) -> NDArray[np.generic]:
    """A mask or image at the size at which outlines are drawn."""
    image = Image.fromarray(values)
    return np.asarray(image.resize((168, 168), Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST))


def drawn(picture: Picture, given: Picture, other: Picture | None = None) -> Image.Image:
    """The image with one mask outlined in blue, another in yellow."""
    return outlined(large(picture, smooth=True), large(given), None if other is None else large(other))


def grey(values: NDArray[np.float64]) -> Image.Image:
    """Values of [0, 1], black to white."""
    return Image.fromarray((values * 255).round().astype(np.uint8)).convert("RGB")


def heat(picture: Picture, doubts: NDArray[np.float64], given: Picture) -> Image.Image:
    """Doubts laid over the grey image, in orange, and the label outlined."""
    size = (TILE, TILE)
    base = np.asarray(Image.fromarray(picture).convert("L").convert("RGB").resize(size, Image.Resampling.BICUBIC))
    over = np.asarray(Image.fromarray(doubts.astype(np.float32)).resize(size, Image.Resampling.BILINEAR))[..., None]
    mixed = base * (1 - 0.85 * over) + 0.85 * over * np.array([255, 120, 0])
    mixed[border_distance(large(given)) <= 2] = (0, 90, 181)
    return Image.fromarray(mixed.clip(0, 255).astype(np.uint8))


def fuzzy_labels() -> None:
    """One lesion, drawn right and in four ways that fuzzy labels are."""
    picture, mask = lesion_image(168, np.random.default_rng(90))
    tiles = [("as it is", outlined(picture, mask))]
    for kind, title in (
        ("dilate", "too wide"),
        ("erode", "too narrow"),
        ("displace", "beside it"),
        ("polygon", "in a few clicks"),
    ):
        tiles.append((title, outlined(picture, mask, corrupt(mask, kind, np.random.default_rng(4)))))
    row(tiles, "fuzzy-labels")


def plot(x: str, y: str, highest: float) -> ET.Element:
    """An empty plot; y goes from 0 to `highest`."""
    svg = canvas(LEFT + WIDTH + 20, TOP + HEIGHT + 50)
    for value in ticks(0, highest):
        height = TOP + HEIGHT * (1 - value / highest)
        tag(svg, "line", x1=LEFT, x2=LEFT + WIDTH, y1=height, y2=height, stroke="#dddddd")
        write_text(svg, LEFT - 8, height, f"{value:g}", anchor="end")
    write_text(svg, LEFT + WIDTH / 2, TOP + HEIGHT + 38, x, anchor="middle")
    tag(svg, "text", y, transform=f"translate(16 {TOP + HEIGHT / 2:g}) rotate(-90)", text_anchor="middle")
    return svg


def legend(svg: ET.Element, x: float, y: float, entries: list[tuple[str, str]]) -> None:
    """Colours and what they mean, on white."""
    tag(svg, "rect", x=x - 6, y=y - 12, width=190, height=20 * len(entries) + 4, fill="#ffffff", fill_opacity=0.85)
    for place, (colour, text) in enumerate(entries):
        tag(svg, "rect", x=x, y=y + 20 * place - 5, width=14, height=10, fill=colour)
        write_text(svg, x + 22, y + 20 * place, text)


def confidences(run: Run) -> None:
    """The confidence of each label over the epochs."""
    svg = plot("epoch", "confidence", 1)
    begins = run.method.config.start * EPOCHS
    at = LEFT + WIDTH * begins / EPOCHS
    tag(svg, "line", x1=at, x2=at, y1=TOP, y2=TOP + HEIGHT, stroke=GREY, stroke_dasharray="4 4")
    write_text(svg, at - 6, TOP + HEIGHT - 12, "the confidences begin to act", anchor="end", colour=GREY)
    for epoch in range(0, EPOCHS + 1, 10):
        write_text(svg, LEFT + WIDTH * epoch / EPOCHS, TOP + HEIGHT + 14, str(epoch), anchor="middle")
    for number in sorted(range(SAMPLES), key=lambda number: bool(run.kinds[number])):
        points = " ".join(
            f"{LEFT + WIDTH * (epoch + 1) / EPOCHS:.1f},{TOP + HEIGHT * (1 - value):.1f}"
            for epoch, value in enumerate(run.history[:, number])
        )
        colour = WRONG if run.kinds[number] else RIGHT
        tag(svg, "polyline", points=points, fill="none", stroke=colour, stroke_opacity=0.55, stroke_width=1.2)
    legend(svg, LEFT + 14, TOP + 120, [(RIGHT, "masks as they are"), (WRONG, "masks that were spoilt")])
    save(svg, OUT / "confidences.svg")


def partition(run: Run) -> None:
    """How many labels are doubted how much, and where the threshold is."""
    doubts = run.method.state.doubts.numpy()
    found = dale.split(run.method.state.histogram())
    edges = np.linspace(0, 1, 26)
    spoilt = np.array([bool(kind) for kind in run.kinds])
    right, wrong = (np.histogram(doubts[chosen], edges)[0] for chosen in (~spoilt, spoilt))
    highest = float((right + wrong).max() * 1.05)
    svg = plot("doubt about the label", "labels", highest)
    for place, (some, others) in enumerate(zip(right, wrong, strict=True)):
        low = TOP + HEIGHT
        for count, colour in ((some, RIGHT), (others, WRONG)):
            tall = HEIGHT * count / highest
            low -= tall
            tag(svg, "rect", x=LEFT + WIDTH * edges[place] + 1, y=low, width=WIDTH / 25 - 2, height=tall, fill=colour)
    for value in ticks(0, 1):
        write_text(svg, LEFT + WIDTH * value, TOP + HEIGHT + 14, f"{value:g}", anchor="middle")
    at = LEFT + WIDTH * found.threshold
    tag(svg, "line", x1=at, x2=at, y1=TOP, y2=TOP + HEIGHT, stroke="#222222", stroke_dasharray="4 4")
    write_text(svg, at + 6, TOP + 10, f"threshold {found.threshold:.2f}: believed on its left, doubted on its right")
    legend(svg, LEFT + WIDTH - 190, TOP + 50, [(RIGHT, "masks as they are"), (WRONG, "masks that were spoilt")])
    save(svg, OUT / "partition.svg")


def chosen(run: Run) -> int:
    """The spoilt label that shows most: doubted much, and neither label nor prediction empty."""
    shown = [number for number in run.wrong() if run.masks[number].any() and run.truth[number].sum() > 250]
    return min(shown, key=lambda number: float(run.method.confidence[number]))


def doubt_maps(run: Run, number: int) -> None:
    """Label, what the teacher sees, and which pixels of the label are doubted."""
    probabilities, label = predict(run, number), one_hot(run.masks[number][None])
    doubts = dale.doubt_map(probabilities, label)[0].numpy().reshape(SIZE, SIZE)
    row(
        [
            ("the label", drawn(run.pictures[number], run.masks[number])),
            ("what the teacher sees", grey(probabilities[0, 1].numpy())),
            ("how far each pixel is doubted", heat(run.pictures[number], doubts, run.masks[number])),
        ],
        "doubt-map",
    )


def refinement(run: Run, number: int) -> None:
    """What a doubted sample teaches instead of its label."""
    probabilities, label = predict(run, number), one_hot(run.masks[number][None])
    belief = run.method.confidence[number : number + 1]
    row(
        [
            ("the label", grey(label[0, 1].numpy())),
            ("what the teacher sees", grey(probabilities[0, 1].numpy())),
            (f"target by sample, belief {float(belief):.2f}", grey(target(label, probabilities, belief, "sample"))),
            ("target by pixel", grey(target(label, probabilities, belief, "pixel"))),
        ],
        "refinement",
    )


def target(label: Tensor, probabilities: Tensor, belief: Tensor, kind: str) -> NDArray[np.float64]:
    """The foreground of the mixed target, (S, S)."""
    mixed: NDArray[np.float64] = dale.refine(label, probabilities, belief, kind)[0, 1].numpy().astype(float)
    return mixed


def scales(run: Run, number: int) -> None:
    """The prediction at full and at half resolution, and where they disagree."""
    full = predict(run, number)
    with torch.no_grad():
        half = run.method.teacher(half_resolution(run.images[number : number + 1])).softmax(1)
    apart = (half - half_resolution(full))[0, 1].abs().numpy().astype(float)
    row(
        [
            ("the image", drawn(run.pictures[number], run.truth[number])),
            ("seen at full resolution", grey(full[0, 1].numpy())),
            ("at half", grey(half[0, 1].numpy())),
            ("where they disagree", grey(apart.clip(0, 1))),
        ],
        "scales",
    )


def alignment() -> None:
    """Features of doubted pixels before and after they were drawn to those of believed ones, by the MMD."""
    rng = np.random.default_rng(0)
    clear = np.concatenate([rng.normal((-1, 0.6), 0.35, (128, 2)), rng.normal((0.3, 1.4), 0.35, (128, 2))])
    fuzzy = torch.tensor(rng.normal((1.5, -0.6), 0.45, (256, 2)), dtype=torch.float32, requires_grad=True)
    certain = torch.tensor(clear, dtype=torch.float32)
    measure = MaximumMeanDiscrepancy(2, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam([fuzzy], lr=0.05)
    states, values = [fuzzy.detach().numpy().copy()], []
    for _ in range(120):
        loss = measure(fuzzy[None], certain[None]).sum()
        values.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    states.append(fuzzy.detach().numpy())
    svg = canvas(660, 290)
    for place, (points, title) in enumerate(
        zip(states, (f"before: MMD² {values[0]:.2f}", f"after 120 steps: MMD² {values[-1]:.3f}"), strict=True)
    ):
        left = 10 + 325 * place
        tag(svg, "rect", x=left, y=30, width=310, height=230, fill="none", stroke="#bbbbbb")
        write_text(svg, left, 16, title)
        for shown, colour in ((clear, RIGHT), (points, WRONG)):
            for x, y in shown:
                tag(svg, "circle", cx=left + 155 + 52 * (x - 0.4), cy=145 - 52 * (y - 0.2), r=2, fill=colour)
    tag(svg, "rect", x=10, y=272, width=14, height=10, fill=RIGHT)
    write_text(svg, 30, 277, "features of believed pixels")
    tag(svg, "rect", x=220, y=272, width=14, height=10, fill=WRONG)
    write_text(svg, 240, 277, "features of doubted pixels of the same class")
    save(svg, OUT / "alignment.svg")


def main() -> None:
    """Draw them all."""
    OUT.mkdir(exist_ok=True)
    fuzzy_labels()
    alignment()
    run = train()
    confidences(run)
    partition(run)
    number = chosen(run)
    doubt_maps(run, number)
    refinement(run, number)
    scales(run, number)


if __name__ == "__main__":
    main()
