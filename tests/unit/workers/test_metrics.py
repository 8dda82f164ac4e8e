"""Metrics against scikit-learn and SciPy, and what happens where they are not defined."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_erosion
from scipy.spatial.distance import cdist
from scipy.stats import bootstrap
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, f1_score, jaccard_score, precision_score, recall_score

from workers.contract.evaluation import METRICS
from workers.contract.summaries import interval, summaries
from workers.metrics import BINS, CalibrationSums, calibration_of, class_values, dice

CLASSES = 3


def blobs(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Class indices: background, and two boxes that may touch."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    for number in range(1, CLASSES):
        corner = rng.integers(0, np.array(shape) // 2)
        mask[tuple(slice(c, c + size // 2) for c, size in zip(corner, shape, strict=True))] = number
    return mask


def hd95(prediction: np.ndarray, label: np.ndarray, spacing: tuple[float, ...]) -> float:
    """By all distances between all border elements."""
    one, other = (np.argwhere(mask & ~binary_erosion(mask)) * spacing for mask in (prediction, label))
    distances = cdist(one, other)
    return max(np.percentile(distances.min(1), 95), np.percentile(distances.min(0), 95))


@pytest.mark.parametrize(("shape", "spacing"), [((40, 31), None), ((14, 12, 10), (3.0, 0.7, 0.5))])
def test_metrics_are_those_of_other_libraries(shape: tuple[int, ...], spacing: tuple[float, ...] | None) -> None:
    prediction, label = blobs(1, shape), blobs(2, shape)
    found = class_values(torch.from_numpy(prediction), torch.from_numpy(label), CLASSES, spacing)
    for number in range(1, CLASSES):
        p, t = prediction == number, label == number
        flat = t.ravel(), p.ravel()
        expected = {
            "dice": f1_score(*flat),
            "iou": jaccard_score(*flat),
            "precision": precision_score(*flat),
            "recall": recall_score(*flat),
            "hd95": hd95(p, t, spacing or (1.0, 1.0)),
        }
        assert 0 < expected["dice"] < 1
        assert {name: found[name][number - 1] for name in METRICS} == pytest.approx(expected, rel=1e-5)
    assert dice(prediction, label, CLASSES) == pytest.approx(np.mean(found["dice"]), rel=1e-6)


def test_what_is_undefined_is_none_and_said_without_warnings() -> None:
    """Class 1: nothing predicted; class 2: nothing labelled; class 3: neither; class 4: both."""
    prediction, label = torch.zeros(2, 16, 16, dtype=torch.uint8)
    label[:4], prediction[5:8], label[9:], prediction[9:] = 1, 2, 4, 4
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # MONAI warns where a mask is empty
        found = class_values(prediction, label, 5)
    assert found["dice"] == [0, 0, 1, 1]
    assert found["iou"] == [0, 0, 1, 1]
    assert found["hd95"] == [None, None, None, 0]
    assert found["precision"] == [None, 0, None, 1]
    assert found["recall"] == [0, None, None, 1]


def test_calibration_is_scikit_learn_s_however_it_is_summed() -> None:
    rng = np.random.default_rng(0)
    probabilities = torch.from_numpy(rng.dirichlet([0.4] * CLASSES, size=(6, 20, 20))).movedim(-1, 1)
    labels = torch.from_numpy(rng.integers(0, CLASSES, (6, 20, 20), dtype=np.uint8))
    ranks = [CalibrationSums(CLASSES) for _ in range(2)]
    for place in range(6):
        ranks[place % 2].add(probabilities[place : place + 1], labels[place : place + 1])
    found = calibration_of(ranks[0].sums + ranks[1].sums)
    assert [one.label_class for one in found] == [1, 2]
    for one in found:
        said = probabilities[:, one.label_class].flatten().numpy()
        true = (labels == one.label_class).flatten().numpy()
        frequency, probability = calibration_curve(true, said, n_bins=BINS)
        assert [some.frequency for some in one.bins] == pytest.approx(frequency.tolist())
        assert [some.probability for some in one.bins] == pytest.approx(probability.tolist())
        assert sum(some.pixels for some in one.bins) == one.pixels == said.size
        assert one.brier == pytest.approx(brier_score_loss(true, said))
        weights = np.histogram(said, BINS, (0, 1))[0] / said.size
        assert one.ece == pytest.approx((weights * np.abs(frequency - probability)).sum())
        assert one.ece > 0.1


def test_bins_without_pixels_have_no_values() -> None:
    sums = CalibrationSums(2)
    assert calibration_of(sums.sums) == []
    sums.add(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).T[None], torch.tensor([[1, 0]]))  # (1, 2, 2): sure, and right
    one = calibration_of(sums.sums)[0]
    assert (one.ece, one.brier, one.pixels) == (0, 0, 2)
    assert [some.probability for some in one.bins] == [0.0, *[None] * (BINS - 2), 1.0]


def test_intervals_are_scipy_s() -> None:
    values = np.random.default_rng(3).beta(5, 2, 60)
    low, high = interval(values, [str(number) for number in range(60)], seed=1)
    expected = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=5).confidence_interval
    assert (low, high) == pytest.approx(expected, abs=0.01)
    assert (low, high) == interval(values, [str(number) for number in range(60)], seed=1)


def test_patients_are_drawn_whole() -> None:
    """Copies of one sample tell nothing new: the interval stays as wide as that of one sample a patient."""
    values = np.random.default_rng(4).beta(5, 2, 30)
    names = [f"patient {number}" for number in range(30)]
    alone = interval(values, names, seed=1)
    assert interval(np.tile(values, 8), names * 8, seed=1) == pytest.approx(alone)
    low, high = interval(np.tile(values, 8), [str(number) for number in range(240)], seed=1)
    assert low is not None and high is not None and alone[0] is not None and alone[1] is not None
    assert high - low < 0.5 * (alone[1] - alone[0])

    # Patients of different numbers of samples, against SciPy with a statistic over patients.
    sizes = np.random.default_rng(5).integers(1, 9, 30)
    many, whose = np.repeat(values, sizes), np.repeat(names, sizes).tolist()

    def mean(drawn: np.ndarray) -> float:
        return float((values[drawn] * sizes[drawn]).sum() / sizes[drawn].sum())

    expected = bootstrap((np.arange(30),), mean, method="percentile", vectorized=False, n_resamples=5000, rng=6)
    assert interval(many, whose, seed=1) == pytest.approx(expected.confidence_interval, abs=0.015)


@pytest.mark.parametrize("groups", [["a"], ["a", "a"], []])
def test_one_patient_gives_no_interval(groups: list[str]) -> None:
    assert interval(np.full(len(groups), 0.5), groups, seed=0) == (None, None)


def test_summaries_leave_out_what_is_undefined_and_count_it() -> None:
    def values(dices: list[float], hd95: list[float | None]) -> dict:
        return {"dice": dices, "iou": dices, "hd95": hd95, "precision": [None, None], "recall": dices}

    some = [values([0.5, 1.0], [2.0, None]), values([0.7, 0.0], [None, None]), values([0.9, 0.8], [6.0, 1.0])]
    found = {(one.metric, one.label_class): one for one in summaries(some, ["a", "b", "c"], 0)}
    assert set(found) == {(metric, number) for metric in METRICS for number in (None, 1, 2)}
    assert found["dice", None].mean == pytest.approx(np.mean([0.75, 0.35, 0.85]))
    one = found["dice", 1]
    assert (one.samples, one.undefined, one.mean, one.median) == (3, 0, pytest.approx(0.7), pytest.approx(0.7))
    assert one.std == pytest.approx(np.std([0.5, 0.7, 0.9]))
    assert one.low is not None and one.high is not None and 0.5 <= one.low < 0.7 < one.high <= 0.9
    far = found["hd95", None]
    assert (far.samples, far.undefined, far.mean) == (2, 1, pytest.approx((2 + 3.5) / 2))
    none = found["precision", 2]
    assert (none.samples, none.undefined, none.mean, none.median, none.std, none.low) == (0, 3, *[None] * 4)
    alone = summaries([{name: [0.5] for name in METRICS}], ["a"], 0)
    assert [(one.metric, one.label_class) for one in alone] == [(metric, 1) for metric in METRICS]
