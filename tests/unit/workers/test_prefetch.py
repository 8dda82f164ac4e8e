"""Batches ahead of their use: in order, bounded, and with nothing left behind."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch
from torch import Tensor

from workers import prefetch as module
from workers.data import SampleUnreadable
from workers.prefetch import prefetch

CPU = torch.device("cpu")


class Slow:
    """Samples whose pixels are their numbers; early ones take longer. `bad` cannot be read."""

    def __init__(self, bad: int = -1) -> None:
        self.bad, self.asked, self.threads = bad, [], set()
        self.lock = threading.Lock()

    def batch(self, ordinals: Tensor) -> tuple[Tensor, Tensor]:
        first = int(ordinals[0])
        with self.lock:
            self.asked.append(first)
            self.threads.add(threading.current_thread().name)
        time.sleep(0.002 * (first % 3))
        if self.bad in ordinals.tolist():
            raise SampleUnreadable(f"sample {self.bad}")
        return ordinals.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2), ordinals.to(torch.uint8).view(-1, 1, 1)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def plan(batches: int) -> list[tuple[Tensor, Tensor]]:
    return [(torch.arange(2 * k, 2 * k + 2), torch.full((2,), k / 10)) for k in range(batches)]


@pytest.mark.parametrize("batches", [0, 1, 3, 30])
def test_batches_come_in_their_order(batches: int) -> None:
    samples, given = Slow(), plan(batches)
    found = list(prefetch(samples, given, CPU))
    assert len(found) == batches
    for (images, labels, ordinals, weights), (wanted, shares) in zip(found, given, strict=True):
        assert torch.equal(ordinals, wanted)
        assert torch.equal(weights, shares)
        assert images[:, 0, 0, 0].tolist() == labels[:, 0, 0].tolist() == wanted.tolist()
    assert threading.current_thread().name not in samples.threads


def test_it_works_ahead_but_not_without_bound() -> None:
    samples = Slow()
    with closing(prefetch(samples, plan(40), CPU)) as batches:
        next(batches)
        deadline = time.monotonic() + 10
        while len(samples.asked) < module.AHEAD + 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)  # time enough to go on, if it did
        assert len(samples.asked) == module.AHEAD + 1


def test_an_error_surfaces_as_itself_when_its_batch_is_due() -> None:
    seen = []
    with pytest.raises(SampleUnreadable, match="sample 13"), closing(prefetch(Slow(bad=13), plan(40), CPU)) as batches:
        for _, _, ordinals, _ in batches:
            seen.append(int(ordinals[0]))
    assert seen == [0, 2, 4, 6, 8, 10]


def test_an_error_of_the_consumer_ends_the_threads() -> None:
    samples = Slow()
    with pytest.raises(ZeroDivisionError), closing(prefetch(samples, plan(40), CPU)) as batches:
        for _ in batches:
            raise ZeroDivisionError
    assert len(samples.asked) <= module.AHEAD + 1
