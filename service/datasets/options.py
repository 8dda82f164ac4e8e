"""How an upload is meant: said once here, for the API, the client and the command line."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from service.datasets import remap
from service.datasets.kinds import LayoutKind

MAX_PATTERN = 200
MOST_SHARED = 0.9  # of the groups, that are not trained on
PATTERN_MEMORY = 1 << 20  # bytes that a compiled pattern may take


def compile_pattern(pattern: str) -> Any:
    """A regular expression by RE2, whose time grows with the text alone: whoever writes the pattern may be anybody.

    Raises:
        ValueError: it is none, or has not one group exactly.
    """
    import re2  # noqa: PLC0415 - most uploads have no pattern

    options = re2.Options()
    options.max_mem, options.log_errors = PATTERN_MEMORY, False
    try:
        compiled = re2.compile(pattern, options=options)
    except re2.error as error:
        why = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else error
        raise ValueError(f"is no regular expression as RE2 knows them: {why}") from error
    if compiled.groups != 1:
        raise ValueError(f"has {compiled.groups} groups in parentheses; it must have one, which is the group's name")
    return compiled


class ImportOptions(BaseModel):
    """What may be said of an upload beside its name; the default takes it as it is."""

    model_config = ConfigDict(extra="forbid")

    mask_threshold: int | None = Field(
        default=None,
        ge=1,
        le=255,
        description="mask pixels from this value on become foreground, all others background",
    )
    layout: Literal["auto", "folders", "nnunet", "coco", "dicom"] = Field(
        default="auto",
        description="folders: images/ and masks/; nnunet: imagesTr/, labelsTr/ and dataset.json; "
        "coco: one .json in COCO's format, and its images; "
        "dicom: series of images and segmentations (SEG) of them; auto: what is there",
    )
    group_pattern: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_PATTERN,
        description=r"regular expression (RE2) that finds a sample's group in its name, such as ^(P\d+)_ ; samples of "
        "one group, such as a patient, are never split",
    )
    test_share: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="share of the groups that is held out, drawn by a hash; the network is judged on them at the end",
    )
    validation_share: float = Field(
        default=0.0,
        ge=0,
        le=0.9,
        description="share of the groups, drawn by the same hash, that is neither trained on nor held out: the epochs "
        "of a training are compared on it",
    )
    split_seed: int = Field(default=0, ge=0, lt=2**32, description="of that draw")

    @field_validator("validation_share")
    @classmethod
    def _leaves_something(cls, value: float, info: ValidationInfo) -> float:
        if value + info.data.get("test_share", 0.0) > MOST_SHARED:
            raise ValueError(f"leaves too little to train on: together with test_share at most {MOST_SHARED}")
        return value

    @field_validator("group_pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        # A client alone has no RE2: it leaves this to the service, which always has.
        if value is not None and find_spec("re2"):
            compile_pattern(value)
        return value

    remap: str | None = Field(
        default=None,
        max_length=2_000,
        description="values of masks replaced before anything else is decided: 255=1,3=0 makes 255 class 1 and 3 "
        "background; not together with mask_threshold",
        examples=["255=1,3=0"],
    )

    @field_validator("remap")
    @classmethod
    def _remap_is_sound(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None:
            return None
        remap.parsed(text)
        if info.data.get("mask_threshold") is not None:
            raise ValueError("does not go together with mask_threshold: leave one of them out")
        return text

    @property
    def mapping(self) -> dict[int, int]:
        """What the values of masks become; those that are not in it stay."""
        return remap.parsed(self.remap) if self.remap else {}

    @property
    def asked(self) -> LayoutKind | None:
        """The layout to read the upload by; None recognises it."""
        return None if self.layout == "auto" else LayoutKind(self.layout)
