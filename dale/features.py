"""The features of a network: the tensor that one of its layers makes in the forward pass."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import takewhile

import torch
from torch import Tensor, nn

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class FeatureTap:
    """Catches the features of one layer whenever the network runs.

    Without a name, the features are the input of the segmentation head: of the first convolution that turns feature
    channels into `classes` channels, at the end of the network. Convolutions from classes to classes that follow it
    (MONAI's UNet ends so) belong to the head. "First" and "end" refer to the order in which the network defines its
    layers, as in `initialise_head`; name a layer where that order is not the order of the data.

    Only the last call is kept: a layer that a forward pass uses more than once leaves the features of its last use.
    Copy the network (`make_teacher`) before it is tapped, for a copy would take the tap along.

    Args:
        network: any network; it is not changed, apart from the hook.
        layer: name of a submodule, as in `network.named_modules()`, whose output is caught; None for the head's input.
        classes: C, number of channels of the network's output.

    Raises:
        ValueError: there is no such layer, or no convolution with C output channels.
    """

    def __init__(self, network: nn.Module, layer: str | None, classes: int) -> None:
        self._features: Tensor | None = None
        if layer is None:
            self._hook = _head(network, classes).register_forward_pre_hook(self._catch_input)
        else:
            modules = dict(network.named_modules())
            if layer not in modules:
                near = ", ".join(get_close_matches(layer, filter(None, modules), n=5, cutoff=0))
                raise ValueError(f"{type(network).__name__} has no layer {layer!r}; the nearest names are {near}")
            self._hook = modules[layer].register_forward_hook(self._catch_output)

    @property
    def features(self) -> Tensor:
        """Features of the last forward pass, (B, K, *spatial), with their graph.

        Raises:
            RuntimeError: the layer has not run since the tap was set or emptied.
        """
        if self._features is None:
            raise RuntimeError(
                "the tapped layer has not run; call the network first, and if it is compiled, set "
                "torch._dynamo.config.skip_nnmodule_hook_guards = False, or its code may leave the tap out"
            )
        return self._features

    def empty(self) -> None:
        """Forget the features, so that those of an earlier forward pass cannot be taken for those of the next."""
        self._features = None

    def close(self) -> None:
        """Remove the hook and forget the features. A second call does nothing."""
        self._hook.remove()
        self.empty()

    def _catch_input(self, module: nn.Module, inputs: tuple[object, ...]) -> None:
        self._keep(module, inputs[0])

    def _catch_output(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        self._keep(module, output)

    def _keep(self, module: nn.Module, features: object) -> None:
        if not isinstance(features, Tensor) or features.ndim not in (4, 5):
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise TypeError(f"features must be a tensor (B, K, *spatial); that of {type(module).__name__} is {found}")
        self._features = features


def feature_channels(network: nn.Module, tap: FeatureTap, example: Tensor) -> int:
    """Number K of channels of the tapped features, found by running the network once, in evaluation mode.

    Args:
        network: the tapped network; its parameters, statistics and modes stay as they are.
        tap: set on that network.
        example: a valid input (B, channels, *spatial), on the network's device; one sample is enough.
    """
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        with torch.no_grad():
            network(example)
    finally:
        for module in training:
            module.training = True
    return tap.features.shape[1]


def _head(network: nn.Module, classes: int) -> nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d:
    """The convolution whose input are the last features; see `FeatureTap`."""
    convolutions = [module for module in network.modules() if isinstance(module, _CONVOLUTIONS)]
    while convolutions and convolutions[-1].out_channels != classes:
        convolutions.pop()
    if not convolutions:
        raise ValueError(f"{type(network).__name__} has no convolution with {classes} output channels")
    run = list(takewhile(lambda module: module.out_channels == classes, reversed(convolutions)))
    return next((module for module in run if module.in_channels != classes), run[-1])
