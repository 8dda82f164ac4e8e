"""Decoded samples on local disk, one file for all ranks of a machine; the operating system's page cache is its memory.

The file has no name once every rank has opened it, so it goes with the last process, however that ends. It is sparse:
only what was decoded takes room. It is read and written by offset rather than mapped: a full or failing disk is then
an error that can be handled, where a mapped page would kill the process, and pages do not count as a rank's memory.

    [0, N)                                        one byte for each sample, 1 = filled; written after the sample itself
    [start + offsets[i], start + offsets[i + 1])  sample i: its tensors, one after the other
"""

from __future__ import annotations

import os
import secrets
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from torch import Tensor

from workers.exchange import gather

log = structlog.get_logger()

RESERVE = 0.06  # share of the disk that is left free; Ray takes a disk that is 95 % full for a full one
PAGE = 4096  # bytes


class DecodedCache:
    """Decoded samples, shared by those that hold the file open.

    Args:
        file: descriptor of a file open for reading and writing, empty or in use by others; closed with this object.
        offsets: N + 1 numbers of bytes, ascending from 0: sample i takes those from offsets[i] to offsets[i + 1].
    """

    def __init__(self, file: int, offsets: Sequence[int]) -> None:
        self._file, self._offsets = file, offsets
        self._start = -(-(len(offsets) - 1) // PAGE) * PAGE
        self._full = False
        weakref.finalize(self, os.close, file)

    def read(self, ordinal: int, *tensors: Tensor, at: int = 0) -> bool:
        """Fill in a sample, or a part of it, if it is here.

        Args:
            ordinal: the sample.
            tensors: contiguous, on the CPU, to be filled one after the other.
            at: where the first of them begins within the sample, in bytes.

        Returns:
            Whether it is here; if not, what `tensors` hold is undefined.
        """
        if os.pread(self._file, 1, ordinal) != b"\1":
            return False
        offset = self._start + self._offsets[ordinal] + at
        return os.preadv(self._file, [tensor.numpy().data for tensor in tensors], offset) == _size(tensors)

    def write(self, ordinal: int, *tensors: Tensor) -> None:
        """Keep a sample, unless the disk has no room for it beyond the reserve.

        Args:
            ordinal: the sample.
            tensors: all that it consists of: contiguous, on the CPU.
        """
        if self._full:
            return
        offset, size = self._start + self._offsets[ordinal], _size(tensors)
        if size != self._offsets[ordinal + 1] - self._offsets[ordinal]:
            raise ValueError(f"sample {ordinal} has {size} bytes, which is not the room that was laid out for it")
        disk = os.fstatvfs(self._file)
        try:
            if disk.f_bavail < RESERVE * disk.f_blocks:
                raise OSError(f"less than {RESERVE:.0%} of the disk is free")
            if os.pwritev(self._file, [tensor.numpy().data for tensor in tensors], offset) == size:
                os.pwrite(self._file, b"\1", ordinal)
        except OSError as error:
            self._full = True
            log.warning("no more room for decoded samples: the rest is decoded anew every time", reason=str(error))


def equal_slots(samples: int, size: int) -> range:
    """The offsets of samples that take `size` bytes each."""
    return range(0, (samples + 1) * size, size)


def open_shared(offsets: Sequence[int]) -> DecodedCache | None:
    """A new cache that the ranks of each machine share. A collective: every rank must call it.

    Args:
        offsets: where the samples lie, as `DecodedCache` takes them.

    Returns:
        The cache; None where no file can be made.
    """
    # Ranks that see the same folder are on one machine; the name says nothing to anybody else.
    path = Path(tempfile.gettempdir(), f"dale-decoded-{gather(secrets.token_hex(16))[0]}")
    file: int | None = None
    try:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.warning("no file for decoded samples: they are decoded anew every time", reason=str(error))
        gather(None)  # a barrier: every rank has it open
    finally:
        with suppress(FileNotFoundError):  # another rank was faster
            path.unlink()
    return None if file is None else DecodedCache(file, offsets)


def _size(tensors: Sequence[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
