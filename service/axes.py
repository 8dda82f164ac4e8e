"""The axes that a volume is cut along."""

from __future__ import annotations

from enum import StrEnum


class Axis(StrEnum):
    """What a slice is perpendicular to, by the name of the slice."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"

    @property
    def number(self) -> int:
        """The axis in RAS+ order."""
        return {"sagittal": 0, "coronal": 1, "axial": 2}[self]
