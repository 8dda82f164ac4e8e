"""An epoch of network steps: every sample is met under its own confidence, on any number of ranks."""

import threading
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

import dale
from workers import loop
from workers.data import SampleUnreadable
from workers.sampling import Plan

SAMPLES, CPU = 18, torch.device("cpu")


class Recorder:
    """A learner that only remembers; the loss of a sample is its number."""

    device = CPU

    def __init__(self) -> None:
        self.steps: list[tuple[Tensor, ...]] = []

    def begin_epoch(self, epoch: int, whole: float) -> None:
        self.steps.clear()

    def step(self, images: Tensor, labels: Tensor, ordinals: Tensor, weights: Tensor, confidence: Tensor, epoch: int):
        self.steps.append((images, labels, ordinals, weights, confidence))
        return SimpleNamespace(evidence=ordinals[:, None].expand(-1, 5).float(), loss=ordinals.float())


class Numbers:
    """Samples whose pixels are their numbers."""

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        return ordinals.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2), ordinals.to(torch.uint8).view(-1, 1, 1)


@pytest.mark.parametrize(("world_size", "samples"), [(1, SAMPLES), (3, SAMPLES), (8, SAMPLES), (5, 2)])
def test_each_rank_finds_the_confidences_of_what_it_meets(world_size: int, samples: int) -> None:
    known, losses, met = torch.rand(samples), 0.0, []
    for rank in range(world_size):
        plan, learner = Plan(samples, 8, 3, rank, world_size), Recorder()
        mine = known[plan.met(2).sort().values]
        evidence, loss = loop.network_epoch(learner, Numbers(), plan, mine, 2)  # type: ignore[arg-type]
        assert len(learner.steps) == plan.steps
        for images, labels, ordinals, weights, confidence in learner.steps:
            expected = known[ordinals] if weights[0] > 0 else torch.ones(1)
            assert torch.equal(confidence, expected)
            assert torch.equal(images[:, 0, 0, 0].long(), ordinals)
            assert torch.equal(labels[:, 0, 0].long(), ordinals)
        assert torch.equal(evidence[1], evidence[0][:, None].expand(-1, 5).float())
        met += evidence[0].tolist()
        losses += loss
    assert sorted(met) == list(range(samples))
    assert losses == pytest.approx(sum(range(samples)) / samples)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_confidences_come_in_ascending_order_of_samples(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """From three owners to one reader, the rows in any order: played without processes."""
    states = [dale.ConfidenceState(SAMPLES, owner, 3) for owner in range(3)]
    for state in states:
        state.confidence = state.ordinals / SAMPLES
    plan = Plan(SAMPLES, 7, 3, rank, 3)

    def all_to_all(ordinals: Tensor, values: Tensor, readers: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        assert torch.equal(ordinals, states[rank].ordinals)
        assert torch.equal(readers, plan.reader_of(ordinals, 4))
        rows = [(s.ordinals, s.confidence, plan.reader_of(s.ordinals, 4) == rank) for s in reversed(states)]
        return torch.cat([o[m] for o, _, m in rows]), torch.cat([c[m] for _, c, m in rows])[:, None]

    monkeypatch.setattr(loop, "send_rows", all_to_all)
    found = loop.confidences_to_readers(states[rank], plan, 4, CPU)
    assert torch.equal(found, plan.met(4).sort().values / SAMPLES)


class Unreadable(Numbers):
    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        if 5 in ordinals.tolist():
            raise SampleUnreadable("sample 5")
        return super().batch(ordinals)


class Failing(Recorder):
    def step(self, *arguments: Tensor):
        raise FloatingPointError


@pytest.mark.parametrize(
    ("samples", "learner", "error"),
    [(Unreadable(), Recorder(), SampleUnreadable), (Numbers(), Failing(), FloatingPointError)],
)
def test_an_error_ends_the_epoch_as_itself_and_leaves_no_thread(samples, learner, error: type[Exception]) -> None:
    before = threading.active_count()
    with pytest.raises(error):
        loop.network_epoch(learner, samples, Plan(SAMPLES, 4, 3, 0, 1), torch.ones(SAMPLES), 0)
    assert threading.active_count() == before
