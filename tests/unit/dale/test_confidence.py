"""Dice and sizes against their definitions, the split against Otsu's criterion, and the state of the samples."""

import numpy as np
import pytest
import torch

import dale
from dale.consistency import expected_dice, size_excess, soft_dice
from dale.objective import SMOOTH


def test_soft_dice_of_hard_masks_is_dice() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, 40, 40, generator=generator) > 0.5 for _ in range(2))
    one_hot = [torch.stack([~m, m], 1).float() for m in (a, b)]
    overlap = (a & b).flatten(1).sum(1).double()
    sizes = (a.flatten(1).sum(1) + b.flatten(1).sum(1)).double()
    smooth = SMOOTH * 1600
    torch.testing.assert_close(soft_dice(*one_hot).double(), (2 * overlap + smooth) / (sizes + smooth))


def test_expected_dice_is_the_mean_over_labels_drawn_from_the_prediction() -> None:
    generator = torch.Generator().manual_seed(0)
    p = torch.sigmoid(3 * torch.randn(1, 1, 64, 64, generator=generator))
    prediction = torch.cat([1 - p, p], 1)
    drawn = (torch.rand(400, 1, 64, 64, generator=generator) < p).float()
    labels = torch.cat([1 - drawn, drawn], 1)
    mean = soft_dice(prediction.expand(400, -1, -1, -1), labels).mean()
    assert float(expected_dice(prediction)) == pytest.approx(float(mean), abs=1e-3)


def test_an_empty_label_agrees_with_an_empty_prediction_only() -> None:
    empty = torch.stack([torch.ones(1, 32, 32), torch.zeros(1, 32, 32)], 1)
    lesion = empty.clone()
    lesion[:, :, 8:20, 8:20] = lesion[:, [1, 0], 8:20, 8:20]
    assert float(soft_dice(empty, empty)) == 1
    assert float(soft_dice(lesion, empty)) < 0.01


def test_size_excess_of_discs_tells_wide_from_narrow() -> None:
    """For concentric shapes its size is 1 - Dice, and its sign says which is the larger."""
    y, x = torch.meshgrid(torch.arange(96), torch.arange(96), indexing="ij")
    small, large = ((y - 48) ** 2 + (x - 48) ** 2 < radius**2 for radius in (20, 28))
    narrow, wide = (torch.stack([~disc, disc])[None].float() for disc in (small, large))
    expected = 1 - 2 * 20**2 / (20**2 + 28**2)
    assert float(size_excess(narrow, wide)) == pytest.approx(expected, abs=0.01)
    assert float(size_excess(wide, narrow)) == pytest.approx(-expected, abs=0.01)
    assert float(size_excess(wide, wide)) == 0
    assert float(size_excess(narrow, wide)) == pytest.approx(1 - float(soft_dice(narrow, wide)), abs=1e-3)
    nothing = torch.stack([torch.ones(96, 96), torch.zeros(96, 96)])[None]
    assert float(size_excess(wide, nothing)) < -0.99


def doubts_of_parts(*parts: tuple[float, float, int]) -> np.ndarray:
    """So many doubts around each mean, with each deviation, in [0, 1]."""
    rng = np.random.default_rng(0)
    return np.clip(np.concatenate([rng.normal(mean, deviation, count) for mean, deviation, count in parts]), 0, 1)


def test_split_maximises_the_variance_between_the_sides() -> None:
    """Against the definition of Otsu's criterion for three parts, over all pairs of cuts of the raw values."""
    ordered = np.sort(doubts_of_parts((0.15, 0.04, 200), (0.4, 0.05, 70), (0.85, 0.05, 50)))
    total, mean = len(ordered), ordered.mean()
    best, cuts = -1.0, (0, 0)
    sums = np.concatenate([[0], ordered.cumsum()])
    for i in range(1, total - 1):
        j = np.arange(i + 1, total)
        sizes = [np.full(len(j), i), j - i, total - j]
        means = [np.full(len(j), sums[i] / i), (sums[j] - sums[i]) / (j - i), (sums[-1] - sums[j]) / (total - j)]
        criterion = sum(size * (value - mean) ** 2 for size, value in zip(sizes, means, strict=True))
        if criterion.max() > best:
            best, cuts = criterion.max(), (i, int(j[criterion.argmax()]))
    i, j = cuts
    split = dale.split(dale.histogram(torch.from_numpy(ordered)))
    assert split.threshold == pytest.approx((ordered[:i].mean() + ordered[i:j].mean()) / 2, abs=2e-3)
    assert split.share == pytest.approx((ordered > split.threshold).mean(), abs=0.01)
    assert split.share == pytest.approx(120 / 320, abs=0.01)
    assert split.gate == 1


