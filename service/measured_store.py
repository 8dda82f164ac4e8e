"""An object store that measures: how long each operation takes, and how many fail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from service.metrics import Metrics
from workers.contract.store import ObjectStore, StoreUnavailable

T = TypeVar("T")


class MeasuredStore:
    """The store inside, unchanged. A missing object is an answer and no error."""

    def __init__(self, store: ObjectStore, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics

    def put(self, key: str, data: bytes, content_type: str = "application/octet-stream") -> None:
        """Write an object."""
        with self._measured("put"):
            self._store.put(key, data, content_type)

    def put_file(self, key: str, path: Path, content_type: str = "application/octet-stream") -> None:
        """Write an object from a file."""
        with self._measured("put_file"):
            self._store.put_file(key, path, content_type)

    def get(self, key: str) -> bytes:
        """Read a whole object."""
        with self._measured("get"):
            return self._store.get(key)

    def read(self, key: str, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Stream a range of an object; how long its reader takes is not the store's time."""
        with self._measured("read"):
            chunks = self._store.read(key, start, length)
        return self._followed("read", chunks)

    def size(self, key: str) -> int:
        """Bytes of an object."""
        with self._measured("size"):
            return self._store.size(key)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        with self._measured("exists"):
            return self._store.exists(key)

    def list(self, prefix: str) -> Iterator[str]:
        """Keys that begin with the prefix."""
        with self._measured("list"):
            found = self._store.list(prefix)
            first = next(found, None)
        if first is not None:
            yield first
            yield from self._followed("list", found)

    def delete(self, key: str) -> None:
        """Remove an object."""
        with self._measured("delete"):
            self._store.delete(key)

    def presigned_get(self, key: str, expires_s: int, filename: str, media_type: str) -> str | None:
        """A URL for a download; not measured, as signing asks nobody."""
        return self._store.presigned_get(key, expires_s, filename, media_type)

    def presigned_put(self, key: str, expires_s: int) -> str | None:
        """A URL for an upload; not measured either."""
        return self._store.presigned_put(key, expires_s)

    @contextmanager
    def _measured(self, operation: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        except StoreUnavailable:
            self._metrics.store_errors.labels(operation).inc()
            raise
        finally:
            self._metrics.store.labels(operation).observe(time.perf_counter() - began)

    def _followed(self, operation: str, parts: Iterator[T]) -> Iterator[T]:
        try:
            yield from parts
        except StoreUnavailable:
            self._metrics.store_errors.labels(operation).inc()
            raise
