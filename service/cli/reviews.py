"""The commands under `dale review`: what people decide about labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import JobId, Json, Key, Url, connect
from service.cli.sample_options import (
    Annotator,
    ConfidenceMax,
    ConfidenceMin,
    LabelClass,
    PredictedClass,
    Reason,
    Text,
    Verified,
)
from service.reviews.decisions import Decision, DecisionState, PaintBase

if TYPE_CHECKING:
    from service.resources.bulk_reviews import LabelOutcome
    from service.reviews.painted import Painted

app = typer.Typer(help="Decide about labels, and make the next version of it.", no_args_is_help=True)

Version = Annotated[str, typer.Argument(metavar="DATASET:V", help="A version, such as ds-…:1.")]
Sample = Annotated[str, typer.Argument(help="Name of a sample.")]
Note = Annotated[str, typer.Option(help="What others should know.")]


@app.command("list")
def list_reviews(
    version: Version,
    decision: Annotated[Decision | None, typer.Option(help="Only these.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List what is decided of a version's labels, and how far people agree."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        dataset, number = parsed(version)
        found = list(dale.reviews(dataset, number, decision=decision))
        agreements = dale.agreement(dataset, number)
    if as_json:
        terminal.say_json(found)
        return
    terminal.out().print(terminal.reviews_table(found))
    for pair in agreements:
        kappa = "" if pair.kappa is None else f", kappa {pair.kappa:.2f}"
        terminal.say(f"{pair.names[0]} and {pair.names[1]} agree on {pair.same} of {pair.both} labels{kappa}.")


@app.command("show")
def show_review(version: Version, sample: Sample, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Show what is decided of one label, and how that came about."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        found = dale.review(*parsed(version), sample)
    if as_json:
        terminal.say_json(found)
        return
    terminal.out().print(terminal.reviews_table([found]))
    for event in found.history:
        now = f"{'undone, now ' if event.undo else ''}{event.decision or 'undecided'}"
        terminal.say(f"{terminal.when(event.at)} {event.by}: {now}{f' ({event.note})' if event.note else ''}")


@app.command()
def decide(
    version: Version,
    sample: Sample,
    decision: Annotated[Decision, typer.Argument(help="What to put down.")],
    note: Note = "",
    job: Annotated[str | None, typer.Option(help="With corrected: take this job's prediction.")] = None,
    mask: Annotated[Path | None, typer.Option(help="With corrected: take the mask in this file.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Decide about a label; what somebody else decides at the same moment is not overwritten."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        dataset, number = parsed(version)
        seen = dale.review(dataset, number, sample).revision
        if mask is not None:
            if decision is not Decision.CORRECTED or job is not None:
                raise ValueError("--mask goes with corrected, and without --job")
            done = dale.correct_label(dataset, number, sample, mask, revision=seen, note=note)
        else:
            done = dale.decide(dataset, number, sample, decision, revision=seen, note=note, job_id=job)
    if as_json:
        terminal.say_json(done)
    else:
        terminal.say(f"{sample}: {done.decision}. Take it back: dale review undo {version} {sample}")


@app.command("decide-many")
def decide_many(
    job_id: JobId,
    decision: Annotated[Decision, typer.Argument(help="What to put down; corrected: take the job's predictions.")],
    worst: Annotated[int, typer.Option(min=1, help="About so many of the most doubted that match.")] = 20,
    text: Text = None,
    reason: Reason = None,
    annotator: Annotator = None,
    label_class: LabelClass = None,
    predicted_class: PredictedClass = None,
    verified: Verified = None,
    confidence_min: ConfidenceMin = None,
    confidence_max: ConfidenceMax = None,
    note: Note = "",
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Decide about the most doubted labels of which nothing is decided yet, all at once.

    With --json it prints what `dale review undo-many` takes to take all of it back.
    """
    from service.cli import sample_options, terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        wanted = sample_options.query(
            text,
            reason,
            DecisionState.UNDECIDED,
            annotator,
            label_class,
            predicted_class,
            verified,
            confidence_min,
            confidence_max,
        )
        labels: dict[int, int | None] = dict.fromkeys(dale.order(job_id, wanted).ordinals[:worst])
        _say_outcomes(dale.decide_many(job_id, labels, decision, note=note), len(labels), decision, as_json=as_json)


