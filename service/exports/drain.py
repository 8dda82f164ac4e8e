"""A file that only grows, and whose content is taken away as it comes: what a streamed answer is written to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

TEXTS = (".json", ".xml")  # of any size, and worth packing; pictures are packed already


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


def zipped(members: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[bytes]:
    """A zip of members, each a name with its content in parts; none is kept whole."""
    sink = Drain()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, parts in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(TEXTS) else zipfile.ZIP_STORED
            with archive.open(info, "w", force_zip64=name.endswith(TEXTS)) as member:
                for part in parts:
                    member.write(part)
                    yield sink.taken()
    yield sink.taken()
