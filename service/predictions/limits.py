"""How much the service does for predictions, so that the rest of it goes on."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field

MIB = 1024 * 1024
CONCURRENT = 2


class PredictionLimits(BaseModel):
    """Limits of predictions; each refusal names the limit that was passed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrent: int = Field(default=CONCURRENT, ge=1, le=64, description="predictions at a time")
    threads: int = Field(
        default=max(1, (os.cpu_count() or 1) // CONCURRENT), ge=1, le=256, description="threads of each loaded model"
    )
    waiting: int = Field(default=32, ge=0, description="requests that wait for their turn; more are told to come back")
    seconds: float = Field(default=120, gt=0, description="one prediction, from its turn on")
    max_body_bytes: int = Field(default=256 * MIB, ge=1024, description="all files of one request")
    max_values: int = Field(
        default=192 * MIB,
        ge=1024,
        description="pixels or voxels, times classes and channels together; one takes about 16 bytes of memory",
    )
    models_bytes: int = Field(default=1024 * MIB, ge=1024, description="weights of all models that are kept loaded")
