"""How an upload is cut into parts: arithmetic that client and service do alike."""

from __future__ import annotations

MIB = 1 << 20
DEFAULT_PART, SMALLEST_PART, LARGEST_PART, MOST_PARTS = 16 * MIB, MIB, 64 * MIB, 10_000


def part_count(size: int, part_size: int) -> int:
    """How many parts an upload has."""
    return -(-size // part_size)


def part_length(size: int, part_size: int, number: int) -> int:
    """Bytes of a part, counted from 1: all are alike but the last."""
    return min(part_size, size - (number - 1) * part_size)
