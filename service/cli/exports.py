"""The commands `dale export` and `dale import`: samples to other tools, and decisions back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import JobId, Json, Key, Url, connect
from service.cli.sample_options import (
    Annotator,
    ConfidenceMax,
    ConfidenceMin,
    DecisionIs,
    LabelClass,
    PredictedClass,
    Reason,
    ScoreMax,
    ScoreMin,
    Text,
    Verified,
)
from service.exports.kinds import Format, Source

Kind = Annotated[Format, typer.Option("--format", help="What the file is.")]


def export(
    job_id: JobId,
    kind: Kind,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    text: Text = None,
    reason: Reason = None,
    decided: DecisionIs = None,
    annotator: Annotator = None,
    label_class: LabelClass = None,
    predicted_class: PredictedClass = None,
    verified: Verified = None,
    confidence_min: ConfidenceMin = None,
    confidence_max: ConfidenceMax = None,
    score_min: ScoreMin = None,
    score_max: ScoreMax = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the most doubted first.")] = None,
    masks: Annotated[Source | None, typer.Option(help="With formats that show masks: whose (default: both).")] = None,
    all_masks: Annotated[bool, typer.Option("--all", help="With masks: also those nobody corrected.")] = False,
    image_root: Annotated[
        str | None, typer.Option(help="With label-studio: what the URL of each image begins with.")
    ] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Write a job's samples with scores and decisions to a file, the most doubted first; or corrected masks.

    The filters are those of `dale samples`.
    """
    from service.cli import sample_options, terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        wanted = sample_options.query(
            text,
            reason,
            decided,
            annotator,
            label_class,
            predicted_class,
            verified,
            confidence_min,
            confidence_max,
            score_min,
            score_max,
        )
        written = dale.export(
            job_id,
            kind,
            out,
            wanted=wanted,
            limit=limit,
            all_masks=all_masks,
            masks=masks,
            image_root=image_root,
        )
        terminal.say(str(written))


def import_decisions(
    job_id: JobId,
    file: Annotated[Path, typer.Argument(help="An export that was filled in.")],
    kind: Kind,
    force: Annotated[bool, typer.Option("--force", help="Also where somebody decided since the export.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Take decisions from a file: all of them, or none."""
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        done = dale.import_decisions(job_id, kind, file, force=force)
    if as_json:
        terminal.say_json(done)
    else:
        terminal.say(f"{done.decided} decided, {done.unchanged} unchanged, {done.undecided} lines without a decision.")
