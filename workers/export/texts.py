"""The words that come with exported models."""

from __future__ import annotations

from typing import Any

CAUTION = (
    "It is for research. Nobody has examined it for use on patients, and it knows nothing of images unlike those that "
    "it was trained on."
)
LICENSE = """The code and the configuration in this folder: Apache License, Version 2.0,
https://www.apache.org/licenses/LICENSE-2.0

The weights in models/ were trained on the data of whoever posted the training job, and are subject to what holds for
those data.
"""


def task(about: dict[str, Any]) -> str:
    """What the model does, in a line."""
    what = "volumes (NIfTI)" if about["spatial_dims"] == 3 else "images"
    return f"Segmentation of lesions in {what}: {about['classes']} classes, the background included"


def _tried(about: dict[str, Any]) -> str:
    if "test_dice" not in about:
        return "No samples were held out in training: how well it does is not known."
    spread, count = about["test_dice_std"], about["test_samples"]
    return (
        f"On {count:.0f} held-out samples its mean Dice is {about['test_dice']:.3f} (± {spread:.3f} over the samples)."
    )


def _files(about: dict[str, Any]) -> list[str]:
    ending = "nii.gz" if about["spatial_dims"] == 3 else "png"
    if about["files"] == 1:
        return [f"case.{ending}"]
    return [f"case_{number:04}.{ending}" for number in range(about["files"])]


def onnx_readme(about: dict[str, Any]) -> str:
    """README.md of `onnx.zip`."""
    volume = about["spatial_dims"] == 3
    files, ending = " ".join(_files(about)), "nii.gz" if volume else "png"
    channels = ", ".join(about["channels"])
    return f"""# {task(about)}

{_tried(about)} {CAUTION}

    pip install numpy onnxruntime {"nibabel" if volume else "pillow"}
    python predict.py {files} --out mask.{ending}

The mask has the size{", orientation and place" if volume else ""} of the input, and the values {about["mask_values"]}, one
for each class. `--probabilities probabilities.npy` also writes what the network believes, (classes,
{"D, H, W), in RAS+ orientation" if volume else "H, W)"}. Channels: {channels}.

| file | what it is |
|---|---|
| `model.onnx` | the network: `image` {about["input"]["shape"]} to `logits` {about["output"]["shape"]}, float32 |
| `model.json` | what is done before it and after it, classes, training job, how far it agrees with the trained network |
| `predict.py` | all of that in NumPy; `from predict import load, predict` uses it from Python |
"""


def bundle_readme(about: dict[str, Any], folder: str) -> str:
    """docs/README.md of the MONAI bundle."""
    volume = about["spatial_dims"] == 3
    many = "" if about["files"] == 1 else f" A case's files are called {', '.join(_files(about))}."
    return f"""# {task(about)}

{_tried(about)} {CAUTION}

    pip install "monai[fire,ignite,{"nibabel" if volume else "pillow"}]{">="}{about["made_with"]["monai"]}"{" einops" * _transformer(about)}
    cd {folder}
    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --dataset_dir IMAGES --output_dir MASKS

IMAGES holds nothing but {"volumes" if volume else "images"}.{many} The masks have the inputs' own size, and the values
{about["mask_values"]}, one for each class.

MONAI Label: put this folder into `model/` of its app `monaibundle` and start it with `--conf models {folder}`.{"" if volume else " Ask for masks with `result_extension: .png` and `result_dtype: uint8`."}
"""


def _transformer(about: dict[str, Any]) -> bool:
    return about["network"]["name"] in {"UNETR", "SwinUNETR"}
