"""Samples that look alike, through the API: read from the run's own tables, row by row."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import DEFAULT_PROJECT
from service.jobs.alike import NeighboursDamagedError, read_alike
from service.jobs.lifecycle import State
from tests.review_jobs import alike, write_neighbours
from workers.contract import keys, tables
from workers.contract.request import ResultManifest

JOB = "job-alike"
RANKS = 2


@pytest.fixture
def job(finish_job: Callable[..., str], context: Context) -> str:
    """Six samples, of which each has three neighbours: the next, the one after it, and so on."""
    finish_job("ds-alike", JOB, DEFAULT_PROJECT)
    alike(context, JOB, 6, RANKS, near=3)
    return f"/v1/jobs/{JOB}/samples"


def test_neighbours_come_with_what_a_reviewer_must_know_of_them(client: TestClient, job: str) -> None:
    path = "/v1/datasets/ds-alike/versions/1/samples/case 2/review"
    client.put(path, json={"decision": "flagged"}, headers={"If-Match": "*"}).raise_for_status()
    found = client.get(f"{job}/case 1").json()
    alike = client.get(f"{job}/case 1/neighbours").json()
    assert (alike["sample"], alike["state"], alike["among"]) == ("case 1", "known", 6)
    near = alike["neighbours"]
    assert [one["ordinal"] for one in near] == [(found["ordinal"] + step) % 6 for step in (1, 2, 3)]
    assert [one["similarity"] for one in near] == pytest.approx([0.95, 0.9, 0.85])
    assert (near[0]["sample"], near[0]["decision"], near[0]["decided_by"]) == ("case 2", "flagged", "tests")
    for one in near:
        alone = client.get(f"{job}/{one['sample']}").json()
        assert {name: one[name] for name in alone} == alone
    assert client.get(f"{job}/nobody/neighbours").status_code == 404


def test_before_the_end_it_is_not_known_yet(client: TestClient, job: str, context: Context) -> None:
    for state, said in ((State.RUNNING, "not-yet"), (State.CANCELLED, "none"), (State.FAILED, "none")):
        with context.sessions.begin() as session:
            row = jobs.lock_job(session, JOB)
            assert row is not None
            row.state = state
        answer = client.get(f"{job}/case 1/neighbours").json()
        assert (answer["state"], answer["neighbours"], answer["among"]) == (said, [], 0)


def test_a_run_that_has_not_found_them_out_says_so(client: TestClient, job: str, context: Context) -> None:
    manifest = ResultManifest(job_id=JOB, attempt=1, epochs=3, metrics={}, files=[], predictions=True)
    context.store.put(keys.result_manifest(JOB), manifest.model_dump_json().encode())
    assert client.get(f"{job}/case 1/neighbours").json()["state"] == "none"


@pytest.mark.parametrize("damage", ["gone", "cut", "another table", "another rank's", "elsewhere"])
def test_damage_is_told_and_not_shown(client: TestClient, job: str, context: Context, damage: str) -> None:
    store, key = context.store, keys.neighbours(JOB, 0, RANKS)
    if damage == "gone":
        store.delete(key)
    elif damage == "cut":
        store.put(key, store.get(key)[:-20])
    elif damage == "another table":
        store.put(
            key,
            tables.to_parquet(pa.table({"ordinal": [0], "dice": [1.0], "classes": [None]}, schema=tables.TEST_SCORES)),
        )
    elif damage == "another rank's":
        store.put(key, store.get(keys.neighbours(JOB, 1, RANKS)))
    else:
        manifest = store.get(keys.result_manifest(JOB)).replace(key.encode(), b"datasets/ds-alike/versions/1.parquet")
        store.put(keys.result_manifest(JOB), manifest)
    broken = client.get(f"{job}/case 1/neighbours")  # number 2: of rank 0
    assert broken.status_code == 503 and JOB in broken.json()["detail"]
    if damage != "elsewhere":
        assert client.get(f"{job}/case 0/neighbours").json()["state"] == "known"


def test_of_a_large_shard_little_is_read(context: Context) -> None:
    count = 20 * tables.NEIGHBOURS_AT_ONCE
    rows = {n: {(n * 7919 + step) % count: 1 - step / 10 for step in range(8)} for n in range(count)}
    write_neighbours(context.store, JOB, rows, 1)
    read: list[int] = []

    class Counting:
        def get(self, key: str) -> bytes:
            return context.store.get(key)

        def read(self, key: str, start: int = 0, length: int | None = None) -> list[bytes]:
            data = b"".join(context.store.read(key, start, length))
            read.append(len(data))
            return [data]

    for ordinal in (0, tables.NEIGHBOURS_AT_ONCE, 3000, count - 1):
        read.clear()
        found = read_alike(Counting(), JOB, ordinal)  # type: ignore[arg-type]
        assert found is not None
        assert found.ordinals == [(ordinal * 7919 + step) % count for step in range(8)]
        assert sum(read) < 0.4 * context.store.size(keys.neighbours(JOB, 0, 1))
    with pytest.raises(NeighboursDamagedError):
        read_alike(context.store, JOB, count)