@pytest.mark.parametrize(
    ("parts", "lowest", "highest"),
    [
        ([(0.15, 0.04, 300), (0.7, 0.08, 100)], 0.3, 0.5),
        ([(0.1, 0.03, 180), (0.3, 0.04, 75), (0.95, 0.02, 45)], 0.17, 0.25),
    ],
    ids=["two parts", "missed lesions do not hide wrong borders"],
)
def test_split_ends_the_clear_ones(parts: list[tuple[float, float, int]], lowest: float, highest: float) -> None:
    split = dale.split(dale.histogram(torch.from_numpy(doubts_of_parts(*parts))))
    assert lowest < split.threshold < highest
    fuzzy = sum(count for _, _, count in parts[1:]) / sum(count for _, _, count in parts)
    assert split.share == pytest.approx(fuzzy, abs=0.015)
    assert split.gate > 0.9


def test_clean_labels_close_the_gate() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(0.15, 0.04, 500)).clamp(0, 1)
    assert dale.split(dale.histogram(values)).gate == 0


def test_equal_doubts_leave_everything_believed() -> None:
    state = dale.ConfidenceState(10)
    state.observe(torch.arange(10), torch.tensor([[0.0, 1.0, 1.0, 0.0, 0.0]]).repeat(10, 1), momentum=0.7)
    dale.confidence_step(state, state.histogram(), dale.DaleConfig(), strength=1.0)
    assert state.confidence.tolist() == [1.0] * 10


def test_histogram_adds_up_over_shards_and_keeps_the_mean() -> None:
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    whole = dale.histogram(values)
    torch.testing.assert_close(whole, sum(dale.histogram(values[r::3]) for r in range(3)))
    centres = torch.linspace(0, 1, len(whole), dtype=torch.float64)
    assert float((whole * centres).sum() / 1000) == pytest.approx(float(values.double().mean()), abs=1e-9)


def test_trajectory_is_the_bias_corrected_moving_average() -> None:
    """And so are excess and worst part, which ranks; of the two Dice the last counts. Who is not met keeps all."""
    state, momentum = dale.ConfidenceState(3), 0.7
    doubts, excesses, worst = [0.9, 0.2, 0.4, 0.1], [-1.0, 0.3, 0.2, 0.0], [1.0, 0.7, 0.9, 0.3]
    for d, e, w in zip(doubts, excesses, worst, strict=True):
        state.observe(torch.tensor([1]), torch.tensor([[d, 0.8 - d / 2, 0.6 + d / 2, e, w]]), momentum=momentum)
    weights = np.array([momentum**k for k in range(len(doubts))][::-1])
    assert state.trajectory.tolist() == pytest.approx([0, np.average(doubts, weights=weights), 0], abs=1e-6)
    assert state.excess.tolist() == pytest.approx([0, np.average(excesses, weights=weights), 0], abs=1e-6)
    assert state.dice.tolist() == pytest.approx([0, 0.75, 0])
    assert state.expected_dice.tolist() == pytest.approx([0, 0.65, 0])
    assert state.epochs_seen.tolist() == [0, 4, 0]
    assert state.score().tolist() == pytest.approx([1, 1 - np.average(worst, weights=weights), 1], abs=1e-6)


def test_order_of_the_evidence_does_not_matter() -> None:
    evidence = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    states = dale.ConfidenceState(12, 1, 2), dale.ConfidenceState(12, 1, 2)
    for state, picked in zip(states, (torch.arange(6), order), strict=True):
        state.observe(2 * picked + 1, evidence[picked], momentum=0.7)
    assert torch.equal(states[0].trajectory, states[1].trajectory)
    assert states[0].trajectory.max() > 0


@pytest.mark.parametrize("later", [1, 2, 5])
def test_state_reshards_to_any_world_size(later: int) -> None:
    values = torch.rand(11, generator=torch.Generator().manual_seed(0))
    shards = []
    for rank in range(3):
        state = dale.ConfidenceState(11, rank, 3)
        state.confidence = values[state.ordinals]
        shards.append(state.state_dict())
    for rank in range(later):
        state = dale.ConfidenceState(11, rank, later)
        state.load(shards)
        assert torch.equal(state.confidence, values[rank::later])


def test_a_missing_shard_is_noticed() -> None:
    shards = [dale.ConfidenceState(11, rank, 3).state_dict() for rank in range(2)]
    with pytest.raises(ValueError, match="expected each of 11 samples once"):
        dale.ConfidenceState(11).load(shards)


def test_observations_of_anothers_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="sample 1 does not belong to rank 0 of 2"):
        dale.ConfidenceState(4, 0, 2).observe(torch.tensor([0, 1]), torch.ones(2, 5), momentum=0.7)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0),
        ("start", 1.1),
        ("momentum", 1),
        ("ema_decay", -0.1),
        ("stability", -1),
        ("alignment", "coral"),
        ("alignment_weight", 101),
    ],
)
def test_impossible_hyperparameters_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        dale.DaleConfig(**{name: value})
