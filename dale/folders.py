"""Folders of `images/` and `masks/`: read them, and write them with noise and the truth about it beside them.

```
OUT/images/NAME.*     OUT/masks/NAME.png      the training samples, some labels corrupted
OUT/truth.csv                                 id, kind, dice: what was done to each label (`clean`: nothing);
                                              with styles of annotators also who drew it
OUT/heldout/images    OUT/heldout/masks       samples that no one trains on, with clean labels
```
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from dale.annotators import assign_annotators, corrupt_by_annotator
from dale.noise import KINDS, Mask, Truth, corruptions, parse_kinds

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# A label mask has few values; more than this is a photograph or a heat map.
MOST_VALUES = 64
# Faults shown at once before the list is cut.
SHOWN = 10


class BadFolder(ValueError):
    """A folder that is not a dataset; the message says which files, and what to do."""


def _faults(what: str, names: Sequence[str], hint: str) -> BadFolder:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return BadFolder(f"{what}: {', '.join(names[:SHOWN])}{more}. {hint}")


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise BadFolder(f"{folder} is missing: a dataset folder holds images/ and masks/, paired by name.")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    found = {path.stem: path for path in files}
    if len(found) < len(files):
        twice = sorted({path.stem for path in files if found[path.stem] != path})
        raise _faults(f"more than one file of one name in {folder}", twice, "Keep one of each.")
    return found


def pair_files(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Image and mask of each sample, by the name they share without its ending, in the order of names.

    Raises:
        BadFolder: a missing folder, no samples, or a file without its partner.
    """
    images, masks = _by_stem(folder / "images"), _by_stem(folder / "masks")
    if not images:
        raise BadFolder(f"{folder / 'images'} holds no images ({', '.join(IMAGE_SUFFIXES)}).")
    lonely = [images[name].name for name in images.keys() - masks.keys()]
    lonely += [f"masks/{masks[name].name}" for name in masks.keys() - images.keys()]
    if lonely:
        raise _faults("no partner of the same name", sorted(lonely), "Each image needs a mask, each mask an image.")
    return {name: (images[name], masks[name]) for name in sorted(images)}


def read_values(path: Path) -> Mask:
    """The pixel values of a mask file, (H, W). A lossy file (JPEG) is cut at half brightness to 0 and 255.

    Raises:
        BadFolder: not an image, or a colour image.
    """
    try:
        with Image.open(path) as image:
            lossy = image.format == "JPEG"
            values = np.asarray(image)
    except (OSError, Image.DecompressionBombError) as error:
        raise BadFolder(f"{path} cannot be read as an image: {error}. Replace or remove it.") from error
    if values.ndim == 3:
        colours = values[..., : 3 if values.shape[2] >= 3 else 1]
        if (colours != colours[..., :1]).any():
            raise BadFolder(f"{path} is a colour image; a mask holds one class per pixel. Save it as grey.")
        values = colours[..., 0]
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    return np.where(values >= 128, 255, 0).astype(np.uint8) if lossy else values


class FolderMasks(Mapping[str, Mask]):
    """The masks of a folder as class indices, read when asked for: memory holds one at a time.

    Pixel values become indices by their order over the whole folder ({0, 255} -> {0, 1});
    `pixel_values` turns them back.
    """

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.paths = dict(paths)
        found: set[int] = {0}
        for path in self.paths.values():
            found.update(np.unique(read_values(path)).tolist())
            if len(found) > MOST_VALUES:
                raise BadFolder(f"{path} brings the masks to over {MOST_VALUES} values; is it a label mask?")
        self.pixel_values = np.array(sorted(found))

    def __getitem__(self, name: str) -> Mask:
        indices: Mask = np.searchsorted(self.pixel_values, read_values(self.paths[name])).astype(np.uint8)
        return indices

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def write_values(path: Path, values: Mask) -> None:
    """Write pixel values as a grey PNG, 8 bits where they fit."""
    Image.fromarray(values.astype(np.uint8 if values.max(initial=0) < 256 else np.uint16)).save(path)


def write_truth(path: Path, records: Iterable[Truth]) -> None:
    """Write truth.csv, sorted by id; with a column `annotator` where one is known."""
    ordered = sorted(records, key=lambda record: record.id)
    columns = 4 if any(record.annotator for record in ordered) else 3
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "kind", "dice", "annotator"][:columns])
        writer.writerows([r.id, r.kind, f"{r.dice:.6f}", r.annotator][:columns] for r in ordered)


