"""How far the annotators of a version agree."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Annotator(BaseModel):
    """Who drew labels, and how far the others agree."""

    annotator: str
    masks: int
    agreement: float | None = Field(description="mean Dice with others' masks of the same images; null: there are none")


class AnnotatorPair(BaseModel):
    """Two annotators who drew some images both."""

    first: str
    second: str
    images: int
    dice: float = Field(description="mean Dice of their masks of the same image; 1 where both are empty")


class Agreement(BaseModel):
    """How far the annotators of a version agree."""

    annotators: list[Annotator]
    pairs: list[AnnotatorPair]
