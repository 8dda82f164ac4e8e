"""`dale metrics` and `Client.metrics`, as a job left them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

from service.api.dependencies import Context
from service.cli import app
from service.client import Client
from service.db import jobs
from service.jobs.lifecycle import State
from tests.unit.service.test_held_out_api import EVALUATION
from workers.contract.request import JobSpec

KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"


@pytest.fixture
def command(url: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("DALE_API_KEY", KEY)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_metrics_are_shown(
    command: Callable[..., Result], add_dataset: Callable[..., str], context: Context, dale: Client
) -> None:
    with context.sessions.begin() as session:
        job = jobs.add_job(session, "job-1", JobSpec(dataset_id=add_dataset(5, held_out=3)))
    waiting = command("metrics", "job-1")
    assert waiting.exit_code == 2
    assert "there are no metrics: the job is not over" in waiting.output
    with context.sessions.begin() as session:
        job = jobs.lock_job(session, "job-1")
        assert job is not None
        job.state, job.evaluation = State.SUCCEEDED, EVALUATION.model_dump(mode="json")
    assert dale.metrics("job-1").evaluation == EVALUATION
    shown = command("metrics", "job-1")
    assert shown.exit_code == 0, shown.output
    assert "3 held-out samples in 2 groups" in shown.output
    row = r"HD95 \(px\) +│ 1 +│ 6.000 +│ 4.000 to 8.000 +│ 6.000 +│ 2.000 +│ 2 +│ 1"
    assert re.search(row, shown.output), shown.output
    assert re.search(r"1 +│ 0.1250 +│ 0.2500 +│ 10", shown.output)
    assert json.loads(command("metrics", "job-1", "--json").output)["evaluation"]["groups"] == 2
    assert command("metrics", "job-none").exit_code == 2
