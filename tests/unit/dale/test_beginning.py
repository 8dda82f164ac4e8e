"""Confidences before any evidence: what annotators of the same image say of each other's labels."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

import dale
from dale import ConfidenceState, DaleConfig, Hints

AGREEMENT = DaleConfig(begin_with="agreement", start=0.5)


def hints_of(agreement: torch.Tensor, trusted: list[int] | None = None) -> Hints:
    known = torch.zeros(len(agreement), dtype=torch.bool)
    known[trusted or []] = True
    return Hints(known, torch.full((len(agreement),), -1), agreement)


def two_thirds_agree(samples: int = 90) -> torch.Tensor:
    """Every third label is contradicted; of the last three nothing is known."""
    rng = torch.Generator().manual_seed(0)
    agreement = 0.85 + 0.05 * torch.rand(samples, generator=rng)
    agreement[::3] -= 0.4
    agreement[-3:] = torch.nan
    return agreement


def begun(hints: Hints, config: DaleConfig = AGREEMENT) -> ConfidenceState:
    state = ConfidenceState(len(hints.trusted), hints=hints)
    dale.begin(state, state.disagreement_histogram(), config)
    return state


def test_contradicted_labels_are_doubted_from_the_start() -> None:
    agreement = two_thirds_agree()
    state = begun(hints_of(agreement, trusted=[0]))
    doubted = torch.zeros(90, dtype=torch.bool)
    doubted[3:87:3] = True
    assert state.confidence[doubted].max() < 0.01
    assert state.confidence[~doubted].min() > 0.99
    assert state.confidence[[0, 87, 88, 89]].tolist() == [1.0] * 4  # verified, and not known
    part = dale.split(state.disagreement_histogram())
    expected = 1 - part.gate * (1 - expit((part.threshold - (1 - agreement.double().numpy())) / AGREEMENT.temperature))
    np.testing.assert_allclose(state.confidence[3:87], expected[3:87], atol=1e-5)


@pytest.mark.parametrize(
    ("agreement", "config"),
    [
        (two_thirds_agree(), DaleConfig()),  # not asked for
        (torch.full((30,), torch.nan), AGREEMENT),  # nothing known
        (torch.linspace(0.9, 0.92, 30), AGREEMENT),  # no part contradicts the others
    ],
)
def test_else_every_label_is_believed(agreement: torch.Tensor, config: DaleConfig) -> None:
    assert torch.equal(begun(hints_of(agreement), config).confidence, torch.ones(len(agreement)))


def test_processes_know_their_own_samples_and_begin_alike() -> None:
    hints = hints_of(two_thirds_agree(), trusted=[6])
    states = [ConfidenceState(90, rank, 3) for rank in range(3)]
    for state in states:
        state.know(hints.of(state.ordinals), 0)
    counts = torch.stack([state.disagreement_histogram() for state in states]).sum(0)
    together = torch.empty(90)
    for state in states:
        dale.begin(state, counts, AGREEMENT)
        together[state.ordinals] = state.confidence
    torch.testing.assert_close(together, begun(hints).confidence)


def test_doubted_labels_weigh_less_until_the_confidences_act() -> None:
    torch.manual_seed(0)
    images, labels = torch.randn(4, 3, 16, 16), torch.zeros(4, 2, 16, 16)
    labels[:, 0] = 1
    confidence = torch.tensor([1.0, 0.25, 0.0, 1.0])

    def loss(config: DaleConfig) -> torch.Tensor:
        torch.manual_seed(1)
        network = nn.Conv2d(3, 2, 3, padding=1)
        teacher = dale.make_teacher(network, 0.9)
        student = dale.Student(network, config, images[:1], 2, 0)
        views = dale.random_views(torch.arange(4), 0, 0, 2)
        return dale.network_step(
            student, teacher, images, labels, confidence, views, strength=0, config=config, listen=False
        ).loss.detach()

    torch.testing.assert_close(loss(AGREEMENT), confidence * loss(DaleConfig()))
    assert (loss(DaleConfig()) > 0).all()


def test_in_anyone_s_loop_the_beginning_lasts_until_the_first_confidence_step() -> None:
    hints = hints_of(two_thirds_agree(12))
    method = dale.Dale(
        nn.Conv2d(1, 2, 1), samples=12, epochs=4, prior=[0.9, 0.1], config=AGREEMENT, hints=hints, seed=0
    )
    first = method.confidence.clone()
    assert first.min() < 0.1
    labels = torch.nn.functional.one_hot((torch.rand(12, 8, 8) < 0.2).long(), 2).movedim(-1, 1).float()
    for epoch in range(2):
        assert torch.equal(method.confidence, first), epoch
        method.loss(torch.randn(12, 1, 8, 8), labels, torch.arange(12)).backward()
        method.end_epoch()
    assert not torch.equal(method.confidence, first)
