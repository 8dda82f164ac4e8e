"""How confidences are spread, epoch by epoch, on both databases."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.db.histograms import evenly


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


def test_the_histogram_is_numpy_s(client: TestClient, finished_job: str, scripted: ModuleType) -> None:
    found = client.get(f"/v1/jobs/{finished_job}/histogram").json()
    assert (found["bins"], found["samples"]) == (10, 6)
    assert [entry["epoch"] for entry in found["epochs"]] == [0, 1, 2]
    for entry in found["epochs"]:
        values = [scripted.confidence(ordinal, entry["epoch"]) for ordinal in range(6)]
        assert entry["counts"] == np.histogram(values, bins=10, range=(0, 1))[0].tolist()


def test_a_large_job_is_counted_in_part(
    client: TestClient, finished_job: str, scripted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.db.histograms.MOST_SAMPLES", 3)
    monkeypatch.setattr("service.db.histograms.MOST_EPOCHS", 2)
    found = client.get(f"/v1/jobs/{finished_job}/histogram").json()
    assert found["samples"] == 3
    assert [entry["epoch"] for entry in found["epochs"]] == [0, 2]
    for entry in found["epochs"]:
        values = [scripted.confidence(ordinal, entry["epoch"]) for ordinal in (0, 2, 5)]
        assert entry["counts"] == np.histogram(values, bins=10, range=(0, 1))[0].tolist()


def test_evenly_holds_both_ends() -> None:
    assert evenly(0, 4) == []
    assert evenly(4, 4) == [0, 1, 2, 3]
    assert evenly(1_000_000, 1000)[::999] == [0, 999_999]
    assert len(set(evenly(1001, 1000))) == 1000
