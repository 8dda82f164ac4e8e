from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.review_effort import case, effort, efforts, qualities, with_error


def test_effort_in_closed_form() -> None:
    corrupted = np.arange(100) < 10
    score = np.arange(100) / 100
    assert effort(score, corrupted) == pytest.approx(0.09)  # nine of ten, each at once
    assert effort(-score, corrupted) == pytest.approx(0.99)
    assert effort(score, corrupted, found=1) == pytest.approx(0.10)
    shuffled = np.random.default_rng(0).permutation(100)
    assert effort(score[shuffled], corrupted[shuffled]) == pytest.approx(0.09)


def test_equal_scores_are_no_luck() -> None:
    corrupted = np.arange(10) < 2
    assert effort(np.zeros(10), corrupted, found=0.5) == pytest.approx(0.9)


def test_chance_is_what_a_simulation_finds() -> None:
    rng = np.random.default_rng(0)
    corrupted = np.arange(600) < 60
    simulated = np.mean([effort(rng.random(600), corrupted) for _ in range(400)])
    expected = np.ceil(0.9 * 60) * 601 / 61 / 600
    assert simulated == pytest.approx(expected, abs=0.005)


def test_a_short_run_gives_every_order(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.benchmarks import review_effort

    monkeypatch.setattr(review_effort, "TRAIN", 24)
    monkeypatch.setattr(review_effort, "CORRUPTED", 6)
    monkeypatch.setattr(review_effort, "TEST", 8)
    one = case(None, seed=0, epochs=4)
    assert (len(one.train), int(one.corrupted.sum())) == (24, 6)
    found = efforts(one)
    assert found.keys() == {"dale", "plain", "cleanlab_in_sample", "chance"}
    assert all(0 < share <= 1 for share in found.values())
    assert found["chance"] == pytest.approx(6 * 25 / 7 / 24)
    assert {name: values[0] for name, values in qualities(one).items()} == {
        name: found[name] for name in ("dale", "plain", "cleanlab_in_sample")
    }


def test_of_several_seeds_the_mean_has_its_standard_error() -> None:
    assert with_error([0.1, 0.2, 0.6]) == f"{0.3:.4f} ± {np.sqrt(0.14 / 2 / 3):.4f}"
