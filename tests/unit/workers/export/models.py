"""Trained networks (of random weights) as a run leaves them to the exporting process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from workers.contract.evaluation import LEVEL, METRICS, Evaluation, MetricSummary
from workers.contract.request import NetworkSpec
from workers.export.conventions import conventions
from workers.export.publish import made_with
from workers.export.workplace import Workplace
from workers.network import build_network, constructor_arguments

EVALUATION = Evaluation(
    samples=3,
    groups=2,
    level=LEVEL,
    resamples=2000,
    hd95_unit="px",
    metrics=[
        MetricSummary(
            metric=metric, label_class=1, samples=3, undefined=0, mean=0.75, median=0.75, std=0.125, low=0.5, high=1.0
        )
        for metric in METRICS
    ],
    calibration=[],
)
SMALL = {"channels": [4, 8, 16], "strides": [2, 2]}


def describe(
    network: str = "UNet",
    arguments: dict[str, Any] | None = None,
    *,
    volume: bool = False,
    files: int = 1,
    edge: int = 32,
    mask_values: tuple[int, ...] = (0, 255),
) -> dict[str, Any]:
    """`model.json`, as `workers.artifacts` and `workers.export.publish` write it."""
    channels = files if volume or files > 1 else 3
    spec = NetworkSpec(name=network, arguments=SMALL if arguments is None and network == "UNet" else arguments or {})
    built = constructor_arguments(
        spec, channels=channels, classes=len(mask_values), image_size=edge, spatial_dims=2 + volume
    )
    about: dict[str, Any] = {
        "network": {"name": network, "arguments": built},
        "spatial_dims": 2 + volume,
        "mean": [0.0] * channels if volume else [0.4, 0.5, 0.6, 0.3][:channels],
        "std": [1.0] * channels if volume else [0.2, 0.25, 0.3, 0.2][:channels],
        "channels": [f"channel-{n}" for n in range(channels)],
        "files": files,
        "classes": len(mask_values),
        "mask_values": list(mask_values),
        "job_id": "job-1",
        "test_dice": 0.75,
        "test_dice_std": 0.125,
        "test_samples": 3.0,
        "evaluation": EVALUATION.model_dump(mode="json"),
    }
    if volume:
        about |= {"patch_size": edge, "normalisation": {"percentiles": (0.5, 99.5)}}
    else:
        about |= {"image_size": edge}
    return about | conventions(about) | {"made_with": made_with()}


def leave(root: Path, about: dict[str, Any]) -> Workplace:
    """A workplace with a network of random weights, whose classes are about equally probable, and samples."""
    workplace = Workplace(root)
    torch.manual_seed(0)
    network = build_network(about["network"]["name"], about["network"]["arguments"])
    save_file({name: value.contiguous().clone() for name, value in network.state_dict().items()}, workplace.weights)
    workplace.description.write_text(json.dumps(about))
    for number in range(2 if about["spatial_dims"] == 3 else 3):
        for channel in range(about["files"]):
            path = workplace.case_file(number, channel, about["spatial_dims"] == 3)
            (write_volume if about["spatial_dims"] == 3 else write_image)(path, number, channel, about["files"] == 1)
    return workplace


def write_image(path: Path, number: int, channel: int, colour: bool) -> None:
    """Smooth noise; the second image is wide, large enough to be shrunk in two steps, the third has 16 bits."""
    random = np.random.default_rng([number, channel])
    height, width = ((45, 70), (180, 301), (33, 20))[number]
    small = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    if number == 2:
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 200 + 7)
    elif not colour:
        image = image.convert("L")
    image.save(path)


def write_volume(path: Path, number: int, channel: int, colour: bool) -> None:
    """Smooth noise, in orientations and spacings of their own; the second is smaller than a window on two axes."""
    from scipy.ndimage import gaussian_filter

    shape, axes = (((40, 30, 25), "LPS"), ((20, 45, 18), "PIR"))[number]
    values = gaussian_filter(np.random.default_rng([number, channel]).normal(100, 400, shape), 1.5)
    turn = nib.orientations.inv_ornt_aff(
        nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)),
        shape,
    )
    affine = np.diag([0.7, 1.1, 2.5, 1]) @ turn
    affine[:3, 3] += [12, -30, 7]
    nib.Nifti1Image(values.astype(np.int16), affine).to_filename(path)
