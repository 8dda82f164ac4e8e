"""What can be decided about a label."""

from __future__ import annotations

from enum import StrEnum


class Decision(StrEnum):
    """What somebody who looked at a label thinks of it."""

    ACCEPTED = "accepted"  # it is right
    FLAGGED = "flagged"  # it is wrong, or not clear: somebody has to look again
    CORRECTED = "corrected"  # another mask is to take its place
    EXCLUDED = "excluded"  # the sample is to be left out

    @property
    def believes(self) -> bool:
        """Whether the label may stay as it is."""
        return self is Decision.ACCEPTED


class DecisionState(StrEnum):
    """What a label can be filtered by: undecided, or what was decided of it."""

    UNDECIDED = "undecided"
    ACCEPTED = Decision.ACCEPTED.value
    FLAGGED = Decision.FLAGGED.value
    CORRECTED = Decision.CORRECTED.value
    EXCLUDED = Decision.EXCLUDED.value


class PaintBase(StrEnum):
    """What slices are painted on: whose mask stays where none is painted."""

    LABEL = "label"
    PREDICTION = "prediction"  # of a job
    CORRECTION = "correction"  # that is in force now
    NOTHING = "nothing"  # background everywhere


class Outcome(StrEnum):
    """What became of a change."""

    DONE = "done"
    CONFLICT = "conflict"  # somebody has decided meanwhile
    NOTHING = "nothing"  # there is nothing to undo


class MaskKind(StrEnum):
    """Whose idea of the lesion it is."""

    LABEL = "label"  # that the job was trained on
    PREDICTION = "prediction"  # the network's, once the job has succeeded
    CORRECTION = "correction"  # that a reviewer put in the label's place
