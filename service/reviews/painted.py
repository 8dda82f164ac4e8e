"""A painted slice as it comes, which client and service both name."""

from __future__ import annotations

from dataclasses import dataclass

from service.axes import Axis


@dataclass(frozen=True)
class Painted:
    """A slice as it comes: its number among those along the axis, and a PNG of class numbers."""

    axis: Axis
    number: int
    png: bytes
