"""A network's parameters in shares, one for each rank (FSDP2), and whole again where they leave the run.

What torch has for it is imported where it is used: it takes half a second, and most runs have no shares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

UNIT = 1_000_000  # parameters


def shard(network: nn.Module, mesh: DeviceMesh) -> None:
    """Leave each rank an equal share of every parameter; a rank has them whole only while a layer computes.

    From here on every forward and backward pass is a collective: all ranks must make equally many. Buffers stay whole.

    Modules of `UNIT` parameters or more are gathered one by one.

    Args:
        network: changed in place; its parameters become `DTensor`s, their names stay. It may lie on the CPU: module by
            module it moves to the devices of the mesh, so that none of them must ever hold it whole.
        mesh: all ranks, in one row.
    """
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

    _shard_inside(network, mesh)
    fully_shard(network, mesh=mesh, reshard_after_forward=True)


def _shard_inside(module: nn.Module, mesh: DeviceMesh) -> int:
    """Shard the modules within that are large enough; return how many parameters are left for those around them."""
    from torch.distributed.fsdp import fully_shard  # noqa: PLC0415

    left = 0
    for child in module.children():
        waiting = _shard_inside(child, mesh)
        # A list of modules has no forward pass to gather for.
        if waiting >= UNIT and not isinstance(child, nn.ModuleList | nn.ModuleDict):
            fully_shard(child, mesh=mesh, reshard_after_forward=True)
            waiting = 0
        left += waiting
    return left + sum(parameter.numel() for parameter in module.parameters(recurse=False))


def whole(state: Any) -> Any:
    """A state, of any depth, with every shared tensor whole and all tensors on the CPU. Collective."""
    if isinstance(state, dict):
        return {key: whole(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(whole(value) for value in state)
    if isinstance(state, Tensor):
        full: Tensor = state.full_tensor() if _shared(state) else state  # type: ignore[attr-defined]
        return full.detach().cpu()
    return state


def _shared(tensor: Tensor) -> bool:
    """Whether it is a `DTensor`."""
    return hasattr(tensor, "full_tensor")


def share(values: Tensor, like: Tensor) -> Tensor:
    """This rank's share of a whole tensor, as `like` is shared; the tensor itself if `like` is not."""
    if not _shared(like) or values.shape != like.shape:
        return values
    from torch.distributed.tensor import DTensor, distribute_tensor  # noqa: PLC0415

    assert isinstance(like, DTensor)  # noqa: S101 - for the type checker
    # Every rank has the whole: each takes its own part, without communication.
    return distribute_tensor(values.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def shares(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """This rank's share of a module's whole state."""
    own = module.state_dict()
    return {name: share(values, own[name]) if name in own else values for name, values in state.items()}


def shares_of_optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """This rank's share of an optimizer's whole state; what has not the shape of its parameter is not shared."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = {
        number: {
            name: share(value, parameters[number]) if isinstance(value, Tensor) else value
            for name, value in values.items()
        }
        for number, values in state["state"].items()
    }
    return {**state, "state": moments}
