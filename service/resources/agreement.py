"""How far the people agree who looked at the same labels."""

from __future__ import annotations

from pydantic import BaseModel, Field


class AgreementResource(BaseModel):
    """How far two people agree."""

    keys: tuple[str, str]
    names: tuple[str, str]
    both: int = Field(description="labels that both have decided about")
    same: int = Field(
        description="of these, how often they agree whether the label may stay; the others: "
        "`disagree` of GET /v1/jobs/{job_id}/samples:order"
    )
    kappa: float | None = Field(description="Cohen's kappa of that, in [-1, 1]; null where chance explains everything")
    masks: int = Field(description="samples for which both gave a mask (2D only)")
    dice: float | None = Field(description="mean Dice of these masks")


class AgreementList(BaseModel):
    """Of every two people who have decided about the same labels."""

    agreements: list[AgreementResource]
