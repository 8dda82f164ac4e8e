"""Colours of classes in tools: a label and its prediction apart for colour-blind eyes, too (Okabe and Ito 2008)."""

from __future__ import annotations

from service.exports.kinds import Source

PAIRS = (("#0072b2", "#e69f00"), ("#009e73", "#cc79a7"), ("#56b4e9", "#d55e00"), ("#f0e442", "#7f3c8d"))


def colour(place: int, source: Source) -> str:
    """The colour of a dataset's class by its place among them: label and prediction of the first as on our pages."""
    label, prediction = PAIRS[place % len(PAIRS)]
    return prediction if source is Source.PREDICTION else label
