"""`dale sample`: one sample with all that is around it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.api.dependencies import Context
from service.cli import app
from service.client import Client, Refused
from service.reviews.decisions import Decision
from tests.review_jobs import alike


def test_one_sample_by_command_and_by_client(
    url: str, dale: Client, finished_job: str, context: Context, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DALE_API_KEY", "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1")
    dale.decide("ds-pages", 1, "case 2", Decision.FLAGGED, revision=0)
    without = CliRunner().invoke(app, ["sample", finished_job, "case 2"])
    assert without.exit_code == 0, without.output
    assert "was not found out by this job" in without.output

    alike(context, finished_job, 6, near=3)
    told = CliRunner().invoke(app, ["sample", finished_job, "case 1"])
    assert told.exit_code == 0, told.output
    assert "of 6 samples" in told.output and "flagged" in told.output
    report = json.loads(CliRunner().invoke(app, ["sample", finished_job, "case 1", "--json"]).output)
    assert report["sample"]["sample"] == "case 1"
    assert [one["job_id"] for one in report["jobs"]] == [finished_job]
    assert [one["sample"] for one in report["neighbours"]["neighbours"]] == ["case 2", "case 3", "case 4"]
    assert report["annotations"]["others"] == []

    assert [one.job_id for one in dale.over_jobs(finished_job, "case 1")] == [finished_job]
    assert dale.neighbours(finished_job, "case 1").neighbours[0].decision is Decision.FLAGGED
    assert dale.annotations("ds-pages", 1, "case 1").annotator is None
    assert [row.sample for row in dale.reviews("ds-pages", 1, split="train")] == ["case 2"]
    assert list(dale.reviews("ds-pages", 1, split="test")) == []
    assert CliRunner().invoke(app, ["sample", finished_job, "nobody"]).exit_code == 2
    with pytest.raises(Refused):
        dale.neighbours(finished_job, "nobody")
