"""Deleting a dataset: never one that a job names; rows and objects go, and what is left over is found later."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import event, func, select
from sqlalchemy.exc import IntegrityError

from service.api.dependencies import Context
from service.datasets.collecting import collect
from service.datasets.importing import Import
from service.db import datasets, jobs, uploads
from service.db.base import Base, now
from service.db.tables import DEFAULT_PROJECT, AuditEntry, DatasetVersion
from tests.records import put_upload
from workers.contract import keys
from workers.contract.request import JobSpec
from workers.contract.store import StoreUnavailable


@pytest.fixture
def database_url(both_databases: str) -> str:
    return both_databases


@pytest.fixture
def create(client: TestClient, upload: Any) -> Callable[[], str]:
    """Upload a dataset of three samples and make a second version of it."""

    def create() -> str:
        file = ("x.zip", upload.zip(upload.good(3)))
        dataset = client.post("/v1/datasets", files={"file": file}, data={"name": "lesions"}).json()["id"]
        changes = {"changes": (None, '{"exclude": ["case 0"]}')}
        assert client.post(f"/v1/datasets/{dataset}/versions", files=changes).status_code == 201
        return str(dataset)

    return create


def rows(context: Context) -> list[int]:
    """How many datasets, versions and samples there are."""
    with context.database.read() as session:
        return [
            session.scalar(select(func.count()).select_from(Base.metadata.tables[name])) or 0
            for name in ("datasets", "dataset_versions", "samples")
        ]


def test_rows_and_objects_go(create: Callable[[], str], client: TestClient, context: Context) -> None:
    gone, other = create(), create()
    kept = list(context.store.list(keys.dataset(other)))
    answer = client.delete(f"/v1/datasets/{gone}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert rows(context) == [1, 2, 5]
    assert list(context.store.list("")) == kept
    assert client.get(f"/v1/datasets/{gone}").status_code == client.delete(f"/v1/datasets/{gone}").status_code == 404
    with context.database.read() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "dataset.delete")).one()
    assert (entry.target, entry.details) == (gone, {"name": "lesions", "samples": 5, "versions": 2})


def test_a_dataset_with_jobs_stays(create: Callable[[], str], client: TestClient, context: Context) -> None:
    dataset = create()
    with context.sessions.begin() as session:
        jobs.add_job(session, "job-1", JobSpec(dataset_id=dataset, dataset_version=1))
    before, objects = rows(context), list(context.store.list(""))
    answer = client.delete(f"/v1/datasets/{dataset}")
    assert answer.status_code == 409
    assert [(error["field"], error["reason"]) for error in answer.json()["errors"]] == [
        ("jobs", "job-1 (QUEUED) is of version 1")
    ]
    assert (rows(context), list(context.store.list(""))) == (before, objects)


def test_a_job_posted_meanwhile_keeps_it(
    create: Callable[[], str], client: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = create()
    with context.sessions.begin() as session:
        jobs.add_job(session, "job-1", JobSpec(dataset_id=dataset))
    monkeypatch.setattr(datasets, "jobs_of", lambda *_: ([], 0))  # as seen before the job was there
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 409
    assert rows(context) == [1, 2, 5]


def test_a_failing_commit_keeps_the_objects(create: Callable[[], str], client: TestClient, context: Context) -> None:
    dataset = create()
    objects = list(context.store.list(""))

    def fail(_session: Any) -> None:
        raise RuntimeError("the disk is full")

    event.listen(context.sessions, "before_commit", fail)
    try:
        assert client.delete(f"/v1/datasets/{dataset}").status_code == 500
    finally:
        event.remove(context.sessions, "before_commit", fail)
    assert (rows(context), list(context.store.list(""))) == ([1, 2, 5], objects)


def test_what_a_failing_store_leaves_is_collected(
    create: Callable[[], str], client: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, other = create(), create()
    with monkeypatch.context() as broken:

        def fail(*_args: Any) -> None:
            raise StoreUnavailable("the store is away")

        broken.setattr(type(context.store), "delete", fail)
        assert client.delete(f"/v1/datasets/{dataset}").status_code == 204
        assert collect(context.database, context.store) == 0
    left = list(context.store.list(keys.dataset(dataset)))
    assert left
    context.store.put(keys.blob("ds-of-an-import", "0" * 64), b"no row yet")
    kept = len(list(context.store.list(""))) - len(left)
    assert collect(context.database, context.store) == len(left)
    assert len(list(context.store.list(""))) == kept, "other datasets and imports under way stay"
    assert collect(context.database, context.store) == 0
    assert client.get(f"/v1/datasets/{other}").status_code == 200


def imported_half(context: Context, dataset: str, silent: timedelta) -> None:
    """What an import leaves that dies before its rows are written."""
    context.store.put(keys.blob(dataset, "0" * 64), b"no row yet")
    context.store.put(keys.blob(dataset, "1" * 64), b"nor here")
    context.store.put(keys.importing(dataset), (now() - silent).isoformat().encode())


def test_imports_that_died_are_collected_and_those_under_way_never(
    create: Callable[[], str], client: TestClient, context: Context
) -> None:
    there = create()
    context.store.put(keys.importing(there), (now() - timedelta(days=9)).isoformat().encode())
    own = list(context.store.list(keys.dataset(there)))
    imported_half(context, "ds-dead", timedelta(hours=25))
    imported_half(context, "ds-alive", timedelta(hours=23))
    imported_half(context, "ds-0001", timedelta(hours=25))
    put_upload(context, "upl-0001", DEFAULT_PROJECT)  # can be completed again
    assert collect(context.database, context.store) == 2
    assert not list(context.store.list(keys.dataset("ds-dead")))
    assert all(len(list(context.store.list(keys.dataset(dataset)))) == 2 for dataset in ("ds-alive", "ds-0001"))
    assert list(context.store.list(keys.dataset(there))) == own
    assert list(context.store.list(keys.importing())) == [keys.importing("ds-0001"), keys.importing("ds-alive")]
    with context.sessions.begin() as session:
        session.delete(uploads.get(session, "upl-0001", None))
    assert collect(context.database, context.store) == 2
    assert client.get(f"/v1/datasets/{there}").status_code == 200


def test_an_import_is_marked_while_it_is_under_way(
    upload: Any, client: TestClient, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    record = Import.record

    def look(self: Import, *arguments: Any) -> Any:
        seen.append(list(context.store.list(keys.importing())))
        assert collect(context.database, context.store) == 0
        return record(self, *arguments)

    monkeypatch.setattr(Import, "record", look)
    file = ("x.zip", upload.zip(upload.good(2)))
    dataset = client.post("/v1/datasets", files={"file": file}, data={"name": "x"}).json()["id"]
    assert seen == [[keys.importing(dataset)]]
    assert not list(context.store.list(keys.importing()))
    assert len(list(context.store.list(keys.dataset(dataset)))) == 5


def test_no_version_without_a_dataset(create: Callable[[], str], client: TestClient, context: Context) -> None:
    dataset = create()
    assert client.delete(f"/v1/datasets/{dataset}").status_code == 204
    version = DatasetVersion(dataset_id=dataset, number=3, mask_values=[0, 255], warnings=[], layout="folders")
    with pytest.raises(IntegrityError), context.sessions.begin() as session:
        datasets.add_version(session, version, [])
