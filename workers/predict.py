"""Masks from a trained model: `python -m workers.predict --model DIR --images DIR --out DIR [--masks DIR]`.

Of a model of images the folders hold images, and the masks become PNG; of a model of volumes all are NIfTI. Prints one
JSON object; with `--masks` it holds the Dice with each mask of equal name, over all foreground classes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from workers.data import Statistics, to_masks, to_network
from workers.images import decode_image, decode_mask, encode_mask
from workers.network import build_network, single_output
from workers.nifti import decode_labels, decode_volume, encode_labels, open_volume
from workers.scores import dice
from workers.sliding import predict_volume


def load_model(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network with its weights, and the description in `model.json`."""
    description = json.loads((folder / "model.json").read_text())
    network = build_network(description["network"]["name"], description["network"]["arguments"])
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return single_output(description["network"]["name"], network).eval(), description


def predict(network: nn.Module, description: dict[str, Any], image: Path) -> NDArray[np.uint8]:
    """Class indices (size, size) of one image."""
    pixels = decode_image(image, description["image_size"])
    statistics = Statistics(
        torch.tensor(description["mean"]), torch.tensor(description["std"]), torch.ones(description["classes"])
    )
    with torch.no_grad():
        batch = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
        masks = to_masks(network(to_network(batch, statistics)))
    first: NDArray[np.uint8] = masks[0]
    return first


def predict_nifti(network: nn.Module, description: dict[str, Any], path: Path) -> bytes:
    """The mask of a volume as .nii.gz, its values those of the dataset's masks, in the volume's own shape and place.

    Args:
        network: of a model of volumes.
        description: its `model.json`.
        path: of a .nii or .nii.gz file.
    """
    source = open_volume(path)
    classes = predict_volume(network, torch.from_numpy(decode_volume(source)), description["patch_size"])
    values = np.array(description["mask_values"])
    return encode_labels(values.astype(np.min_scalar_type(values.max()))[classes.numpy()], source)


def _predict_png(network: nn.Module, description: dict[str, Any], path: Path) -> bytes:
    with Image.open(path) as image:
        width, height = image.size
    values = np.array(description["mask_values"], dtype=np.uint8)
    return encode_mask(values[predict(network, description, path)], width, height)


def _labels(path: Path, mask_values: list[int], volume: bool) -> NDArray[np.uint8]:
    return decode_labels(open_volume(path), mask_values) if volume else decode_mask(path, None, mask_values)


def _name(path: Path) -> str:
    """The file's name without its ending, `.nii.gz` being one."""
    return path.name.removesuffix(".gz").removesuffix(".nii") if ".nii" in path.suffixes else path.stem


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
    for path in sorted(options.images.iterdir()):
        name = _name(path)
        target = options.out / f"{name}.{'nii.gz' if volumes else 'png'}"
        target.write_bytes((predict_nifti if volumes else _predict_png)(network, description, path))
        if name in truths:
            own, truth = (_labels(file, description["mask_values"], volumes) for file in (target, truths[name]))
            scores[name] = dice(own, truth, description["classes"])
    mean = sum(scores.values()) / len(scores) if scores else None
    sys.stdout.write(json.dumps({"mean_dice": mean, "dice": scores}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
