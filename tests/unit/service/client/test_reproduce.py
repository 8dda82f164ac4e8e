from __future__ import annotations

import json
import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from service.api.dependencies import Context
from service.cli import app
from service.client import Client
from service.client.comparison import Outcome, compare, environment_differences, spearman
from service.db import jobs
from service.db.tables import DEFAULT_PROJECT
from tests.records import succeed
from workers.contract import keys
from workers.contract.environment import Environment
from workers.contract.request import JobSpec

from .conftest import KEY


def test_rank_correlation_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for ties in (2, 5, 1000):
        one, other = rng.integers(0, ties, (2, 40)).astype(float).tolist()
        assert spearman(one, other) == pytest.approx(spearmanr(one, other).statistic, abs=1e-12)
    assert spearman([1, 2, 3], [4, 5, 9]) == 1
    assert math.isnan(spearman([1, 1], [1, 2]))


def test_outcomes_are_compared_by_sample_and_metric_and_not_by_speed() -> None:
    before = Outcome({"dice": 0.5, "loss": 1.0, "samples_per_second": 9}, {"a": 0.1, "b": 0.9}, {"a": 0.2, "b": 0.8})
    assert compare(before, before).equal
    after = Outcome({"dice": 0.5, "loss": 1.25, "samples_per_second": 1}, {"b": 0.9, "a": 0.4}, {"b": 0.1, "a": 0.8})
    found = compare(before, after)
    assert (found.metrics, found.metric, found.samples, found.equal) == (0.25, "loss", 2, False)
    assert (found.confidence, found.rank_correlation) == (pytest.approx(0.3), -1)
    for other in (Outcome(before.metrics, {"a": 1}, {"a": 1}), Outcome({}, before.confidence, before.score)):
        with pytest.raises(ValueError, match="other"):
            compare(before, other)


def test_environments_are_told_apart(context: Context, scripted: ModuleType) -> None:
    spec = JobSpec(dataset_id="ds-1")
    found = []
    for changes in ({}, {"packages": {"torch": "2.9.1", "new": "1"}, "torch_build": "for\nothers", "commit": None}):
        scripted.write_environment(context.store, "job-1", 1, spec, **changes)
        found.append(Environment.model_validate_json(context.store.get(keys.environment("job-1", 1))))
    assert environment_differences(found[0], found[0]) == []
    assert environment_differences(*found) == [
        "code: 0.1.0 (c0ffee) -> 0.1.0",
        "build of torch: another",
        "package new: none -> 1",
        "package numpy: 2.0.0 -> none",
        "package torch: 2.9.0 -> 2.9.1",
    ]


def test_a_job_is_repeated_and_compared(
    dale: Client,
    url: str,
    finish_job: Callable[..., str],
    context: Context,
    scripted: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("DALE_API_KEY", KEY)

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(words))
        return done.exit_code, done.output

    first = finish_job("ds-a", "job-a", DEFAULT_PROJECT)
    code, said = run("reproduce", first)
    assert code == 0, said
    assert "Code, packages and hardware are as in what job-a, the newest job, ran in." in said
    (again,) = (job for job in dale.jobs() if job.id != first)
    assert (again.reproduces, again.name) == (first, "job-a again")
    assert again.spec == dale.job(first).spec.model_copy(update={"name": "job-a again"})
    code, said = run("compare", first, again.id)
    assert (code, "only what has succeeded" in said) == (2, True)

    with context.sessions.begin() as session:
        job = jobs.lock_job(session, again.id)
        assert job is not None
        jobs.begin_attempt(session, job, f"{again.id}-1")
    scripted.write_environment(context.store, again.id, 1, again.spec, python="3.12.1")
    for epoch in range(3):
        scripted.write_epoch(context.store, again.id, 1, epoch, 6)
    succeed(context, again.id)
    code, said = run("compare", first, again.id)
    assert code == 0, said
    assert "Python: 3.11.9 -> 3.12.1" in said
    assert "The results are equal: metrics by at most 0, confidences of 6 samples by at most 0" in said
    assert "rank correlation of the scores 1.0000" in said
    assert "Python: 3.11.9 -> 3.12.1" in run("reproduce", first)[1]  # known before, from the newest job
    assert json.loads(run("job", again.id, "--json")[1])["reproduces"] == first

    monkeypatch.setattr("service.client.comparison.EQUAL_WITHIN", -1.0)
    code, said = run("compare", first, again.id)
    assert (code, "The results differ" in said) == (4, True)
