"""The plan: W ranks together take the steps that one takes."""

import pytest
import torch

from workers.sampling import Plan
from workers.shuffle import Shuffle


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("samples", [16, 17, 23])
def test_ranks_share_each_step_of_one_process(world_size: int, samples: int) -> None:
    alone = list(Plan(samples, 5, 3, 0, 1).batches(epoch=2))
    shared = [list(Plan(samples, 5, 3, rank, world_size).batches(epoch=2)) for rank in range(world_size)]
    for step, (ordinals, weights) in enumerate(alone):
        parts = [rank[step] for rank in shared]
        together = torch.cat([mine[weight > 0] for mine, weight in parts])
        assert sorted(together.tolist()) == sorted(ordinals.tolist())
        assert float(weights.sum()) == pytest.approx(1)
        assert float(sum(weight.sum() for _, weight in parts)) == pytest.approx(1)
        assert all(len(mine) for mine, _ in parts)


def test_an_epoch_meets_every_sample_once_in_a_new_order() -> None:
    plan = Plan(23, 5, 3, 0, 1)
    first, second = (torch.cat([ordinals for ordinals, _ in plan.batches(epoch)]) for epoch in (0, 1))
    assert sorted(first.tolist()) == list(range(23))
    assert not torch.equal(first, second)
    assert plan.steps == 5


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_the_owner_knows_who_will_meet_a_sample(world_size: int) -> None:
    plans = [Plan(23, 5, 3, rank, world_size) for rank in range(world_size)]
    reader = plans[0].reader_of(torch.arange(23), epoch=4)
    for plan in plans:
        for ordinals, weights in plan.batches(4):
            assert (reader[ordinals[weights > 0]] == plan.rank).all()


@pytest.mark.parametrize("world_size", [1, 3, 8])
def test_what_a_rank_meets_is_what_its_batches_hold(world_size: int) -> None:
    for rank in range(world_size):
        plan = Plan(18, 8, 3, rank, world_size)  # the last step has two samples: most of eight ranks only stand in
        batches = [ordinals[weights > 0] for ordinals, weights in plan.batches(1)]
        assert len(batches) == plan.steps
        assert torch.equal(plan.met(1), torch.cat(batches))


def test_a_rank_of_many_needs_its_part_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A billion samples: a rank of a million computes its thousand, and never looks at the rest."""
    asked: list[int] = []
    walk = Shuffle._walk

    def spy(shuffle: Shuffle, start: torch.Tensor, *, inverse: bool) -> torch.Tensor:
        asked.append(len(start))
        return walk(shuffle, start, inverse=inverse)

    monkeypatch.setattr(Shuffle, "_walk", spy)
    plan = Plan(10**9, 2**20, 0, 7, 2**20)
    met = torch.cat([ordinals for ordinals, _ in plan.batches(0)])
    assert (plan.reader_of(met, 0) == 7).all()
    assert max(asked) == len(met) == 954
