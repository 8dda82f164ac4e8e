"""Samples by command and by client: chosen, counted, opened in a browser, decided about many at once."""

from __future__ import annotations

import json
import webbrowser
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.cli import app
from service.cli.sample_options import page_address
from service.client import Client, Refused
from service.client.queries import SampleQuery
from service.db.tables import JobSample, Sample
from service.reviews.decisions import Decision, DecisionState
from service.reviews.reasons import ReasonKind

Run = Callable[..., Result]


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DALE_API_KEY", "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1")
    return lambda *words: CliRunner().invoke(app, [*map(str, words)])


@pytest.fixture
def job(finished_job: str, context: Context) -> str:
    """A job over six samples; Ada drew those of even ordinals, and the labels of 0, 1, 2 are too wide."""
    with context.sessions.begin() as session:
        for ordinal in range(6):
            here = Sample.ordinal == ordinal
            session.execute(update(Sample).where(here).values(annotator="Bob" if ordinal % 2 else "Ada & co"))
            kind = "wide" if ordinal < 3 else "none"
            session.execute(update(JobSample).where(JobSample.ordinal == ordinal).values(reason_kind=kind))
    return finished_job


def test_samples_are_chosen_and_counted(run: Run, dale: Client, job: str) -> None:
    chosen = json.loads(run("samples", job, "--reason", "wide", "--annotator", "Ada & co", "--json").output)
    assert {row["ordinal"] for row in chosen} == {0, 2}
    wanted = SampleQuery(reason=ReasonKind.WIDE, annotator="Ada & co")
    assert {row.ordinal for row in dale.samples(job, wanted)} == set(dale.order(job, wanted).ordinals) == {0, 2}
    facets = dale.facets(job, SampleQuery(annotator="Bob"))
    assert (facets.total, facets.reasons[ReasonKind.WIDE], facets.reasons[ReasonKind.NONE]) == (3, 1, 2)
    assert json.loads(run("samples", job, "--annotator", "Bob", "--counts", "--json").output)["total"] == 3
    table = run("samples", job, "--counts").output
    assert "Ada & co" in table and "wide" in table and "not known" in table
    assert [card.annotator for card in dale.cards(job, [1, 0])] == ["Bob", "Ada & co"]
    assert run("samples", job, "--class", "2").exit_code == 2  # the dataset has one class
    assert run("samples", job, "--counts", "--open").exit_code == 2
    assert run("samples", job, "--held-out", "--reason", "wide").exit_code == 2


def test_the_review_page_opens_where_there_is_a_browser(
    run: Run, job: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or False)
    asked = run("samples", job, "--open", "--annotator", "Ada & co", "--decided", "undecided", "--not-verified")
    assert asked.exit_code == 0, asked.output
    assert opened == [asked.output.strip()]
    parts = urlsplit(opened[0])
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{url}/jobs/{job}/review"
    assert parse_qs(parts.query) == {"annotator": ["Ada & co"], "decision": ["undecided"], "verified": ["false"]}
    assert run("samples", "job-none", "--open").exit_code == 2 and len(opened) == 1
    classes = SampleQuery(predicted_class=2)
    assert page_address(url, "a/b", classes) == f"{url}/jobs/a%2Fb/review?class=prediction%3A2"
    with pytest.raises(ValueError, match="both"):
        page_address(url, job, SampleQuery(label_class=1, predicted_class=1))


def test_many_are_decided_and_taken_back(run: Run, dale: Client, job: str, tmp_path: Path) -> None:
    first = dale.order(job).ordinals
    assert (
        "2 of 2 labels: flagged" in run("review", "decide-many", job, "flagged", "--worst", 2, "--note", "look").output
    )
    again = run("review", "decide-many", job, "excluded", "--worst", 3, "--json")
    assert [row["ordinal"] for row in json.loads(again.output)] == first[2:5]  # what is decided already is passed over
    batch = tmp_path / "batch.json"
    batch.write_text(again.output)
    dale.decide("ds-pages", 1, json.loads(again.output)[0]["sample"], Decision.ACCEPTED, revision=1)
    back = run("review", "undo-many", job, batch)
    assert "2 of 3 labels: undone" in back.output and "accepted by tests meanwhile" in back.output
    flagged = dale.order(job, SampleQuery(decision=DecisionState.FLAGGED)).ordinals
    assert sorted(flagged) == sorted(first[:2])
    noted = dale.order(job, SampleQuery(text="LOOK")).ordinals
    assert sorted(noted) == sorted(first[:2])
    batch.write_text("{}")
    assert run("review", "undo-many", job, batch).exit_code == 2
    with pytest.raises(Refused):
        list(dale.decide_many("job-none", {0: None}, Decision.FLAGGED))
