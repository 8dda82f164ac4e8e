"""A job for the formats of other tools."""

from __future__ import annotations

from types import ModuleType

import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from tests.unit.service.exports.drawn_jobs import tools_job


@pytest.fixture
def tools(client: TestClient, context: Context, scripted: ModuleType) -> str:
    """Id of the dataset of the job `drawn_jobs.JOB`."""
    return tools_job(client, context, scripted)
