"""Other masks of a sample's image."""

from __future__ import annotations

from pydantic import BaseModel, Field

MOST = 16  # masks beside the sample's own: each is decoded for the answer


class Annotation(BaseModel):
    """Another mask of the same image, which is a sample of its own."""

    sample: str
    ordinal: int
    annotator: str
    agreement: float | None = Field(description="its mean Dice with all other masks of the image; null: not known")
    dice: float | None = Field(
        description="of its foreground with that of the sample that was asked for, 1 where both are empty; "
        "null of volumes"
    )


class Annotations(BaseModel):
    """Who drew a sample's image."""

    sample: str
    annotator: str | None = Field(description="who drew the sample itself; null: not known")
    agreement: float | None = Field(description="its mean Dice with the others' masks; null: not known")
    others: list[Annotation] = Field(description=f"by the names of the annotators, at most {MOST}")
