"""The plan: W ranks together take the steps that one takes."""

import pytest
import torch

from workers.sampling import Plan


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
