"""The border standard: found by who draws how large, from verified labels or from the annotators' median."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

import dale
from dale.trusted import CLIP, Hints, border_doubt, border_sums

PEOPLE, EACH = 5, 40
WIDE = ((1.4**2) - 1) / ((1.4**2) + 1)  # excess of a disc drawn with a radius 40 % too large


def drawn_by_people(each: int = EACH, wide: int = 3) -> tuple[Tensor, Tensor]:
    """Excess of each label and who drew it: one annotator draws 40 % too wide, the others to the standard."""
    annotator = torch.arange(PEOPLE).repeat(each)
    excess = 0.05 * torch.randn(PEOPLE * each, generator=torch.Generator().manual_seed(0))
    return excess + WIDE * (annotator == wide), annotator


def doubts_of(excess: Tensor, annotator: Tensor, trusted: Tensor | None = None) -> Tensor:
    hints = Hints(torch.zeros(len(excess), dtype=torch.bool) if trusted is None else trusted, annotator)
    sums = border_sums(excess, annotator, hints.trusted, hints.annotators)
    return border_doubt(excess, annotator, sums)


def nobody(count: int) -> Tensor:
    return torch.full((count,), -1)


def test_sums_are_numpys_and_add_up_over_shards() -> None:
    rng = np.random.default_rng(0)
    excess, annotator, trusted = rng.uniform(-1, 1, 100), rng.integers(-1, 4, 100), rng.random(100) < 0.2
    arguments = torch.tensor(excess), torch.tensor(annotator), torch.tensor(trusted)
    sums = border_sums(*arguments, annotators=6)
    clipped = np.clip(excess, -0.5, 0.5)
    chosen = [*(annotator == person for person in range(6)), np.ones(100, bool), trusted]
    expected = [[mine.sum(), clipped[mine].sum(), (clipped[mine] ** 2).sum()] for mine in chosen]
    np.testing.assert_allclose(sums.numpy(), expected, atol=1e-12)
    assert (annotator == -1).any()
    parts = [border_sums(*(column[rank::3] for column in arguments), annotators=6) for rank in range(3)]
    torch.testing.assert_close(sum(parts), sums)


def test_an_annotator_who_draws_wide_is_found_and_the_others_are_not_blamed() -> None:
    excess, annotator = drawn_by_people()
    doubts = doubts_of(excess, annotator)
    assert doubts.dtype == torch.float32
    assert (doubts[annotator != 3] == 0).all()
    means = np.array([excess[annotator == person].numpy().mean() for person in range(PEOPLE)])
    expected = means[3] - np.median(means) - 2 * excess.numpy().std() / np.sqrt(EACH)
    np.testing.assert_allclose(doubts[annotator == 3].numpy(), expected, atol=1e-4)
    assert expected > 0.2
    assert doubts_of(-excess, annotator)[annotator == 3].min() > 0.2  # too narrow is as wrong


def test_one_wide_label_is_not_held_against_a_good_annotator() -> None:
    """Where annotators are known, it is their habit that is judged."""
    excess, annotator = drawn_by_people(wide=-2)
    excess[7] = 0.4
    assert doubts_of(excess, annotator).max() < 0.01


def test_the_median_annotator_weighs_by_samples() -> None:
    """Three who draw 10 labels each are outvoted by two who draw 100 each."""
    annotator = torch.cat([torch.arange(3).repeat(10), torch.arange(3, 5).repeat(100)])
    excess = 0.3 * (annotator < 3) + 0.02 * torch.randn(230, generator=torch.Generator().manual_seed(0))
    doubts = doubts_of(excess, annotator)
    assert doubts[annotator < 3].min() > 0.15
    assert (doubts[annotator >= 3] == 0).all()


@pytest.mark.parametrize("named", [False, True], ids=["nobody known", "annotators known"])
def test_verified_labels_set_the_standard_against_the_majority(named: bool) -> None:
    """Most draw wide; the few verified labels are narrow. So it is the majority that is doubted."""
    noise = 0.02 * torch.randn(100, generator=torch.Generator().manual_seed(0))
    wide = torch.arange(100) % 5 < 4  # four of five annotators
    annotator = torch.arange(100) % 5 if named else nobody(100)
    trusted = torch.zeros(100, dtype=torch.bool)
    trusted[4:40:5] = True
    excess = noise + torch.where(wide, 0.2, -0.1)
    doubts = doubts_of(excess, annotator, trusted)
    assert (doubts[wide] > 0.15).all()
    assert (doubts[~wide] < 0.05).all()
    if named:
        without = doubts_of(excess, annotator)
        assert (without[wide] == 0).all(), "without verified labels it is the majority that sets the standard"
        assert (without[~wide] > 0.15).all()


def test_a_single_label_is_judged_by_the_spread_of_the_verified_ones() -> None:
    verified = torch.tensor([-0.1, 0.0, 0.1, 0.04])
    excess = torch.cat([verified, torch.tensor([0.05, 0.3, -0.4, 0.9])])
    doubts = doubts_of(excess, nobody(8), torch.arange(8) < 4)
    mean, spread = verified.double().mean().item(), verified.double().std(correction=0).item()
    expected = [max(abs(min(e, CLIP) - mean) - 2 * spread, 0.0) for e in (0.05, 0.3, -0.4, 0.9)]
    assert doubts[4:].tolist() == pytest.approx(expected, abs=1e-6)
    assert expected[0] == 0
    assert min(expected[1:]) > 0.1


@pytest.mark.parametrize("known", [2, 1, 0])
def test_without_enough_hints_nobody_is_doubted(known: int) -> None:
    """Fewer than three verified labels, and fewer than three annotators: no standard."""
    excess = torch.linspace(-0.5, 0.5, 20)
    trusted = torch.arange(20) < known
    annotator = torch.arange(20) % known if known else nobody(20)
    assert (doubts_of(excess, annotator, trusted) == 0).all()


def test_labels_of_unknown_hands_are_not_judged_by_the_annotators_of_others() -> None:
    excess, annotator = drawn_by_people()
    doubts = doubts_of(torch.cat([excess, torch.tensor([0.9, -0.9])]), torch.cat([annotator, nobody(2)]))
    assert doubts[annotator.tolist().index(3)] > 0.2
    assert doubts[-2:].tolist() == [0, 0]


def test_the_tolerance_shrinks_with_the_root_of_the_number_of_samples() -> None:
    """The same habits seen four times as often: half as much is put down to chance."""
    spread = torch.tensor([-0.1, 0.1])  # the same mean and deviation whatever the number
    tolerances = []
    for pairs in (4, 16, 64):
        annotator = torch.arange(PEOPLE).repeat_interleave(2 * pairs)
        excess = spread.repeat(PEOPLE * pairs) + 0.3 * (annotator == 0)
        tolerances.append(0.3 - float(doubts_of(excess, annotator)[0]))
    assert tolerances[0] == pytest.approx(2 * np.sqrt(0.1**2 + 0.3**2 * 0.2 * 0.8) / np.sqrt(8), abs=1e-6)
    assert [a / b for a, b in pairwise(tolerances)] == pytest.approx([2, 2], rel=1e-5)


def test_missed_lesions_hardly_move_the_standard() -> None:
    """One empty label in ten (excess -1) of everybody: the doubts stay about the borders."""
    excess, annotator = drawn_by_people()
    missed = excess.clone()
    missed[torch.arange(len(excess)) // PEOPLE % 10 == 0] = -1
    before, after = doubts_of(excess, annotator), doubts_of(missed, annotator)
    assert (after[annotator != 3] == 0).all()
    assert (before - after).abs().max() < 0.1
    assert after[annotator == 3].min() > 0.15
    trusted = torch.zeros(len(excess), dtype=torch.bool)
    trusted[: 10 * PEOPLE] = True
    trusted &= annotator != 3
    assert (doubts_of(missed, annotator, trusted) - after).abs().max() < 0.1


def test_hints_count_the_annotators() -> None:
    assert Hints.none(4).annotators == 0
    assert not Hints.none(4).trusted.any()
    assert Hints(torch.zeros(3, dtype=torch.bool), torch.tensor([2, -1, 0])).annotators == 3


# --- in the state of the samples ------------------------------------------------------------------------------------


def evidence_of(excess: Tensor) -> Tensor:
    """Of labels that agree with the prediction as far as their size lets them."""
    return torch.stack([excess.abs(), 1 - excess.abs(), torch.ones_like(excess), excess, excess.square()], dim=1)


def stepped(states: list[dale.ConfidenceState], excess: Tensor) -> list[dale.ConfidenceState]:
    """Three epochs of observations, then a confidence step from the sums over all ranks."""
    for state in states:
        for epoch in range(3):
            shaken = (excess + 0.01 * (epoch - 1)).clamp(-1, 1)
            state.observe(state.ordinals, evidence_of(shaken[state.ordinals]), momentum=0.7)
    sums = sum(state.border_sums() for state in states)
    assert isinstance(sums, Tensor)
    for state in states:
        state.judge_borders(sums)
    histogram = sum(state.histogram() for state in states)
    assert isinstance(histogram, Tensor)
    for state in states:
        dale.confidence_step(state, histogram, dale.DaleConfig(), strength=1.0)
    return states


def test_a_verified_label_stays_believed_and_is_still_ranked() -> None:
    excess, annotator = drawn_by_people()
    trusted = torch.zeros(len(excess), dtype=torch.bool)
    worst = torch.nonzero(annotator == 3).flatten()[:2]
    trusted[worst] = True
    [plain] = stepped([dale.ConfidenceState(len(excess), hints=Hints(torch.zeros_like(trusted), annotator))], excess)
    [hinted] = stepped([dale.ConfidenceState(len(excess), hints=Hints(trusted, annotator))], excess)
    assert (plain.confidence[worst] < 0.1).all()
    assert hinted.confidence[worst].tolist() == [1.0, 1.0]
    assert torch.equal(hinted.confidence[~trusted], plain.confidence[~trusted])
    assert torch.equal(hinted.score(), plain.score())


def test_the_doubt_is_the_trajectory_and_the_border_together() -> None:
    excess, annotator = drawn_by_people()
    hints = Hints(torch.zeros(len(excess), dtype=torch.bool), annotator)
    [without], [state] = ([dale.ConfidenceState(len(excess), hints=h)] for h in (None, hints))
    stepped([without], excess)
    stepped([state], excess)
    assert (without.border == 0).all()
    assert torch.equal(without.doubts, without.trajectory)
    torch.testing.assert_close(state.doubts, (without.trajectory + state.border).clamp(0, 1))
    torch.testing.assert_close(state.border, doubts_of(state.excess, annotator))
    torch.testing.assert_close(without.score(), 1 - without.worst)
    torch.testing.assert_close(1 - state.score(), state.worst + state.border - state.worst * state.border)
    assert state.score()[annotator == 3].max() < without.score()[annotator == 3].max() - 0.1


@pytest.mark.parametrize("trusted_share", [0.0, 0.2])
def test_three_ranks_judge_as_one(trusted_share: float) -> None:
    excess, annotator = drawn_by_people(each=37)  # 185 samples: uneven shards
    annotator[::9] = -1
    trusted = torch.rand(len(excess), generator=torch.Generator().manual_seed(1)) < trusted_share
    hints = Hints(trusted, annotator)
    [alone] = stepped([dale.ConfidenceState(len(excess), hints=hints)], excess)
    ranks = stepped([dale.ConfidenceState(len(excess), rank, 3, hints) for rank in range(3)], excess)
    for rank in ranks:
        for name in ("border", "doubts", "confidence"):
            torch.testing.assert_close(getattr(rank, name), getattr(alone, name)[rank.ordinals], rtol=0, atol=1e-6)
        assert torch.equal(rank.trusted, trusted[rank.ordinals])
    assert alone.border.max() > 0.1
    assert alone.confidence.min() < 0.1


def test_borders_and_excess_survive_a_checkpoint() -> None:
    excess, annotator = drawn_by_people()
    hints = Hints(torch.zeros(len(excess), dtype=torch.bool), annotator)
    ranks = stepped([dale.ConfidenceState(len(excess), rank, 3, hints) for rank in range(3)], excess)
    later = dale.ConfidenceState(len(excess), 1, 2, hints)
    later.load([rank.state_dict() for rank in ranks])
    for rank in ranks:
        both = [ordinal for ordinal in rank.ordinals.tolist() if ordinal % 2 == 1]
        here, there = later.rows(torch.tensor(both)), rank.rows(torch.tensor(both))
        assert torch.equal(later.doubts[here], rank.doubts[there])
        assert torch.equal(later.excess[here], rank.excess[there])
        assert torch.equal(later.score()[here], rank.score()[there])
