"""Buckets: what they hold, how they refill, and that nobody fills the memory."""

from __future__ import annotations

from service.buckets import Buckets, Remembered


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(buckets: Buckets, name: str, tries: int) -> int:
    return sum(buckets.take(name) == 0 for _ in range(tries))


def test_a_minutes_worth_at_once_then_at_that_pace() -> None:
    clock = Clock()
    buckets = Buckets(30, clock=clock)
    assert taken(buckets, "a", 50) == 30
    assert taken(buckets, "b", 1) == 1, "another has its own"
    assert 1.9 < buckets.take("a") <= 2.0, "told when the next is there"
    for _ in range(100):
        clock.now += 2
        assert taken(buckets, "a", 2) == 1
    clock.now += 3600
    assert taken(buckets, "a", 50) == 30, "no more than a bucket full, however long it was silent"


def test_looking_takes_nothing_and_what_is_refused_costs_nothing() -> None:
    clock = Clock()
    buckets = Buckets(2, clock=clock)
    assert [buckets.wait("a") for _ in range(9)] == [0] * 9
    assert taken(buckets, "a", 100) == 2
    clock.now += 30
    assert buckets.wait("a") == 0


def test_zero_is_no_limit() -> None:
    assert taken(Buckets(0), "a", 10_000) == 10_000


def test_of_many_names_the_oldest_is_forgotten() -> None:
    buckets, seen = Buckets(1, clock=Clock(), most=100), Remembered(100)
    for number in range(1000):
        assert buckets.take(str(number)) == 0
        seen.add(str(number))
    assert len(buckets) == 100
    assert buckets.take("999") > 0
    assert buckets.take("0") == 0
    assert "999" in seen and "899" not in seen
