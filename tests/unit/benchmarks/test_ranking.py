"""Rankings: direction, chance, ties, undefined cases, and cleanlab's score against its formula."""

import itertools

import numpy as np
import pytest
import torch

from tests.benchmarks.robustness.ranking import cleanlab_scores, mean_loss_scores, metrics


def test_auroc_and_average_precision_against_their_definitions() -> None:
    rng = np.random.default_rng(0)
    corrupted = rng.random(80) < 0.4
    score = rng.normal(size=80) - corrupted
    found = metrics(score, corrupted)
    pairs = [bad < good for bad, good in itertools.product(score[corrupted], score[~corrupted])]
    assert found["auroc"] == pytest.approx(np.mean(pairs))
    hits = corrupted[np.argsort(score)]
    precisions = [hits[: place + 1].mean() for place in np.flatnonzero(hits)]
    assert found["average_precision"] == pytest.approx(np.mean(precisions))
    assert found["precision_first_tenth"] == pytest.approx(hits[:8].mean())


def test_low_scores_on_corrupted_labels_are_the_best_ranking() -> None:
    kinds = ["missed"] * 3 + ["erode"] * 3 + ["clean"] * 24
    corrupted = [kind != "clean" for kind in kinds]
    score = np.array([-3.0] * 3 + [0.5] * 3 + [0.0] * 12 + [1.0] * 12)
    found = metrics(score, corrupted, kinds)
    assert found["kinds"] == {"missed": 1.0, "erode": pytest.approx(0.5)}
    assert found["precision_first_tenth"] == 1.0
    best = metrics(-np.array(corrupted, float), corrupted, kinds)
    assert (best["auroc"], best["average_precision"], best["kinds"]) == (1.0, 1.0, {"missed": 1.0, "erode": 1.0})
    assert metrics(np.array(corrupted, float), corrupted)["auroc"] == 0.0
    for order in (slice(None), slice(None, None, -1)):  # equal scores: chance, whatever the order
        tied = metrics(np.zeros(30), corrupted[order])
        assert (tied["auroc"], tied["precision_first_tenth"]) == (0.5, pytest.approx(0.2))


@pytest.mark.parametrize(
    ("score", "corrupted"), [([0, 1], [False, False]), ([0, 1], [True, True]), ([0, np.nan], [True, False])]
)
def test_what_is_not_defined_is_none(score: list[float], corrupted: list[bool]) -> None:
    found = metrics(score, corrupted, ["a", "b"])
    assert found == {"auroc": None, "average_precision": None, "precision_first_tenth": None, "kinds": {}}


@pytest.mark.parametrize("classes", [2, 4])
def test_cleanlab_is_the_softmin_of_the_probability_of_the_label(
    classes: int, capfd: pytest.CaptureFixture[str]
) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(classes, (150, 6, 7), generator=generator).to(torch.uint8)
    probabilities = torch.randn(150, classes, 6, 7, generator=generator).softmax(1)
    found = cleanlab_scores(labels, probabilities)
    of_label = probabilities.gather(1, labels.long()[:, None]).flatten(1).double()
    weights = ((1 - of_label) / 0.1).softmax(1)
    np.testing.assert_allclose(found, (weights * of_label).sum(1).numpy(), rtol=1e-5)
    assert capfd.readouterr() == ("", "")
    half = cleanlab_scores(labels, probabilities.half())
    np.testing.assert_allclose(half, found, atol=2e-3)

    expected = -torch.nn.functional.cross_entropy(probabilities.log(), labels.long(), reduction="none").mean((1, 2))
    np.testing.assert_allclose(mean_loss_scores(labels, probabilities), expected, rtol=1e-5)


def test_a_certain_and_wrong_network_gives_the_lowest_finite_scores() -> None:
    labels = np.zeros((2, 4, 4), np.uint8)
    probabilities = np.zeros((2, 2, 4, 4), np.float32)
    probabilities[0, 0] = probabilities[1, 1] = 1
    for scores in (mean_loss_scores(labels, probabilities), cleanlab_scores(labels, probabilities)):
        assert np.isfinite(scores).all()
        assert scores[1] < scores[0]
