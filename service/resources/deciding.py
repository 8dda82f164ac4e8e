"""What is decided about a label."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from service.reviews.decisions import Decision

Note = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$", description="for people")]


class ReviewResource(BaseModel):
    """What is decided of a sample's label; it holds in every version that has this label."""

    sample: str
    mask_sha256: str = Field(description="the label that it is about")
    revision: int = Field(description="0: nobody has decided yet; the ETag")
    decision: Decision | None
    note: str
    by: str | None = Field(description="name of the key that changed it last")
    key_id: str | None
    at: datetime | None
    new_mask: str | None = Field(description="where the mask is that is to take the label's place")
    new_mask_sha256: str | None
