"""The two configurations of a MONAI bundle: what it is (`metadata.json`), and how it predicts (`inference.json`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from workers.export.texts import CAUTION, task

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
EXECUTED = ("$", "@", "%", "_")  # MONAI's parser takes text and names that begin so for code or for a reference
RAS = [["L", "R"], ["P", "A"], ["I", "S"]]  # from where to where the axes of NIfTI run
WITHOUT_CHANNELS = "(pred.meta.update(original_channel_dim='no_channel'), pred)[1]"
# Instead of saving, MONAI Label (0.8.5) writes what comes last, and takes the one channel of a plane for an axis.
MONAI_LABEL_WRITES = {"_target_": "SqueezeDimd", "keys": "pred", "dim": 0}
SEVERAL_OUTPUTS = {"BasicUNetPlusPlus", "SegResNetDS"}


def metadata(about: dict[str, Any]) -> dict[str, Any]:
    """`configs/metadata.json`, valid after MONAI's schema.

    Args:
        about: the model's `model.json`.
    """
    volume = about["spatial_dims"] == 3
    edge = about["patch_size"] if volume else about["image_size"]
    made_with, classes = about["made_with"], about["classes"]
    tensor = {
        "type": "image",
        "modality": "n/a",
        "spatial_shape": [edge] * about["spatial_dims"],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": volume,
    }
    names = ["background", "lesion"] if classes == 2 else ["background", *(f"class {n}" for n in range(1, classes))]
    packages = {"nibabel": made_with["nibabel"]} if volume else {"pillow": made_with["pillow"]}
    if about["network"]["name"] in {"SwinUNETR", "UNETR"}:
        packages["einops"] = made_with["einops"]
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"trained by job {about['job_id']}"},
        "monai_version": made_with["monai"],
        "pytorch_version": made_with["torch"],
        "numpy_version": made_with["numpy"],
        "required_packages_version": {"pytorch-ignite": made_with["pytorch-ignite"], **packages},
        "supported_apps": {"monai-label": ""},
        "name": "Lesion segmentation",
        "task": task(about),
        "description": f"{about['network']['name']}, trained by job {about['job_id']} on masks of uneven quality. "
        + CAUTION,
        "authors": "whoever posted the training job",
        "copyright": "The weights are subject to what holds for the data that they were trained on.",
        "data_type": "nibabel" if volume else "image",
        "intended_use": CAUTION,
        "eval_metrics": {"mean_dice": about["test_dice"]} if "test_dice" in about else {},
        "network_data_format": {
            "inputs": {
                "image": {
                    **tensor,
                    "format": "magnitude",
                    "num_channels": len(about["mean"]),
                    "channel_def": {str(n): f"channel {name}" for n, name in enumerate(about["channels"])},
                }
            },
            "outputs": {
                "pred": {
                    **tensor,
                    "format": "labels",
                    "num_channels": classes,
                    "channel_def": {str(n): name for n, name in enumerate(names)},
                }
            },
        },
    }


def inference_config(about: dict[str, Any]) -> dict[str, Any]:
    """`configs/inference.json`: run by `monai.bundle run`, read in parts by MONAI Label.

    Args:
        about: the model's `model.json`.

    Raises:
        ValueError: an argument of the network is text that MONAI's parser would execute.
    """
    _harmless(about["network"]["arguments"])
    before, after = (_of_volumes if about["spatial_dims"] == 3 else _of_images)(about)
    files, ending = about["files"], ".nii.gz" if about["spatial_dims"] == 3 else ".png"
    return {
        "imports": ["$import glob", "$import os", "$import torch", *_scripts(about)],
        "bundle_root": ".",
        "dataset_dir": "/workspace/data",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {"_target_": about["network"]["name"], **about["network"]["arguments"]},
        "network": "$@network_def.to(@device)",
        "files": "$sorted(glob.glob(os.path.join(@dataset_dir, '*')))",
        "datalist": "@files" if files == 1 else f"$list(map(list, zip(*[iter(@files)] * {files})))",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': files} for files in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        **_inferer(about),
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                *after,
                {
                    "_target_": "MapLabelValued",
                    "keys": "pred",
                    "orig_labels": list(range(about["classes"])),
                    "target_labels": about["mask_values"],
                },
                {
                    "_target_": "SaveImaged",
                    "keys": "pred",
                    "output_dir": "@output_dir",
                    "output_postfix": "mask",
                    "output_ext": ending,
                    "output_dtype": np.min_scalar_type(max(about["mask_values"])).name,
                    "resample": False,
                    "separate_folder": False,
                    "print_log": False,
                },
                *([] if about["spatial_dims"] == 3 else [MONAI_LABEL_WRITES]),
            ],
        },
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": "$@bundle_root + '/models/model.pt'",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "run": ["$@evaluator.run()"],
    }


def _harmless(value: Any) -> None:
    if isinstance(value, str) and value.startswith(EXECUTED):
        raise ValueError(f"MONAI would execute the network's argument {value!r} when the bundle is opened")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _harmless(item)
    if isinstance(value, dict):
        for name in value:
            _harmless(name)


def _scripts(about: dict[str, Any]) -> list[str]:
    return ["$from scripts import grid", "$from scripts import inference"] if about["spatial_dims"] == 2 else []


def _of_images(about: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    size, files = about["image_size"], about["files"]
    before: list[dict[str, Any]] = [
        {
            "_target_": "LoadImaged",
            "keys": "image",
            "reader": "PILReader",
            "converter": "$inference.to_rgb",
            "ensure_channel_first": True,
        },
        {
            "_target_": "Lambdad",
            "keys": "image",
            "func": f"$lambda image: grid.to_network_size(image, {size}, {files})",
        },
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1},
        {
            "_target_": "NormalizeIntensityd",
            "keys": "image",
            "subtrahend": about["mean"],
            "divisor": about["std"],
            "channel_wise": True,
        },
    ]
    return before, [{"_target_": "Lambdad", "keys": "pred", "func": "$grid.to_own_size"}]


def _of_volumes(about: dict[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    lower, upper = about["normalisation"]["percentiles"]
    before: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image", "reader": "NibabelReader", "ensure_channel_first": True},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "SAR", "labels": RAS},
        {
            "_target_": "ClipIntensityPercentilesd",
            "keys": "image",
            "lower": lower,
            "upper": upper,
            "channel_wise": True,
        },
        {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True},
        {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float16"},
        {"_target_": "CastToTyped", "keys": "image", "dtype": "$torch.float32"},
    ]
    after: list[dict[str, Any]] = [
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": True,
            "to_tensor": True,
        }
    ]
    if about["files"] > 1:  # of files that were stacked, MONAI's writer (1.6) takes an axis of the mask for channels
        after.append({"_target_": "Lambdad", "keys": "pred", "func": f"$lambda pred: {WITHOUT_CHANNELS}"})
    return before, after


def _inferer(about: dict[str, Any]) -> dict[str, Any]:
    if about["spatial_dims"] == 2:
        windows: dict[str, Any] = {"_target_": "SimpleInferer"}
    else:
        window = about["sliding_window"]
        windows = {
            "_target_": "SlidingWindowInferer",
            "roi_size": [window["edge"]] * 3,
            "sw_batch_size": window["windows_in_a_pass"],
            "overlap": window["overlap"],
            "mode": "gaussian",
            "sigma_scale": window["sigma"],
        }
    if about["network"]["name"] not in SEVERAL_OUTPUTS:
        return {"inferer": windows}
    first = "(lambda answer: answer if isinstance(answer, torch.Tensor) else answer[0])(network(images))"
    return {
        "windows": windows,
        "inferer": f"$lambda images, network, *args, **kwargs: @windows(images, lambda images: {first})",
    }
