"""Masks from a trained model: `python -m workers.predict --model DIR --images DIR --out DIR [--masks DIR]`.

Of a model of images the folders hold images, and the masks become PNG; of a model of volumes all are NIfTI. Where each
channel is a file of its own, they are called as nnU-Net has it: `case_0000.nii.gz`, `case_0001.nii.gz`, …. Prints one
JSON object; with `--masks` it holds the Dice with each mask of equal name, over all foreground classes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from workers.data import Statistics, to_masks, to_network
from workers.images import decode_channels, decode_mask, encode_mask
from workers.metrics import dice
from workers.network import build_network, single_output
from workers.nifti import decode_channels as decode_volumes
from workers.nifti import decode_labels, encode_labels, open_volume
from workers.sliding import predict_volume


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network with its weights, and the description in `model.json`."""
    description = json.loads((folder / "model.json").read_text())
    network = build_network(description["network"]["name"], description["network"]["arguments"])
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return single_output(description["network"]["name"], network).eval(), description


def predict(network: nn.Module, description: dict[str, Any], image: Sequence[Path]) -> NDArray[np.uint8]:
    """Class indices (size, size) of one image, whose files are given in the order of its channels."""
    pixels = decode_channels(image, description["image_size"])
    statistics = Statistics(
        torch.tensor(description["mean"]), torch.tensor(description["std"]), torch.ones(description["classes"])
    )
    with torch.no_grad():
        batch = torch.from_numpy(pixels.copy())[None]
        masks = to_masks(network(to_network(batch, statistics)))
    first: NDArray[np.uint8] = masks[0]
    return first


def predict_nifti(network: nn.Module, description: dict[str, Any], paths: Sequence[Path]) -> bytes:
    """The mask of a volume as .nii.gz, its values those of the dataset's masks, in the volume's own shape and place.

    Args:
        network: of a model of volumes.
        description: its `model.json`.
        paths: of .nii or .nii.gz files, one for each channel.
    """
    sources = [open_volume(path) for path in paths]
    classes = predict_volume(network, torch.from_numpy(decode_volumes(sources)), description["patch_size"])
    values = np.array(description["mask_values"])
    return encode_labels(values.astype(np.min_scalar_type(values.max()))[classes.numpy()], sources[0])


def _predict_png(network: nn.Module, description: dict[str, Any], paths: Sequence[Path]) -> bytes:
    with Image.open(paths[0]) as image:
        width, height = image.size
    values = np.array(description["mask_values"], dtype=np.uint8)
    return encode_mask(values[predict(network, description, paths)], width, height)


def _labels(path: Path, mask_values: list[int], volume: bool) -> NDArray[np.uint8]:
    return decode_labels(open_volume(path), mask_values) if volume else decode_mask(path, None, mask_values)


def _name(path: Path) -> str:
    """The file's name without its ending, `.nii.gz` being one."""
    return path.name.removesuffix(".gz").removesuffix(".nii") if ".nii" in path.suffixes else path.stem


def cases(paths: Iterable[Path], files: int) -> dict[str, list[Path]]:
    """The files of each case, in the order of its channels, by its name.

    Args:
        paths: all files.
        files: how many a case has; one file has the name of its case, several `<case>_0000`, `<case>_0001`, ….

    Raises:
        ValueError: a case has others; says which.
    """
    if files == 1:
        return {_name(path): [path] for path in sorted(paths)}
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        found.setdefault(_name(path)[:-5], []).append(path)
    wanted = [f"_{number:04}" for number in range(files)]
    for name, some in found.items():
        if [_name(path)[-5:] for path in some] != wanted:
            has = ", ".join(path.name for path in some)
            raise ValueError(
                f"{name or 'a case'} has the files {has}; the model needs {name}{wanted[0]} to {wanted[-1]}"
            )
    return found


def main(argv: list[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Masks from a trained model.")
    parser.add_argument("--model", type=Path, required=True, help="folder of model.json and model.safetensors")
    parser.add_argument("--images", type=Path, required=True, help="folder of images or volumes")
    parser.add_argument("--out", type=Path, required=True, help="folder for the masks, in the images' own size")
    parser.add_argument("--masks", type=Path, help="folder of true masks with equal names, to compare with")
    options = parser.parse_args(argv)
    network, description = load_model(options.model)
    options.out.mkdir(parents=True, exist_ok=True)
    volumes = description.get("spatial_dims", 2) == 3
    truths = {_name(path): path for path in options.masks.iterdir()} if options.masks else {}
    scores: dict[str, float] = {}
    try:
        found = cases(options.images.iterdir(), description.get("files", 1))
    except ValueError as error:
        parser.error(str(error))
    for name, paths in found.items():
        target = options.out / f"{name}.{'nii.gz' if volumes else 'png'}"
        target.write_bytes((predict_nifti if volumes else _predict_png)(network, description, paths))
        if name in truths:
            own, truth = (_labels(file, description["mask_values"], volumes) for file in (target, truths[name]))
            scores[name] = dice(own, truth, description["classes"])
    mean = sum(scores.values()) / len(scores) if scores else None
    sys.stdout.write(json.dumps({"mean_dice": mean, "dice": scores}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
