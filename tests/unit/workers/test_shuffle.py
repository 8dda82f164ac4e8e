"""An epoch's order: a bijection, its own inverse's inverse, and as random as scipy can tell."""

import numpy as np
import pytest
import torch
from scipy import stats

from workers.shuffle import Shuffle


def order(size: int, seed: int = 5, epoch: int = 0) -> np.ndarray:
    return Shuffle(size, seed, epoch).ordinals(torch.arange(size)).numpy()


@pytest.mark.parametrize("sizes", [range(1, 130), (1023, 1024, 1025, 3000, 4096, 4097)])
def test_it_is_a_bijection_and_the_inverse_is_exact(sizes: range) -> None:
    for size in sizes:
        shuffle, everything = Shuffle(size, 3, 1), torch.arange(size)
        ordinals = shuffle.ordinals(everything)
        assert sorted(ordinals.tolist()) == everything.tolist()
        assert torch.equal(shuffle.places(ordinals), everything)


@pytest.mark.parametrize("bits", [17, 30, 40, 52, 61])
def test_large_ranges_are_computed_where_asked(bits: int) -> None:
    rng = np.random.default_rng(bits)
    size = int(rng.integers(2**bits, 2 ** (bits + 1)))
    places = torch.from_numpy(np.unique(np.append(rng.integers(0, size, 1000), [0, size - 1])))
    shuffle = Shuffle(size, 2**32 - 1, 99_999)
    ordinals = shuffle.ordinals(places)
    assert int(ordinals.min()) >= 0
    assert int(ordinals.max()) < size
    assert len(ordinals.unique()) == len(places)
    assert torch.equal(shuffle.places(ordinals), places)
    assert stats.kstest(ordinals.numpy() / size, "uniform").pvalue > 1e-3


def test_a_part_is_that_part_of_the_whole() -> None:
    places = torch.tensor([999, 0, 17, 17])
    assert Shuffle(1000, 5, 0).ordinals(places).tolist() == order(1000)[places].tolist()
    assert Shuffle(1000, 5, 0).ordinals(torch.arange(0)).tolist() == []


@pytest.mark.parametrize("ordinal", [-1, 10, 15])
def test_what_is_outside_is_refused(ordinal: int) -> None:
    for direction in (Shuffle(10, 0, 0).ordinals, Shuffle(10, 0, 0).places):
        with pytest.raises(ValueError, match="not all in"):
            direction(torch.tensor([3, ordinal]))


@pytest.mark.parametrize("size", [3, 4])
def test_every_order_of_a_few_is_equally_frequent(size: int) -> None:
    """Of more samples a Feistel network makes, within its own range, even permutations only: no matter for training."""
    found = np.stack([order(size, epoch=epoch) for epoch in range(3000)])
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == {3: 6, 4: 24}[size]
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("size", [7, 20])
def test_every_sample_is_as_often_in_every_place(size: int) -> None:
    found = np.stack([order(size, epoch=epoch) for epoch in range(2000)])
    values = [stats.chisquare(np.bincount(found[:, place], minlength=size)).pvalue for place in range(size)]
    assert min(values) > 1e-3 / size
    # Nor does a place say anything about the next: all pairs of two samples are equally frequent.
    pairs = np.bincount(found[:, 0] * size + found[:, 1], minlength=size**2).reshape(size, size)
    assert stats.chisquare(pairs[~np.eye(size, dtype=bool)]).pvalue > 1e-3


@pytest.mark.parametrize("size", [50_000, 65_536])
def test_there_is_no_serial_correlation(size: int) -> None:
    found = order(size)
    bound = 4 / np.sqrt(size)  # four standard errors
    for lag in (1, 2, 16, 256):
        assert abs(stats.pearsonr(found[:-lag], found[lag:]).statistic) < bound
    assert abs(stats.pearsonr(found, np.arange(size)).statistic) < bound
    steps = np.diff(found) % size
    assert stats.chisquare(np.bincount(steps * 100 // size, minlength=100)).pvalue > 1e-3
    for half in (found % 256, found // 256):  # neither half of the word is left as it was
        assert stats.chi2_contingency(np.histogram2d(half, np.arange(size), bins=16)[0]).pvalue > 1e-3


def test_epochs_and_seeds_are_unrelated() -> None:
    size = 20_000
    found = [order(size, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (1, 2), (2, 1))]
    for i, first in enumerate(found):
        for second in found[:i]:
            assert abs(stats.pearsonr(first, second).statistic) < 4 / np.sqrt(size)
            assert (first == second).sum() < 10  # on average 1
            joint = np.histogram2d(first, second, bins=16)[0]
            assert stats.chi2_contingency(joint).pvalue > 1e-4


def test_the_order_of_a_seed_stays() -> None:
    """A run that goes on under a later version of the code takes the same steps."""
    assert order(10, seed=3, epoch=2).tolist() == [3, 5, 9, 8, 4, 0, 6, 7, 2, 1]
