"""How often somebody may: a bucket each, which refills evenly, in memory that has a bound."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

MINUTE = 60.0
MOST_NAMES = 10_000


class Buckets:
    """One bucket for each name; full, it holds what a minute allows, and so much flows back in a minute.

    Whoever was silent may thus ask `per_minute` times at once, and from then on at that pace. Kept of a name is the
    time at which its bucket is full again (the generic cell rate algorithm). Of more than `most` names, the one that
    was seen longest ago is forgotten: it begins again with a full bucket.

    Args:
        per_minute: what a bucket holds; 0: no limit.
        clock: seconds that only go forward.
        most: so many names are remembered.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic, most: int = MOST_NAMES) -> None:
        self._interval = MINUTE / per_minute if per_minute else 0.0
        self._clock = clock
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, name: str) -> float:
        """For how many seconds `name` has to wait; 0: it may now. Nothing is taken."""
        if not self._interval:
            return 0.0
        with self._lock:
            return self._missing(name, self._clock())

    def take(self, name: str) -> float:
        """Take one, if there is one: 0; else nothing is taken, and so many seconds are to be waited for."""
        if not self._interval:
            return 0.0
        with self._lock:
            at = self._clock()
            missing = self._missing(name, at)
            if missing:
                return missing
            self._full_at[name] = max(self._full_at.get(name, at), at) + self._interval
            self._full_at.move_to_end(name)
            while len(self._full_at) > self._most:
                self._full_at.popitem(last=False)
            return 0.0

    def _missing(self, name: str, at: float) -> float:
        """Seconds until one more is in the bucket."""
        missing = self._full_at.get(name, at) + self._interval - at - MINUTE
        return missing if missing > 1e-6 else 0.0  # sums of floats: a bucket of 30 is to give 30


class Remembered:
    """The newest of what was seen, at most so many."""

    def __init__(self, most: int = MOST_NAMES) -> None:
        self._most = most
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, one: str) -> bool:
        return one in self._seen

    def add(self, one: str) -> None:
        """Remember it, in place of what was added longest ago."""
        with self._lock:
            self._seen[one] = None
            self._seen.move_to_end(one)
            while len(self._seen) > self._most:
                self._seen.popitem(last=False)
