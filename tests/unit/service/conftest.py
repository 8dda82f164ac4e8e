"""What tests of the reconciler and of what is measured share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from service.db import jobs
from service.jobs.reconciler import Reconciler
from service.metrics import Metrics
from tests.unit.service.fake_ray import SAMPLES, FakeRay
from tests.unit.service.scraping import Sample, parse
from workers.contract.request import JobSpec


@pytest.fixture
def ray(context: Context) -> Iterator[FakeRay]:
    """A cluster of four CPUs that the service has found."""
    fake = FakeRay()
    context.cluster.found(fake.endpoint)
    yield fake
    fake.server.shutdown()
    fake.server.server_close()


@pytest.fixture
def reconciler(context: Context, ray: FakeRay, metrics: Metrics) -> Reconciler:
    """The real one, before that cluster."""
    return Reconciler(context, metrics)


@pytest.fixture
def queue(context: Context, add_dataset: Callable[..., str]) -> Callable[..., str]:
    """Queue a job of two epochs over `SAMPLES` samples: `queue(**spec) -> job id`."""
    dataset_id = add_dataset(SAMPLES)
    numbers = iter(range(100))

    def queue(**spec: Any) -> str:
        job_id = f"job-{next(numbers):03}"
        with context.sessions.begin() as session:
            jobs.add_job(session, job_id, JobSpec(dataset_id=dataset_id, epochs=2, **spec))
        return job_id

    return queue


@pytest.fixture
def scrape(client: TestClient) -> Callable[[], Sample]:
    """Ask the application what it has measured: `scrape()(name, **labels)`."""

    def scrape() -> Sample:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        return parse(answer.text)

    return scrape
