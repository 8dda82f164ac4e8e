"""How versions of a dataset differ, and what makes the next one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from service.datasets.kinds import Change


class ChangedSample(BaseModel):
    """A sample that is not the same in both versions."""

    sample: str
    changes: list[Change] = Field(description="what differs; mask and image of one sample may both")


class DifferencePage(BaseModel):
    """Some of the samples that differ, in the order of their names, and how many there are in all."""

    added: int
    removed: int
    relabelled: int
    changed_image: int
    samples: list[ChangedSample]
    next_page_token: str | None


class Changes(BaseModel):
    """What the new version has other than its base, beside the files in the zip."""

    model_config = ConfigDict(extra="forbid")

    base: int | None = Field(default=None, ge=1, le=2**31 - 1, description="number of a version; none: the newest")
    exclude: list[str] = Field(default=[], max_length=1_000_000, description="names of samples to leave out")
