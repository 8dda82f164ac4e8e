"""A MONAI network by name: what there is, how it is built from a job's data, and whether it can be trained.

`python -m workers.network --check` reads a network and its data's shape as JSON from standard input and prints
`{"ok": true}` or `{"ok": false, "reason": "…"}`; `--catalogue` prints the networks with their arguments, as they are
kept in `workers/contract/networks.json`.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from monai.networks import nets
from torch import Tensor, nn

from workers.contract.request import NetworkSpec

# Where MONAI has no default and a segmentation network cannot do without one.
DEFAULTS: dict[str, dict[str, Any]] = {
    "AttentionUnet": {"channels": [16, 32, 64, 128], "strides": [2, 2, 2]},
    "DynUNet": {"kernel_size": [3, 3, 3, 3], "strides": [1, 2, 2, 2], "upsample_kernel_size": [2, 2, 2]},
    "FlexibleUNet": {"backbone": "efficientnet-b0"},
    "SwinUNETR": {"feature_size": 24},
    "UNet": {"channels": [16, 32, 64, 128], "strides": [2, 2, 2], "num_res_units": 2},
}
# MONAI's networks from image to mask. Those for classification, registration or generation are not among them.
NETWORKS = (
    "AttentionUnet",
    "BasicUNet",
    "BasicUNetPlusPlus",
    "DynUNet",
    "FlexibleUNet",
    "HighResNet",
    "MedNeXt",
    "SegResNet",
    "SegResNetDS",
    "SwinUNETR",
    "UNETR",
    "UNet",
)
# Given by the data, or (the last ones) meant to fetch weights from a hub, which a worker must not do.
GIVEN = frozenset({"spatial_dims", "in_channels", "out_channels", "img_size", "pretrained", "weights", "progress"})


class NetworkRefused(ValueError):
    """The network cannot be built or trained as asked; the message says why."""


class FirstOutput(nn.Module):
    """A network that answers with several maps (deep supervision), reduced to the first, its finest."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to logits (B, C, *spatial)."""
        output = self.network(images)
        return output if isinstance(output, Tensor) else output[0]


class InBfloat16(nn.Module):
    """A network whose convolutions and products compute in bfloat16; its weights and its answer stay float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, channels, *spatial) to logits (B, C, *spatial)."""
        with torch.autocast(images.device.type, torch.bfloat16):
            output: Tensor = self.network(images)
        return output.float()


def bare(network: nn.Module) -> nn.Module:
    """The network itself, without what was wrapped around it."""
    while isinstance(network, (FirstOutput, InBfloat16)):
        network = network.network
    return network


def constructor_arguments(
    spec: NetworkSpec, *, channels: int, classes: int, image_size: int, spatial_dims: int = 2
) -> dict[str, Any]:
    """The full keyword arguments of the network's constructor.

    Raises:
        NetworkRefused: there is no such network, or it takes no such argument.
    """
    if spec.name not in NETWORKS:
        raise NetworkRefused(f"there is no network {spec.name!r}; there are {', '.join(NETWORKS)}")
    accepted = arguments_of(spec.name)
    unknown = sorted(set(spec.arguments) - set(accepted))
    if unknown:
        raise NetworkRefused(
            f"{spec.name} takes no argument {', '.join(unknown)}; it takes {', '.join(sorted(accepted))}"
        )
    given = {
        "spatial_dims": spatial_dims,
        "in_channels": channels,
        "out_channels": classes,
        "img_size": [image_size] * spatial_dims,
        "pretrained": False,
    }
    parameters = inspect.signature(_constructor(spec.name)).parameters
    arguments = {**DEFAULTS.get(spec.name, {}), **spec.arguments}
    return {**arguments, **{name: value for name, value in given.items() if name in parameters}}


def build_network(name: str, arguments: dict[str, Any]) -> nn.Module:
    """Build a network from its full constructor arguments.

    Raises:
        NetworkRefused: the constructor does not accept them.
    """
    try:
        return _constructor(name)(**arguments)
    except Exception as error:
        raise NetworkRefused(f"{name} cannot be built: {_reason(error)}") from error


def single_output(name: str, network: nn.Module) -> nn.Module:
    """The network itself, or wrapped where it answers with several maps."""
    return FirstOutput(network) if name in {"BasicUNetPlusPlus", "SegResNetDS"} else network


def check_network(
    spec: NetworkSpec, *, channels: int, classes: int, image_size: int, spatial_dims: int = 2
) -> dict[str, Any]:
    """Build the network without memory and run it forward without computing, as training would.

    Returns:
        The full constructor arguments.

    Raises:
        NetworkRefused: it cannot be built, does not accept images of this size, or does not answer with one map of
            logits for each class in the size of the image.
    """
    arguments = constructor_arguments(
        spec, channels=channels, classes=classes, image_size=image_size, spatial_dims=spatial_dims
    )
    spatial = [image_size] * spatial_dims
    # SwinUNETR reads values while it is built, which tensors without memory do not have.
    device = "cpu" if spec.name == "SwinUNETR" else "meta"
    with torch.device(device), torch.no_grad():
        network = single_output(spec.name, build_network(spec.name, arguments)).train()
        try:
            output = network(torch.zeros(2, channels, *spatial))
        except Exception as error:
            kind = "images of {} pixels" if spatial_dims == 2 else "patches of {} voxels"
            size = kind.format(" x ".join(map(str, spatial)))
            raise NetworkRefused(f"{spec.name} does not accept {size}: {_reason(error)}") from error
    expected = (2, classes, *spatial)
    if not isinstance(output, Tensor) or tuple(output.shape) != expected:
        answer = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise NetworkRefused(f"{spec.name} answers with {answer} where a map of shape {expected} is needed")
    return arguments


def arguments_of(name: str) -> dict[str, dict[str, Any]]:
    """The arguments that a job may set, by name, each with whether it is required and its default."""
    accepted: dict[str, dict[str, Any]] = {}
    for parameter in inspect.signature(_constructor(name)).parameters.values():
        if parameter.name in GIVEN or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = DEFAULTS.get(name, {}).get(parameter.name, parameter.default)
        required = default is parameter.empty
        accepted[parameter.name] = {"required": required, "default": None if required else repr(default)}
    return accepted


def catalogue() -> dict[str, Any]:
    """Every network with its arguments, for those who cannot import MONAI."""
    return {name: {"arguments": arguments_of(name)} for name in NETWORKS}


def _constructor(name: str) -> Callable[..., nn.Module]:
    constructor: Callable[..., nn.Module] = getattr(nets, name)
    return constructor


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def main(argv: list[str] | None = None) -> int:
    """Entry point of `python -m workers.network`."""
    parser = argparse.ArgumentParser(description="MONAI networks: what there is, and whether one fits the data.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="check the network described on standard input")
    action.add_argument("--catalogue", action="store_true", help="print the networks with their arguments")
    options = parser.parse_args(argv)
    if options.catalogue:
        sys.stdout.write(json.dumps(catalogue(), indent=1, sort_keys=True) + "\n")
        return 0
    asked = json.load(sys.stdin)
    try:
        check_network(
            NetworkSpec.model_validate(asked["network"]),
            channels=asked["channels"],
            classes=asked["classes"],
            image_size=asked["image_size"],
            spatial_dims=asked.get("spatial_dims", 2),
        )
    except NetworkRefused as refused:
        sys.stdout.write(json.dumps({"ok": False, "reason": str(refused)}) + "\n")
    else:
        sys.stdout.write(json.dumps({"ok": True}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
