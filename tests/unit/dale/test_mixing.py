"""Mixing: what is exchanged, what it depends on, and that it undoes itself."""

import numpy as np
import pytest
import torch

import dale

SHAPES = pytest.mark.parametrize("spatial", [(32, 24), (8, 16, 12)], ids=["2D", "3D"])


@SHAPES
@pytest.mark.parametrize("count", [6, 7])
def test_partners_exchange_one_box(spatial: tuple[int, ...], count: int) -> None:
    mixing = dale.draw_mixing(torch.arange(10, 10 + count), 2, 5, spatial, share=1.0)
    half = count // 2
    assert mixing.partner.tolist() == [*range(half, 2 * half), *range(half), *range(2 * half, count)]
    fields = torch.rand(count, 4, *spatial, generator=torch.Generator().manual_seed(0))
    mixed = mixing.exchange(fields)
    for row in range(2 * half):
        inside = mixing.box[row, 0]
        assert torch.equal(mixed[row][:, inside], fields[mixing.partner[row]][:, inside])
        assert torch.equal(mixed[row][:, ~inside], fields[row][:, ~inside])
        places = inside.nonzero()
        edges = (places.amax(0) - places.amin(0) + 1).tolist()
        assert int(inside.sum()) == np.prod(edges)  # a box, and a whole one
        assert all(0.25 * size <= edge <= 0.8 * size for edge, size in zip(edges, spatial, strict=True))
    assert torch.equal(mixed[2 * half :], fields[2 * half :])
    assert torch.equal(mixing.exchange(mixed), fields)


def test_it_depends_on_seed_epoch_and_the_two_samples_alone() -> None:
    def boxes(ordinals: list[int], epoch: int = 1, seed: int = 3) -> torch.Tensor:
        return dale.draw_mixing(torch.tensor(ordinals), epoch, seed, (32, 32), share=1.0).box

    first = boxes([4, 9, 6, 5])  # pairs (4, 6) and (9, 5)
    assert torch.equal(first[[1, 0, 3, 2]], boxes([5, 6, 9, 4]))
    assert torch.equal(first[[0, 2]], boxes([4, 6]))
    for other in (boxes([4, 9, 6, 5], epoch=2), boxes([4, 9, 6, 5], seed=4), boxes([4, 5, 9, 6])):
        assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_so_many_pairs_mix(share: float) -> None:
    """Of 2000 pairs, within four standard deviations."""
    mixing = dale.draw_mixing(torch.arange(4000), 0, 0, (4, 4), share)
    mixed = mixing.box.flatten(1).any(1).double()
    assert float(mixed.mean()) == pytest.approx(share, abs=4 * (share * (1 - share) / 2000) ** 0.5)
    own = mixing.partner == torch.arange(4000)
    assert torch.equal(own, mixed == 0)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_pair_as_one_does(ranks: int) -> None:
    """Rank r takes every W-th row, as `workers.sampling.Plan` deals them; the batch is a multiple of 2 W."""
    ordinals = torch.randperm(100, generator=torch.Generator().manual_seed(0))[:16]
    alone = dale.draw_mixing(ordinals, 1, 2, (16, 16), share=0.5)
    for rank in range(ranks):
        mine = dale.draw_mixing(ordinals[rank::ranks], 1, 2, (16, 16), share=0.5)
        assert torch.equal(mine.box, alone.box[rank::ranks])
        assert torch.equal(ordinals[rank::ranks][mine.partner], ordinals[alone.partner][rank::ranks])
