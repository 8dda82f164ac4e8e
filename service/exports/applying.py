"""From the lines of a tool's file to decisions: all that it says, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from service.actions import Action
from service.db import audit, exports, reviews
from service.db.tables import Job, Review, Sample
from service.errors import Conflict, FieldError, Invalid
from service.exports.rows import Placed
from service.reviews.decisions import Decision
from service.roles import Caller

AT_ONCE = 500  # names in one query
MOST_FAULTS = 1000  # told of one file
Found = dict[str, Sample]


@dataclass(frozen=True)
class Applied:
    """What became of the lines: `decided`, what holds already, and those that say nothing."""

    decided: int
    unchanged: int
    undecided: int


def match(session: Session, job: Job, lines: Sequence[Placed]) -> Found:
    """The sample of each line, by its name; reading only, so that nothing is locked meanwhile.

    Raises:
        Invalid: lines that are of no label of the job's dataset version, or come twice, each by its place.
    """
    found: Found = {}
    for some in _chunks(lines):
        names = [line.said.sample for line in some]
        found |= {name: row for name, (row, _) in exports.by_name(session, job, names).items()}
    faults = _twice(lines)
    faults += [fault for line in lines if (fault := _mismatch(line, found, job)) is not None]
    if faults:
        raise _refused(faults)
    return found


def apply(
    session: Session, job: Job, caller: Caller, lines: Sequence[Placed], found: Found, source: str, *, force: bool
) -> Applied:
    """Put down what the lines say; the commit is the caller's.

    Args:
        session: its transaction.
        job: whose dataset version they are about.
        caller: who decides.
        lines: of the file.
        found: the sample of each, as `match` gives them.
        source: the format, for the audit trail.
        force: also where somebody decided since the export.

    Raises:
        Invalid: corrections without a mask, each by its place.
        Conflict: labels that somebody decided about since the export.
        PreconditionFailed: somebody decides in this moment.
    """
    # Always in the order of names: of two imports at once the second waits for the first, and neither for ever.
    said = sorted((line for line in lines if line.said.decision is not None), key=lambda line: line.said.sample)
    faults: list[FieldError] = []
    conflicts: list[FieldError] = []
    decided = 0
    for line in said:
        row = found[line.said.sample]
        review = reviews.find(session, row, lock=True)
        if _holds(line, review):
            continue
        if line.said.decision is Decision.CORRECTED and line.new_mask_sha256 is None:
            hint = "send the mask, or take a prediction, on the review's own page"
            faults.append(FieldError(file=line.place, reason=f"{row.name}: a correction needs a mask", hint=hint))
            continue
        current = review.revision if review else reviews.NEVER
        if not force and line.said.revision != current:
            conflicts.append(_conflict(line, current, review))
        elif not faults and not conflicts:
            _put_down(session, job, caller, line, row, review, source)
            decided += 1
    if faults:
        raise _refused(faults)
    if conflicts:
        raise Conflict(
            f"{len(conflicts)} labels were decided about since the export; nothing was changed.",
            conflicts[:MOST_FAULTS],
        )
    return Applied(decided, len(said) - decided, len(lines) - len(said))


def _put_down(
    session: Session, job: Job, caller: Caller, line: Placed, row: Sample, review: Review | None, source: str
) -> None:
    decision = line.said.decision
    assert decision is not None  # noqa: S101 - the caller has passed over the others
    revision = review.revision if review else reviews.NEVER
    note = line.said.note if line.said.note is not None else review.note if review else ""
    reviews.decide(session, row, caller, revision, decision, new_mask_sha256=line.new_mask_sha256, note=note)
    facts = {"sample": row.name, "version": row.version, "decision": decision, "job": job.id, "import": source}
    audit.add(session, caller, Action.REVIEW_DECIDE, row.dataset_id, job.project_id, **facts)


def _holds(line: Placed, review: Review | None) -> bool:
    """Whether what a line says is in force already."""
    if review is None or review.decision != line.said.decision:
        return False
    if line.new_mask_sha256 not in {None, review.new_mask_sha256}:
        return False
    return line.said.note is None or line.said.note == review.note


def _twice(lines: Sequence[Placed]) -> list[FieldError]:
    seen: dict[str, str] = {}
    faults = []
    for line in lines:
        name = line.said.sample
        if name in seen:
            reason = f"{name}: was in {seen[name]} before"
            faults.append(FieldError(file=line.place, reason=reason, hint="keep one of them"))
        seen.setdefault(name, line.place)
    return faults


def _mismatch(line: Placed, found: Found, job: Job) -> FieldError | None:
    name = line.said.sample
    if name not in found:
        hint = "names are matched letter by letter; is it the job that was exported?"
        return FieldError(file=line.place, reason=f"version {job.dataset_version} has no sample {name!r}", hint=hint)
    if found[name].mask_sha256 != line.said.mask_sha256:
        hint = "the decision was about another label: export again, and look at this one"
        return FieldError(file=line.place, reason=f"{name}: its label has another sha256", hint=hint)
    return None


def _conflict(line: Placed, current: int, review: Review | None) -> FieldError:
    name = line.said.sample
    if line.said.revision is None:
        reason = f"{name}: the line has no revision, which says what was seen; now it is {current}"
    else:
        now = (review.decision if review else None) or "undecided"
        by = f" by {review.key_name}" if review else ""
        reason = f"{name}: was at revision {line.said.revision}, and is at {current} now ({now}{by})"
    return FieldError(file=line.place, reason=reason, hint="export again and look at it, or say force=true")


def _refused(faults: list[FieldError]) -> Invalid:
    return Invalid(f"{len(faults)} lines cannot be taken; nothing was changed.", faults[:MOST_FAULTS])


def _chunks(lines: Sequence[Placed]) -> Iterator[Sequence[Placed]]:
    return (lines[start : start + AT_ONCE] for start in range(0, len(lines), AT_ONCE))
