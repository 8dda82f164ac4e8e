"""The command `dale samples`: which labels to look at."""

from __future__ import annotations

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


def list_samples(
    job_id: JobId,
    worst: Annotated[int, typer.Option(min=1, help="So many of the most doubted.")] = 20,
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
    counts: Annotated[bool, typer.Option("--counts", help="How many there are of each kind instead.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Show them in the browser instead.")] = False,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Those that were not trained on, that with the lowest Dice first.")
    ] = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List the most doubted labels.

    These are the samples to look at first.
    """
    from itertools import islice

    from service.cli import sample_options, terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        if held_out + counts + open_page > 1:
            raise ValueError("--held-out, --counts and --open go one at a time")
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
        if held_out:
            if wanted.parameters():
                raise ValueError("nothing is doubted of what is held out: leave the filters out")
            tested = list(islice(dale.held_out(job_id), worst))
        elif counts:
            facets = dale.facets(job_id, wanted)
            terminal.say_json(facets) if as_json else terminal.out().print(terminal.facets_table(facets))
            return
        elif open_page:
            dale.job(job_id)  # so that a wrong id is said here
            _open(sample_options.page_address(dale.url, job_id, wanted))
            return
        else:
            found = list(islice(dale.samples(job_id, wanted, page_size=min(worst, 500)), worst))
    if as_json:
        terminal.say_json(tested if held_out else found)
    else:
        terminal.out().print(terminal.held_out_table(tested) if held_out else terminal.samples_table(found))


def _open(address: str) -> None:
    """Show a page in the browser; where there is none, its address is there to be taken elsewhere."""
    import webbrowser

    typer.echo(address)
    webbrowser.open(address)