@app.command("undo-many")
def undo_many(
    job_id: JobId,
    file: Annotated[Path, typer.Argument(help="What `dale review decide-many --json` printed.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Take back what was decided about many labels; what somebody has decided since stays."""
    from pydantic import TypeAdapter

    from service.cli import terminal
    from service.resources.bulk_reviews import LabelOutcome
    from service.reviews.decisions import Outcome

    with terminal.expected_errors(), connect(url, key) as dale:
        told = TypeAdapter(list[LabelOutcome]).validate_json(file.read_bytes())
        labels: dict[int, int | None] = {one.ordinal: one.revision for one in told if one.outcome is Outcome.DONE}
        _say_outcomes(dale.undo_many(job_id, labels), len(labels), "undone", as_json=as_json)


def _say_outcomes(outcomes: Iterator[LabelOutcome], count: int, word: str, *, as_json: bool) -> None:
    """What became of many labels; what was done is told also where a later request fails."""
    from service.cli import terminal
    from service.reviews.decisions import Outcome

    told: list[LabelOutcome] = []
    try:
        told.extend(outcomes)
    finally:
        done = sum(one.outcome is Outcome.DONE for one in told)
        if as_json:
            terminal.say_json(told)
        else:
            terminal.say(f"{done} of {count} labels: {word}.")
            for one in told:
                if one.outcome is not Outcome.DONE:
                    why = one.fault or (f"{one.decision or 'undone'} by {one.by or 'somebody'} meanwhile")
                    terminal.say(f"{one.sample or one.ordinal}: {why}")


@app.command()
def paint(
    version: Version,
    sample: Sample,
    slices: Annotated[
        list[str],
        typer.Option("--slice", metavar="AXIS:NUMBER=FILE", help="Such as axial:12=slice.png; can be given again."),
    ],
    on: Annotated[PaintBase, typer.Option(help="What stays where no slice is given.")] = PaintBase.LABEL,
    job: Annotated[str | None, typer.Option(help="With --on prediction: whose.")] = None,
    note: Note = "",
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Correct the label of a volume by some slices of it, as PNG of class numbers (0: background)."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        dataset, number = parsed(version)
        painted = [_slice(text) for text in slices]
        seen = dale.review(dataset, number, sample).revision
        done = dale.paint_label(dataset, number, sample, painted, revision=seen, base=on, job_id=job, note=note)
    if as_json:
        terminal.say_json(done)
    else:
        terminal.say(f"{sample}: {done.decision}. Take it back: dale review undo {version} {sample}")


@app.command()
def undo(version: Version, sample: Sample, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Go back to what was decided of a label before."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        dataset, number = parsed(version)
        seen = dale.review(dataset, number, sample).revision
        now = dale.undo(dataset, number, sample, revision=seen)
    if as_json:
        terminal.say_json(now)
    else:
        terminal.say(f"{sample}: {now.decision or 'nothing is decided'}.")


@app.command()
def finish(
    version: Version,
    again: Annotated[str | None, typer.Option(metavar="JOB", help="Train on it as this job did.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Make the next version: corrected labels in their places, without what is excluded."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        dataset, number = parsed(version)
        done = dale.finish(dataset, number, again=again)
    if as_json:
        terminal.say_json(done)
        return
    made = done.version
    terminal.say(f"Dataset {dataset}, version {made.number}: {made.sample_count} samples.")
    terminal.say(
        f"{done.corrected} labels are corrected, {done.excluded} samples left out, {done.verified} labels verified."
    )
    if done.job:
        terminal.say(f"Job {done.job.id} trains on it: dale job {done.job.id} --follow")
    else:
        terminal.say(f"Train on it: dale train {dataset}:{made.number} --follow")


def _slice(text: str) -> Painted:
    from service.axes import Axis
    from service.reviews.painted import Painted

    place, _, path = text.partition("=")
    axis, _, number = place.partition(":")
    if axis not in set(Axis) or not number.isdecimal() or not path:
        raise ValueError(f"{text!r} names no slice; it looks like axial:12=slice.png")
    return Painted(Axis(axis), int(number), Path(path).read_bytes())


def parsed(version: str) -> tuple[str, int]:
    """Dataset and number of a version.

    Raises:
        ValueError: it is written otherwise.
    """
    dataset, _, number = version.partition(":")
    if not number.isdecimal() or not dataset:
        raise ValueError(f"{version!r} names no version; it looks like ds-…:1")
    return dataset, int(number)
