"""Rows about samples, carried between the ranks that own them and the ranks that meet them."""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def send_rows(ordinals: Tensor, values: Tensor, destination: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Send each row to the rank named for it, and receive the rows that are meant for this one.

    A collective (all-to-all): every rank must call it. Without a process group there is one rank, and the rows stay.

    Args:
        ordinals: (n,), int64, the samples that the rows are about.
        values: (n, k), float32.
        destination: (n,), the rank that each row goes to.
        device: where the process group communicates: the CPU for gloo, the GPU for NCCL.

    Returns:
        Ordinals (m,) and values (m, k) of the rows received, on the CPU, in no particular order.
    """
    if not dist.is_initialized():
        return ordinals, values
    order = torch.argsort(destination)
    sizes = torch.bincount(destination, minlength=dist.get_world_size()).to(device)
    incoming = torch.empty_like(sizes)
    dist.all_to_all_single(incoming, sizes)
    there, here = sizes.tolist(), incoming.tolist()

    def carry(rows: Tensor) -> Tensor:
        received = torch.empty((sum(here), *rows.shape[1:]), dtype=rows.dtype, device=device)
        dist.all_to_all_single(received, rows[order].to(device), here, there)
        return received.cpu()

    return carry(ordinals), carry(values)


def sum_over_ranks(values: Tensor, device: torch.device) -> Tensor:
    """The sum of a small tensor over all ranks, on the CPU. A collective: every rank must call it."""
    if not dist.is_initialized():
        return values
    total = values.to(device)
    dist.all_reduce(total)
    return total.cpu()


def gather(mine: T) -> list[T]:
    """What every rank has, by rank; small and picklable. A collective, and so a barrier."""
    if not dist.is_initialized():
        return [mine]
    everyone: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return everyone  # type: ignore[return-value]
