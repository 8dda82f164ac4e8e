"""What all records of the contract have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A record of the contract: immutable, and it refuses fields that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
