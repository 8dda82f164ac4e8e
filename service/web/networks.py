"""What the networks of the catalogue are, in a line each, for whoever has to choose one."""

from __future__ import annotations

from typing import Any

from service.jobs.networks import catalogue

WORDS = {
    "AttentionUnet": "U-Net whose skip connections are weighted by attention gates",
    "BasicUNet": "plain U-Net with two convolutions a level",
    "BasicUNetPlusPlus": "U-Net++: nested, dense skip connections; more memory",
    "DynUNet": "the U-Net of nnU-Net; kernels and strides are yours to set",
    "FlexibleUNet": "U-Net on an EfficientNet or ResNet encoder",
    "HighResNet": "full resolution all the way by dilated convolutions; compact, but much memory",
    "MedNeXt": "ConvNeXt blocks in a U-Net; large kernels",
    "SegResNet": "residual encoder and a light decoder; a good second choice",
    "SegResNetDS": "SegResNet with a symmetric decoder and deep supervision",
    "SwinUNETR": "shifted-window transformer encoder; for much data and a GPU",
    "UNETR": "vision transformer encoder; for much data and a GPU",
    "UNet": "U-Net with residual units; small, quick, a good first choice",
}


def described() -> dict[str, dict[str, Any]]:
    """Each network of the catalogue: what it is, and its arguments with their defaults as Python writes them."""
    return {
        name: {
            "about": WORDS.get(name, ""),
            "arguments": {
                argument: None if known["required"] else known["default"]
                for argument, known in found["arguments"].items()
            },
        }
        for name, found in sorted(catalogue().items())
    }
