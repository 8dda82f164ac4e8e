"""Where a model stands on its way into use."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Set by people; a new model has none. Of the models of one name, one at most is in production."""

    NONE = "none"
    STAGING = "staging"  # being tried
    PRODUCTION = "production"  # what whoever asks for the name gets
    ARCHIVED = "archived"  # was in use, or is not to be used
