"""Neighbours found by one rank and by two, against scikit-learn's. Real processes, real gloo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing

from tests.ranks import leave
from workers import nearest as search
from workers.nearest import Points, nearest
from workers.neighbours import aligned

N, K, FEATURES = 90, 8, 16
CPU = torch.device("cpu")


def features() -> Tensor:
    return torch.randn(N, FEATURES, generator=torch.Generator().manual_seed(0)) + 3


def images() -> Tensor:
    """Every image has two samples."""
    return torch.arange(N) // 2


def by_scikit_learn(points: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours and cosines; those of the same image, at most two of them, are left out."""
    from sklearn.neighbors import NearestNeighbors

    distances, found = NearestNeighbors(n_neighbors=k + 2, metric="cosine", algorithm="brute").fit(points).kneighbors()
    other = images().numpy()[found] != images().numpy()[:, None]
    rows = [(row[keep][:k], 1 - away[keep][:k]) for row, away, keep in zip(found, distances, other, strict=True)]
    return np.stack([row for row, _ in rows]), np.stack([cosines for _, cosines in rows])


def rank_finds(rank: int, world_size: int, folder: str) -> None:
    if world_size > 1:
        torch.set_num_threads(1)
        search.BLOCK, search.QUERIES = 7, 11
        dist.init_process_group("gloo", init_method=f"file://{folder}/together", rank=rank, world_size=world_size)
    own = torch.arange(rank, N, world_size)
    points = Points(aligned(features()[own], CPU).half(), torch.stack([own, images()[own]], dim=1))
    torch.save((own, *nearest(points, N, K, CPU)), f"{folder}/{rank}-of-{world_size}")
    if world_size > 1:
        dist.barrier()
        leave()


@pytest.mark.parametrize("world_size", [1, 2])
def test_any_number_of_ranks_finds_what_scikit_learn_finds(
    tmp_path: Path, world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if world_size == 1:
        monkeypatch.setattr(search, "BLOCK", 7)
        monkeypatch.setattr(search, "QUERIES", 11)
        rank_finds(0, 1, str(tmp_path))
    else:
        multiprocessing.spawn(rank_finds, (world_size, str(tmp_path)), nprocs=world_size)
    centred = features() - features().mean(0)
    wanted, cosines = by_scikit_learn(centred.numpy(), K)
    met = []
    for rank in range(world_size):
        own, found, similarity, among = torch.load(tmp_path / f"{rank}-of-{world_size}")
        assert among == N
        assert np.allclose(similarity, cosines[own], atol=2e-3)  # features are of half precision
        # Where two are as near as that, either may come first.
        assert (found.numpy() == wanted[own]).mean() > 0.97
        met += own.tolist()
    assert sorted(met) == list(range(N))
