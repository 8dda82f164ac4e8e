"""Samples that look alike."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, Field

from service.resources.grid import CardResource


class Availability(StrEnum):
    """Whether a job knows which samples look alike."""

    KNOWN = "known"
    NOT_YET = "not-yet"  # it is not over
    NONE = "none"  # it has not succeeded, or is from before that was found out


class Neighbour(CardResource):
    """A sample that looks like the one that was asked for, with its label's confidence and decision."""

    similarity: float = Field(description="of the images, as the network sees them, in [-1, 1], 1 = alike")


class Neighbours(BaseModel):
    """The samples of a job whose images look most like one's."""

    sample: str
    state: Availability
    among: int = Field(description="how many samples were compared: all, or of very many evenly spaced ones")
    neighbours: list[Neighbour] = Field(description="the most alike first; none of them has the very same image")
