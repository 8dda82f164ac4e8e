"""The confidence step against numerical optimisation, the evidence against its definition, the split against scikit."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

import dale
from dale.consistency import expected_dice, soft_dice
from dale.objective import SMOOTH


@pytest.mark.parametrize("doubt", [0.0, 0.2, 0.35, 0.5, 0.9])
@pytest.mark.parametrize("temperature", [0.03, 0.1, 0.5])
def test_closed_form_is_the_minimiser(doubt: float, temperature: float) -> None:
    tau = 0.4

    def objective(c: float) -> float:
        return c * (doubt - tau) + temperature * (c * np.log(c) + (1 - c) * np.log(1 - c))

    found = minimize_scalar(objective, bounds=(1e-12, 1 - 1e-12), method="bounded", options={"xatol": 1e-10}).x
    ours = dale.closed_form_confidence(torch.tensor([doubt], dtype=torch.float64), tau, temperature)
    assert float(ours) == pytest.approx(found, abs=1e-5)


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


def test_doubt_excuses_the_hard_not_the_wrong() -> None:
    dice, expected = torch.tensor([0.6, 0.6]), torch.tensor([0.95, 0.65])
    sure, unsure = dale.doubt(dice, expected, difficulty=0.75).tolist()
    assert sure == pytest.approx(0.4 - 0.75 * 0.05)
    assert unsure == pytest.approx(0.4 - 0.75 * 0.35)


def test_split_maximises_the_variance_between_the_sides() -> None:
    """Against the definition of Otsu's criterion, over all cuts of the raw values."""
    rng = np.random.default_rng(0)
    values = np.clip(np.concatenate([rng.normal(0.15, 0.04, 300), rng.normal(0.7, 0.08, 100)]), 0, 1)
    ordered = np.sort(values)
    cuts = np.arange(1, len(ordered))
    criterion = [k * (len(ordered) - k) * (ordered[:k].mean() - ordered[k:].mean()) ** 2 for k in cuts]
    k = int(cuts[np.argmax(criterion)])
    split = dale.split(dale.histogram(torch.from_numpy(values)))
    assert split.threshold == pytest.approx((ordered[:k].mean() + ordered[k:].mean()) / 2, abs=2e-3)
    assert split.share == pytest.approx(1 - k / len(values), abs=0.01)
    assert split.gate == 1


def test_clean_labels_close_the_gate() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(0.15, 0.04, 500)).clamp(0, 1)
    assert dale.split(dale.histogram(values)).gate == 0


def test_equal_doubts_leave_everything_believed() -> None:
    state = dale.ConfidenceState(10)
    zeros = torch.zeros(10)
    state.observe(torch.arange(10), zeros + 1, zeros + 1, momentum=0.7, difficulty=0.75)
    dale.confidence_step(state, state.histogram(), dale.DaleConfig(), strength=1.0)
    assert state.confidence.tolist() == [1.0] * 10


def test_histogram_adds_up_over_shards_and_keeps_the_mean() -> None:
    values = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    whole = dale.histogram(values)
    torch.testing.assert_close(whole, sum(dale.histogram(values[r::3]) for r in range(3)))
    centres = torch.linspace(0, 1, len(whole), dtype=torch.float64)
    assert float((whole * centres).sum() / 1000) == pytest.approx(float(values.double().mean()), abs=1e-9)


def test_trajectory_is_the_bias_corrected_moving_average() -> None:
    state, momentum = dale.ConfidenceState(1), 0.7
    doubts = [0.9, 0.2, 0.4, 0.1]
    for d in doubts:
        state.observe(torch.tensor([0]), torch.tensor([1 - d]), torch.ones(1), momentum=momentum, difficulty=0.75)
    weights = np.array([momentum**k for k in range(len(doubts))][::-1])
    assert float(state.trajectory[0]) == pytest.approx(float(np.average(doubts, weights=weights)), abs=1e-6)
    assert float(state.score()[0]) == pytest.approx(1 - float(state.trajectory[0]))


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
        dale.ConfidenceState(4, 0, 2).observe(
            torch.tensor([0, 1]), torch.ones(2), torch.ones(2), momentum=0.7, difficulty=0.75
        )


@pytest.mark.parametrize(("name", "value"), [("temperature", 0), ("start", 1.1), ("momentum", 1), ("ema_decay", -0.1)])
def test_impossible_hyperparameters_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        dale.DaleConfig(**{name: value})
