"""Models compared on the samples in common: the numbers against SciPy, the matching against versions that differ."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from fastapi.testclient import TestClient
from sqlalchemy import insert, select

from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import HeldOutSample, Sample
from service.jobs.lifecycle import State
from service.models.comparing import difference, interval, sign_p
from workers.contract.request import JobSpec

Model = Callable[..., str]


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def model(context: Context, add_dataset: Callable[..., str]) -> Model:
    """A model that was tested: `model(job_id, {name: Dice}, {name: mask})`, each over a dataset of its own."""

    def add(job_id: str, dice: dict[str, float], masks: dict[str, str] | None = None) -> str:
        dataset_id = add_dataset(["trained on", *dice], held_out=len(dice))
        with context.sessions.begin() as session:
            for row in session.scalars(select(Sample).where(Sample.dataset_id == dataset_id)):
                row.mask_sha256 = (masks or {}).get(row.name, "1") * 64
            job = jobs.add_job(session, job_id, JobSpec(dataset_id=dataset_id))
            for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
                jobs.set_state(session, job, state)
            scores = [
                {"job_id": job_id, "ordinal": ordinal, "name": name, "dice": value}
                for ordinal, (name, value) in enumerate(dice.items(), 1)
            ]
            if scores:
                session.execute(insert(HeldOutSample), scores)
        return job_id

    return add


def test_samples_are_matched_by_what_they_are(client: TestClient, model: Model) -> None:
    model("job-a", {"d": 0.1, "c": 0.2, "b": 0.3, "a": 0.4}, {"c": "2"})
    model("job-b", {"a": 0.9, "b": 0.2, "c": 0.9, "e": 0.9})  # another order, another mask of c
    answer = client.get("/v1/models:compare", params={"model": ["job-a", "job-b"]})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["pairs"] == [{"sample": "a", "dice": [0.4, 0.9]}, {"sample": "b", "dice": [0.3, 0.2]}]
    assert (found["samples"], [one["held_out"] for one in found["models"]]) == (2, [4, 4])
    assert [one["dice"] for one in found["models"]] == pytest.approx([0.35, 0.55])
    assert [one["dice_std"] for one in found["models"]] == pytest.approx([0.05, 0.35])  # as that of the job's metrics
    (apart,) = found["differences"]
    assert (apart["model"], apart["baseline"]) == ("job-b", "job-a")
    assert apart["dice"] == pytest.approx(0.2)
    assert (apart["better"], apart["worse"], apart["equal"], apart["sign_p"]) == (1, 1, 0, 1.0)
    assert apart["low"] <= apart["dice"] <= apart["high"]


def test_several_against_the_first(client: TestClient, model: Model) -> None:
    for job_id, value in (("job-a", 0.5), ("job-b", 0.25), ("job-c", 0.75)):
        model(job_id, {"a": value, "b": value})
    found = client.get("/v1/models:compare?model=job-b&model=job-c&model=job-a").json()
    assert [(one["model"], one["dice"], one["low"], one["high"]) for one in found["differences"]] == [
        ("job-c", 0.5, 0.5, 0.5),
        ("job-a", 0.25, 0.25, 0.25),
    ]


def test_what_cannot_be_compared(client: TestClient, model: Model) -> None:
    model("job-a", {"a": 0.5})
    model("job-b", {"a": 0.5}, {"a": "2"})
    model("job-c", {})
    for other, tested in (("job-b", "on 1 samples"), ("job-c", "on 0 samples")):
        answer = client.get(f"/v1/models:compare?model=job-a&model={other}")
        assert answer.status_code == 409
        assert "share no held-out sample" in answer.json()["detail"]
        assert tested in answer.json()["errors"][1]["reason"]
    for query, status in (("model=job-a&model=job-a", 422), ("model=job-a", 422), ("model=job-a&model=none", 404)):
        assert client.get(f"/v1/models:compare?{query}").status_code == status


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (3, 3), (9, 1), (40, 61), (700, 1300), (0, 5000)])
def test_the_sign_test_is_scipys(better: int, worse: int) -> None:
    expected = scipy.stats.binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert sign_p(better, worse) == pytest.approx(expected, rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("count", [30, 5000])
def test_the_interval_is_scipys(count: int) -> None:
    values = np.random.default_rng(3).beta(5, 2, count)
    other = values + np.random.default_rng(4).normal(0.02, 0.1, count)
    expected = scipy.stats.bootstrap(
        (other - values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    found = difference(other, values)
    assert found.low is not None and found.high is not None
    width = expected.high - expected.low
    assert found.low == pytest.approx(expected.low, abs=0.06 * width)
    assert found.high == pytest.approx(expected.high, abs=0.06 * width)
    assert difference(other, values) == found, "the same samples, the same interval"
    assert interval(values[:1]) == (None, None)
