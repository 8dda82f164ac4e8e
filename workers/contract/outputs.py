"""What of a prediction can be asked for, apart from what computes it: the command line loads nothing heavy."""

from __future__ import annotations

from enum import StrEnum


class Output(StrEnum):
    """One answer of a model."""

    MASK = "mask"
    PROBABILITIES = "probabilities"
    UNCERTAINTY = "uncertainty"

    @property
    def folder(self) -> str:
        """Where it lies in what a prediction of a dataset leaves; the names of its zips begin so too."""
        return "masks" if self is Output.MASK else self.value
