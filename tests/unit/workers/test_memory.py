"""What is counted without memory is what a real step keeps."""

from __future__ import annotations

import io
import json
import sys

import pytest
import torch
from torch import Tensor

from service.jobs.memory import LOSS_MAPS
from tests.learning import BATCH, SIZE, learner_of
from workers import memory
from workers.contract.request import NetworkSpec
from workers.memory import footprint

NETWORKS = [
    {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2]}},
    {"name": "SegResNet", "arguments": {"init_filters": 8}},
    {"name": "SwinUNETR", "arguments": {"feature_size": 12}},
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network["name"])
def test_a_step_keeps_what_was_counted_and_six_maps_of_the_loss(network: dict[str, object]) -> None:
    size = 64 if network["name"] == "SwinUNETR" else SIZE
    found = footprint(NetworkSpec.model_validate(network), channels=3, classes=2, image_size=size)
    learner = learner_of(network=network, image_size=size)
    assert found.parameters == sum(4 * parameter.numel() for parameter in learner.network.parameters())
    own = {
        tensor.untyped_storage().data_ptr() for tensor in (*learner.network.parameters(), *learner.network.buffers())
    }
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    images = torch.randint(0, 256, (BATCH, 3, size, size), dtype=torch.uint8)
    learner.begin_epoch(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ordinals, weights = torch.arange(BATCH), torch.full((BATCH,), 1 / BATCH)
        learner.step(images, (images[:, 0] > 128).byte(), ordinals, weights, torch.ones(BATCH), 0)
    real = sum(tensor.untyped_storage().nbytes() for pointer, tensor in kept.items() if pointer not in own)
    counted = BATCH * (found.activations + LOSS_MAPS * found.map) + found.once
    assert counted == pytest.approx(real, rel=0.02)
    assert found.map == 2 * size * size * 4


def test_activations_grow_with_the_area() -> None:
    unet = NetworkSpec(name="UNet")
    small, large = (footprint(unet, channels=3, classes=2, image_size=size) for size in (64, 128))
    assert large.activations == pytest.approx(4 * small.activations, rel=0.01)
    assert (large.parameters, large.buffers) == (small.parameters, small.buffers)
    cube = footprint(unet, channels=1, classes=2, image_size=32, spatial_dims=3)
    assert cube.map == 2 * 32**3 * 4


def test_the_process_answers_for_each_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"network": NETWORKS[2], "sizes": [64, 33], "channels": 3, "classes": 2, "spatial_dims": 2}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(asked)))
    assert memory.main() == 0
    taken, refused = json.loads(capsys.readouterr().out)
    assert taken["parameters"] > 0
    assert refused is None
