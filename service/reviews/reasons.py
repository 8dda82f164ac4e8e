"""Why a label can be doubted."""

from __future__ import annotations

from enum import StrEnum


class ReasonKind(StrEnum):
    """What is wrong with a label in the eyes of the model; `dale.review` says how it is told."""

    NONE = "none"  # they agree
    MISSING = "missing"  # lesions that the label lacks
    EXTRA = "extra"  # lesions that the label alone has
    DISJOINT = "disjoint"  # both have lesions, which nowhere overlap
    DISPLACED = "displaced"  # the label lies beside what the model sees
    WIDE = "wide"  # its border runs evenly outside
    NARROW = "narrow"  # evenly inside
    BORDER = "border"  # it is off unevenly
    WRONG_CLASS = "wrong_class"  # a lesion of another class
