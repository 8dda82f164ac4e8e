"""A store that is waited for: an outage pauses a run instead of ending it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import structlog

from workers.contract.store import ObjectMissing, ObjectStore, StoreRefuses, StoreUnavailable

T = TypeVar("T")
log = structlog.get_logger()
PATIENCE_SECONDS = 300.0  # shorter than the other ranks wait in a collective
LONGEST_PAUSE_SECONDS = 5.0


class PatientStore:
    """Repeats what fails because the store is away, until `patience` has passed; every operation may be repeated.

    A store that answers but refuses (wrong key, no bucket) is not waited for.

    Args:
        store: the store.
        patience: seconds from the first failure of an operation to giving up.
    """

    def __init__(self, store: ObjectStore, patience: float = PATIENCE_SECONDS) -> None:
        self._store, self._patience = store, patience

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object, and look whether it arrived."""

        def put() -> None:
            self._store.put(key, data, content_type)
            self._check(key, len(data))

        self._insist(put)

    def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Write an object from a file, and look whether it arrived."""

        def put() -> None:
            self._store.put_file(key, path, content_type)
            self._check(key, path.stat().st_size)

        self._insist(put)

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        return self._insist(lambda: self._store.get(key))

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Read a range of an object; it is held in memory, so that a broken transfer can be repeated."""
        return iter(self._insist(lambda: list(self._store.read(key, start, length))))

    def size(self, key: str) -> int:
        """Bytes of an object."""
        return self._insist(lambda: self._store.size(key))

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        return self._insist(lambda: self._store.exists(key))

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with the prefix, sorted."""
        return iter(self._insist(lambda: [*self._store.list(prefix)]))

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._insist(lambda: self._store.delete(key))

    def presigned_get(self, key: str, expires_s: int, filename: str, media_type: str) -> str | None:
        """A URL for a download; needs no network."""
        return self._store.presigned_get(key, expires_s, filename, media_type)

    def presigned_put(self, key: str, expires_s: int) -> str | None:
        """A URL for an upload; needs no network."""
        return self._store.presigned_put(key, expires_s)

    def _check(self, key: str, expected: int) -> None:
        try:
            found = self._store.size(key)
        except ObjectMissing:
            found = 0
        if found != expected:
            raise StoreUnavailable(f"{key} has {found} bytes in the store, {expected} were written")

    def _insist(self, act: Callable[[], T]) -> T:
        begun = time.monotonic()
        pause = 0.1
        while True:
            try:
                return act()
            except StoreRefuses:
                raise
            except StoreUnavailable as error:
                waited = time.monotonic() - begun
                if waited + pause > self._patience:
                    raise
                log.warning("waiting for the store", error=str(error), waited_seconds=round(waited, 1))
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
