"""Batch normalisation over several ranks, beside torch's own on the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn

from tests.ranks import leave
from workers.batchnorm import GlobalBatchNorm, normalise_globally
from workers.network import build_network

PARTS = (4, 1, 3)  # rows of each rank, of a batch of eight
STEPS = 3


def network_of(momentum: float | None, affine: bool) -> nn.Sequential:
    torch.manual_seed(0)
    inner = nn.BatchNorm2d(5, momentum=momentum, affine=affine)
    network = nn.Sequential(nn.Conv2d(3, 5, 3), inner, nn.ReLU(), nn.Conv2d(5, 2, 3), nn.BatchNorm2d(2, eps=1e-3))
    return network.double()  # what differs is then a mistake, not rounding


def batch(step: int) -> tuple[Tensor, Tensor]:
    """Images, and what their answers are weighted by."""
    generator = torch.Generator().manual_seed(step)
    return tuple(torch.randn(shape, generator=generator).double() for shape in ((8, 3, 9, 7), (8, 2, 5, 3)))


def learn(network: nn.Module, rows: slice, reduce: bool) -> dict[str, Tensor]:
    """A few steps of plain descent: answer and gradient of the images at these rows, gradients, weights, statistics."""
    kept: dict[str, Tensor] = {}
    for step in range(STEPS):
        images, cotangent = batch(step)
        seen = images[rows].requires_grad_()
        answer = network(seen)
        network.zero_grad()
        (answer * cotangent[rows]).sum().backward()
        kept |= {f"answer {step}": answer.detach(), f"of images {step}": seen.grad}
        for name, parameter in network.named_parameters():
            if reduce:
                dist.all_reduce(parameter.grad)
            kept[f"of {name} {step}"] = parameter.grad.clone()
            parameter.data -= 0.01 * parameter.grad
    return kept | {name: value.clone() for name, value in network.state_dict().items()}


def run_rank(rank: int, folder: str, momentum: float | None, affine: bool) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(PARTS) + 1)
    network = network_of(momentum, affine)
    layers = normalise_globally(network)
    begin = sum(PARTS[:rank])
    rows = slice(begin, begin + PARTS[rank]) if rank < len(PARTS) else slice(0, 1)
    for layer in layers:
        layer.counts = rank < len(PARTS)  # the last rank has no rows of its own: another's stand in
    if rank == len(PARTS):  # nor does its loss count
        network.register_forward_hook(lambda module, inputs, output: 0.0 * output)
    torch.save(learn(network, rows, reduce=True), Path(folder) / f"{rank}.pt")
    dist.barrier()
    leave()


@pytest.mark.parametrize(("momentum", "affine"), [(0.1, True), (None, True), (0.3, False)])
def test_ranks_together_normalise_as_torch_does_alone(tmp_path: Path, momentum: float | None, affine: bool) -> None:
    multiprocessing.spawn(run_rank, (str(tmp_path), momentum, affine), nprocs=len(PARTS) + 1)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(PARTS) + 1)]
    whole = learn(network_of(momentum, affine), slice(None), reduce=False)
    assert set(parts[0]) == set(whole)
    for name, expected in whole.items():
        if name.startswith(("answer", "of images")):
            found = torch.cat([part[name] for part in parts[: len(PARTS)]])
            torch.testing.assert_close(
                found, expected, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
            )
        else:
            for part in parts:
                torch.testing.assert_close(
                    part[name], expected, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
                )


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(4), nn.BatchNorm2d(4, affine=False), nn.BatchNorm3d(4)])
def test_alone_it_is_torchs_layer_for_any_number_of_axes(layer: nn.Module) -> None:
    ours = GlobalBatchNorm.of(nn.Sequential(layer)[0])  # shares the tensors, so copies are compared
    theirs = type(layer)(4, affine=layer.affine)
    axes = {nn.BatchNorm1d: 1, nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}[type(layer)]
    images = 1000 + torch.randn(3, 4, *[5] * axes)  # far from zero, E[x^2] - E[x]^2 would have no digit left
    torch.testing.assert_close(ours(images), theirs.double()(images.double()).float(), rtol=1e-4, atol=1e-3)
    theirs.float()
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


def test_half_precision_is_reckoned_in_float32() -> None:
    ours, theirs = GlobalBatchNorm(4), nn.BatchNorm2d(4)
    images = (30 + torch.randn(3, 4, 8, 8)).bfloat16()
    answer = ours(images)
    assert answer.dtype == torch.bfloat16
    torch.testing.assert_close(answer.float(), theirs(images.float()), rtol=0.01, atol=0.01)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_names_and_tensors_stay() -> None:
    arguments = {"spatial_dims": 2, "in_channels": 3, "out_channels": 2, "channels": [4, 8], "strides": [2]}
    network = build_network("AttentionUnet", arguments)
    before = network.state_dict(keep_vars=True)
    layers = normalise_globally(network)
    after = network.state_dict(keep_vars=True)
    assert layers
    assert not [m for m in network.modules() if type(m) in {nn.BatchNorm2d, nn.SyncBatchNorm}]
    assert list(before) == list(after)
    assert all(after[name] is value for name, value in before.items())
    build_network("AttentionUnet", arguments).load_state_dict(after)
