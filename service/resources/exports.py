"""What became of decisions that another tool sent."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Imported(BaseModel):
    """What became of the lines of a file."""

    decided: int = Field(description="decisions that were put down")
    unchanged: int = Field(description="lines that say what is in force already")
    undecided: int = Field(description="lines without a decision: nothing is done, nothing undone")
