"""What a step of training takes of memory, counted without taking any.

`python -m workers.memory` reads a network and its data's shape as JSON from standard input and prints a `Footprint` for
each of the sizes asked for; null for one that the network does not take.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from workers.contract.request import NetworkSpec
from workers.network import NetworkRefused, build_network, check_network, constructor_arguments, single_output

FEW, MORE = 2, 4  # batch sizes: what grows between them is a sample's, the rest is there once


@dataclass(frozen=True)
class Footprint:
    """Bytes, at the float32 that weights are kept in.

    Attributes:
        parameters: what learns; a gradient and two moments of the optimizer are each as large.
        buffers: what belongs to the network besides, such as the statistics of normalisations.
        activations: what the forward pass keeps of one sample for the backward pass.
        once: what it keeps whatever the batch.
        map: one map of logits of one sample, of which the loss keeps several.
    """

    parameters: int
    buffers: int
    activations: int
    once: int
    map: int


def footprint(spec: NetworkSpec, *, channels: int, classes: int, image_size: int, spatial_dims: int = 2) -> Footprint:
    """Count on tensors that have a shape and no memory.

    Raises:
        NetworkRefused: the network cannot be trained so.
    """
    check_network(spec, channels=channels, classes=classes, image_size=image_size, spatial_dims=spatial_dims)
    arguments = constructor_arguments(
        spec, channels=channels, classes=classes, image_size=image_size, spatial_dims=spatial_dims
    )
    # SwinUNETR reads values while it is built, which tensors without memory do not have.
    with torch.device("cpu" if spec.name == "SwinUNETR" else "meta"):
        network = single_output(spec.name, build_network(spec.name, arguments)).train().to("meta")
    shape = (channels, *[image_size] * spatial_dims)
    few, more = (saved_bytes(network, torch.zeros(batch, *shape, device="meta")) for batch in (FEW, MORE))
    each = (more - few) // (MORE - FEW)
    return Footprint(
        parameters=sum(_bytes(parameter) for parameter in network.parameters()),
        buffers=sum(_bytes(buffer) for buffer in network.buffers()),
        activations=each,
        once=few - FEW * each,
        map=classes * image_size**spatial_dims * 4,
    )


def saved_bytes(network: nn.Module, images: Tensor) -> int:
    """What a forward pass keeps for the backward pass, each piece of memory once, the weights not counted."""
    weights = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = (tensor, storage.nbytes())  # the tensor too, so that its number is not given again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    return sum(size for _, size in kept.values())


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def main() -> int:
    """Entry point of `python -m workers.memory`."""
    asked = json.load(sys.stdin)
    network = NetworkSpec.model_validate(asked["network"])
    shape = {name: asked[name] for name in ("channels", "classes", "spatial_dims")}
    answer: list[dict[str, int] | None] = []
    for size in asked["sizes"]:
        try:
            answer.append(asdict(footprint(network, image_size=size, **shape)))
        except NetworkRefused:
            answer.append(None)
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