def read_truth(path: Path) -> list[Truth]:
    """Read truth.csv, with or without the column `annotator`.

    Raises:
        BadFolder: columns are missing.
    """
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        missing = {"id", "kind", "dice"} - set(rows.fieldnames or [])
        if missing:
            raise BadFolder(f"{path} lacks the columns {', '.join(sorted(missing))}.")
        return [Truth(row["id"], row["kind"], float(row["dice"]), row.get("annotator") or "") for row in rows]


def write_noisy_copy(
    data: Path,
    out: Path,
    *,
    ratio: float,
    kinds: Sequence[str],
    seed: int,
    limit: int | None = None,
    hold_out: int = 0,
    annotators: int | None = None,
) -> list[Truth]:
    """Copy a dataset folder with a share of its labels corrupted; either the whole of it appears or nothing.

    Args:
        data: folder with `images/` and `masks/`.
        out: folder to make; it must not exist, or be empty.
        ratio: share of the training labels to corrupt.
        kinds: kinds of noise, see `dale.noise.KINDS`.
        seed: the same seed makes the same folder.
        limit: at most this many training samples, drawn at random; held-out ones come on top.
        hold_out: so many samples, drawn at random, go to `heldout/` with clean labels.
        annotators: give whole ones of so many annotators a style, the one kind in `kinds`; see `dale.annotators`.

    Raises:
        BadFolder: `data` is no dataset, `out` is not empty, or there are too few samples.
        ImpossibleCorruption: too few labels can be corrupted by these kinds.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadFolder(f"{out} exists and is not empty; choose another --out or remove it.")
    files = pair_files(data)
    if hold_out >= len(files):
        raise BadFolder(f"--hold-out {hold_out} leaves nothing to train on: {data} has {len(files)} samples.")
    rng = np.random.default_rng(seed)
    order = rng.permutation(sorted(files)).tolist()
    held, names = order[:hold_out], order[hold_out:][:limit]

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as scratch:
        made = Path(scratch) / "made"
        for folder in (made, *([made / "heldout"] if hold_out else [])):
            (folder / "images").mkdir(parents=True)
            (folder / "masks").mkdir()
        masks = FolderMasks({name: files[name][1] for name in names})
        truth = []
        if annotators is None:
            corrupted = corruptions(masks, ratio, kinds, rng)
        else:
            hands = assign_annotators(names, annotators, rng)
            corrupted = corrupt_by_annotator(masks, ratio, hands, ",".join(kinds), rng)
        for mask, record in corrupted:
            write_values(made / "masks" / f"{record.id}.png", masks.pixel_values[mask])
            image = files[record.id][0]
            shutil.copyfile(image, made / "images" / image.name)
            truth.append(record)
        for name in held:
            image, mask_path = files[name]
            shutil.copyfile(image, made / "heldout/images" / image.name)
            write_values(made / "heldout/masks" / f"{name}.png", read_values(mask_path))
        write_truth(made / "truth.csv", truth)
        made.replace(out)
    return truth


def add_noise_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every command which writes a noisy folder shares."""
    kinds = f"mixed (all of them), or kinds with commas between: {', '.join(KINDS)}"
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--noise", default="mixed", metavar="KINDS", help=f"{kinds} (default: mixed)")
    parser.add_argument("--ratio", type=float, default=0.25, help="share of labels to corrupt (default: 0.25)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same folder (default: 0)")
    parser.add_argument("--hold-out", type=int, default=0, metavar="N", help="clean samples for OUT/heldout")


def summary(truth: Sequence[Truth]) -> str:
    """One line for people: how many labels were corrupted, by which kinds."""
    kinds = [record.kind for record in truth]
    counts = ", ".join(f"{kind} {kinds.count(kind)}" for kind in KINDS if kind in kinds)
    return f"{len(truth)} samples, {sum(kind in KINDS for kind in kinds)} labels corrupted ({counts or 'none'})"


def noise_command(arguments: Sequence[str] | None = None) -> None:
    """`python -m dale.noise`."""
    parser = argparse.ArgumentParser(
        prog="python -m dale.noise", description="Copy a dataset folder with some of its labels corrupted."
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and masks/")
    add_noise_arguments(parser)
    parser.add_argument("--annotators", type=int, metavar="N", help="with --noise style:KIND: N people drew the labels")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N training samples, plus held-out ones")
    options = parser.parse_args(arguments)
    style = options.noise.removeprefix("style:")
    if (style != options.noise) != (options.annotators is not None):
        parser.error("--noise style:KIND and --annotators N need each other")
    try:
        truth = write_noisy_copy(
            options.data,
            options.out,
            ratio=options.ratio,
            kinds=parse_kinds(style),
            seed=options.seed,
            limit=options.limit,
            hold_out=options.hold_out,
            annotators=options.annotators,
        )
    except ValueError as error:
        parser.error(str(error))
    sys.stdout.write(f"{options.out}: {summary(truth)}\n")
