"""What `model.json` says besides the network: what is done to an image before it, and to its answer after it."""

from __future__ import annotations

from typing import Any

from workers.contract.inference import LEAST_WEIGHT, SIGMA, WINDOWS
from workers.sliding import OVERLAP


def conventions(description: dict[str, Any]) -> dict[str, Any]:
    """The entries `input`, `output`, `preprocessing`, `postprocessing`; of volumes `sliding_window` and `spacing` too.

    Args:
        description: `workers.description.describe_model`.
    """
    volume = description["spatial_dims"] == 3
    return (_of_volumes if volume else _of_images)(description)


def _of_images(description: dict[str, Any]) -> dict[str, Any]:
    size, channels, classes = description["image_size"], len(description["mean"]), description["classes"]
    one = description["files"] == 1
    return {
        "input": {"name": "image", "axes": "BCHW", "shape": ["batch", channels, size, size], "dtype": "float32"},
        "output": {"name": "logits", "axes": "BCHW", "shape": ["batch", classes, size, size], "dtype": "float32"},
        "preprocessing": [
            "an image of more than 8 bits is stretched linearly from its smallest and largest value to 0 and 255",
            "convert to RGB" if one else "convert each channel's file to RGB and take the first of the three",
            f"resize to {size} x {size} pixels: Pillow's BILINEAR with reducing_gap 2.0",
            "divide by 255, subtract `mean`, divide by `std`, channel by channel",
        ],
        "postprocessing": [
            "softmax over the classes",
            "resize each class's probabilities to the image's own size: Pillow's NEAREST",
            "the most probable class of each pixel; its value in the mask is that of `mask_values`",
        ],
    }


def _of_volumes(description: dict[str, Any]) -> dict[str, Any]:
    edge, channels, classes = description["patch_size"], len(description["mean"]), description["classes"]
    low, high = description["normalisation"]["percentiles"]
    cube = [edge, edge, edge]
    return {
        "input": {"name": "image", "axes": "BCDHW", "shape": ["batch", channels, *cube], "dtype": "float32"},
        "output": {"name": "logits", "axes": "BCDHW", "shape": ["batch", classes, *cube], "dtype": "float32"},
        "spacing": "voxels are not resampled, neither in training nor here: the answer is on the input's own grid, and "
        "best where its spacing is like that of the training volumes",
        "preprocessing": [
            "turn to RAS+ orientation; D runs upwards, H to the front, W to the patient's right",
            f"clip each channel at its percentiles {low} and {high} over the whole volume",
            "subtract the channel's mean over the volume and divide by its standard deviation; round to float16",
        ],
        "sliding_window": {
            "edge": edge,
            "overlap": OVERLAP,
            "weight": "Gaussian",
            "sigma": SIGMA,
            "least_weight": LEAST_WEIGHT,
            "padding": "0, as much before as behind",
            "windows_in_a_pass": WINDOWS,
        },
        "postprocessing": [
            "weighted mean of the logits over the windows, then softmax over the classes",
            "the most probable class of each voxel; its value in the mask is that of `mask_values`",
            "turn back to the orientation of the file, whose affine the mask has",
        ],
    }
