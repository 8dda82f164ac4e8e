"""The process group of a run's ranks, on the devices that Ray Train gave them."""

from __future__ import annotations

from datetime import timedelta

import ray.train
import torch
import torch.distributed as dist
from ray.train.collective import broadcast_from_rank_zero
from ray.util import get_node_ip_address
from torch.distributed import TCPStore  # type: ignore[attr-defined]


def join(gpu: bool, timeout: float) -> torch.device:
    """Set up this rank's device and its place in the group. A collective: every rank calls it.

    A single rank needs no group.

    Args:
        gpu: whether Ray gave each rank a GPU; they then talk by NCCL, else by gloo.
        timeout: seconds that ranks wait for each other before they give up.

    Returns:
        The device to compute on.
    """
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(1)
    device = torch.device("cpu")
    if gpu:
        from ray.train.torch import get_device  # noqa: PLC0415 - costs seconds, and only GPUs need it

        device = get_device()
        torch.cuda.set_device(device)
    if world_size > 1:
        patience = timedelta(seconds=timeout)
        # Rank 0 takes a port that is free and holds it, so there is no moment at which somebody else could.
        host = str(get_node_ip_address()) if rank == 0 else ""  # type: ignore[no-untyped-call]
        store = TCPStore(host, 0, is_master=True, wait_for_workers=False, timeout=patience) if rank == 0 else None
        host, port = broadcast_from_rank_zero((host, store.port) if store is not None else None)
        store = store or TCPStore(host, port, is_master=False, timeout=patience)
        dist.init_process_group(
            "nccl" if gpu else "gloo", store=store, rank=rank, world_size=world_size, timeout=patience
        )
    return device
