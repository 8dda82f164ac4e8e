"""One sample by command: what its job and others believe, which samples look alike, who else drew it."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from service.cli.options import JobId, Json, Key, Url, connect

MOST_JOBS = 20


def sample(
    job_id: JobId,
    name: Annotated[str, typer.Argument(metavar="SAMPLE", help="Name of a sample.")],
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Show one sample.

    What the job believes of its label, what earlier and later jobs believed, samples that look alike, and other
    annotators' masks of the same image.
    """
    from service.cli import terminal

    with terminal.expected_errors(), connect(url, key) as dale:
        from service.cli import sample_tables as tables

        spec = dale.job(job_id).spec
        report = tables.SampleReport(
            sample=dale.sample(job_id, name),
            jobs=list(islice(dale.over_jobs(job_id, name), MOST_JOBS)),
            neighbours=dale.neighbours(job_id, name),
            annotations=dale.annotations(spec.dataset_id, spec.dataset_version, name),
        )
    if as_json:
        terminal.say_json(report)
        return
    out = terminal.out()
    out.print(terminal.samples_table([report.sample]))
    terminal.say("\nOver the jobs of its dataset, newest first:")
    out.print(tables.over_jobs_table(report.jobs, job_id))
    if report.neighbours.neighbours:
        terminal.say(f"\nThese look most alike, of {report.neighbours.among} samples:")
        out.print(tables.neighbours_table(report.neighbours.neighbours))
    else:
        terminal.say("\n" + tables.WITHOUT_NEIGHBOURS[report.neighbours.state])
    if report.annotations.others:
        terminal.say(f"\nThe same image, drawn by others (this one by {report.annotations.annotator}):")
        out.print(tables.annotations_table(report.annotations.others))
