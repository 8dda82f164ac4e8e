"""A file that only grows, and whose content is taken away as it comes: what a streamed answer is written to."""

from __future__ import annotations

import io
from typing import Any


class Drain(io.RawIOBase):
    """Takes writes, cannot go back, and keeps nothing that was taken."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        """It is there to be written to."""
        return True

    def tell(self) -> int:
        """How much was written in all."""
        return self._written

    def write(self, data: Any) -> int:
        """Keep some bytes until they are taken."""
        part = bytes(data)
        self._parts.append(part)
        self._written += len(part)
        return len(part)

    def taken(self) -> bytes:
        """What was written since it was last asked."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
