from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, MetaData, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.actions import Action
from service.db import access, audit, datasets, jobs, migrations, models
from service.db.session import open_database
from service.db.tables import DEFAULT_PROJECT, Dataset, DatasetVersion, IdempotencyKey, Job, Sample, TrainedModel
from service.jobs.tasks import Task
from service.roles import SERVICE, Role
from workers.contract.prediction import PredictSpec


def test_migrated_schema_is_the_one_of_the_tables(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Job.metadata) == []
    # Autogenerate does not compare these two.
    found = inspect(database.engine)
    for table in Job.metadata.tables.values():
        assert found.get_pk_constraint(table.name)["constrained_columns"] == [c.name for c in table.primary_key]
        keys = {tuple(key["constrained_columns"]) for key in found.get_foreign_keys(table.name)}
        assert keys == {tuple(c.name for c in key.columns) for key in table.foreign_key_constraints}
    database.close()


def test_up_down_up(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine)
    migrations.upgrade(database.engine)  # at every start
    migrations.downgrade(database.engine, "base")
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version"}
    migrations.upgrade(database.engine)
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version", *Job.metadata.tables}
    database.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'dale.db'}")
    from alembic.operations import Operations

    original = Operations.create_table

    def create(self: Operations, name: str, *args: object, **options: object) -> object:
        if name == "job_samples":
            raise RuntimeError("power cut")
        return original(self, name, *args, **options)

    monkeypatch.setattr(Operations, "create_table", create)
    with pytest.raises(RuntimeError, match="power cut"):
        migrations.upgrade(database.engine)
    monkeypatch.undo()
    assert inspect(database.engine).get_table_names() == []
    migrations.upgrade(database.engine)
    database.close()


AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
# One row of each table at 0001 that 0002 changes or that refers to one which it changes.
FIRST_ROWS: dict[str, list[dict[str, object]]] = {
    "api_keys": [
        {"id": "first", "sha256": "1" * 64, "name": "made at the first start", "created_at": AT},
        {"id": "environment", "sha256": "2" * 64, "name": "DALE_API_KEY", "created_at": AT},
        {"id": "session-1", "sha256": "3" * 64, "name": "browser session", "created_at": AT, "expires_at": AT},
    ],
    "datasets": [{"id": "ds-1", "name": "lesions", "created_at": AT}],
    "dataset_versions": [
        {
            "dataset_id": "ds-1",
            "number": 1,
            "sample_count": 1,
            "mask_values": [0, 255],
            "warnings": [],
            "created_at": AT,
        }
    ],
    "jobs": [
        {
            "id": "job-1",
            "name": "first",
            "state": "SUCCEEDED",
            "waiting_for": "",
            "spec": {"dataset_id": "ds-1"},
            "dataset_id": "ds-1",
            "dataset_version": 1,
            "attempt": 1,
            "epochs_done": 2,
            "metrics": {"loss": 0.5},
            "created_at": AT,
        }
    ],
    "events": [{"job_id": "job-1", "kind": "state", "data": {"state": "QUEUED"}, "created_at": AT}],
    "idempotency_keys": [
        {"key": "k-1", "request_sha256": "0" * 64, "status": 202, "body": {"id": "job-1"}, "created_at": AT}
    ],
}


def rows_of(engine: Engine) -> dict[str, list[dict[str, object]]]:
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        return {
            name: sorted((dict(row._mapping) for row in connection.execute(select(metadata.tables[name]))), key=str)
            for name in FIRST_ROWS
        }


def without_new_columns(rows: dict[str, list[dict[str, object]]]) -> dict[str, list[dict[str, object]]]:
    new = {"project_id", "owner", "role", "created_by", "revoked_at", "last_used_at"}
    return {
        name: [{column: value for column, value in row.items() if column not in new} for row in table]
        for name, table in rows.items()
    }


def test_rows_survive_the_way_to_projects_and_back(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine, "0001")
    metadata = MetaData()
    metadata.reflect(database.engine)
    with database.write.begin() as session:
        for name, rows in FIRST_ROWS.items():
            session.execute(insert(metadata.tables[name]), rows)
    before = rows_of(database.engine)
    before["api_keys"] = [row for row in before["api_keys"] if row["id"] != "session-1"]  # signs in anew

    migrations.upgrade(database.engine, "0002")
    after = rows_of(database.engine)
    assert without_new_columns(after) == before
    assert [row["project_id"] for name in ("datasets", "jobs") for row in after[name]] == [DEFAULT_PROJECT] * 2
    assert {(row["id"], row["created_by"]) for row in after["api_keys"]} == {
        ("first", "service"),
        ("environment", "environment"),
    }
    assert {(row["role"], row["project_id"]) for row in after["api_keys"]} == {("admin", None)}
    assert [row["owner"] for row in after["idempotency_keys"]] == ["environment"]
    with database.write.begin() as session:  # no later row lands in a project, or gets a role, unasked
        for statement in (
            "INSERT INTO datasets (id, name, created_at) VALUES ('ds-2', 'x', CURRENT_TIMESTAMP)",
            "INSERT INTO api_keys (id, sha256, name, created_at, created_by) "
            "VALUES ('x', 'x', 'x', CURRENT_TIMESTAMP, 'x')",
        ):
            with pytest.raises(IntegrityError), session.begin_nested():
                session.execute(text(statement))
    with database.write.begin() as session:
        access.add_key(session, "p", name="p", role=Role.READ, project_id=DEFAULT_PROJECT, created_by="first")
        session.add(IdempotencyKey(owner="other", key="k-2", request_sha256="0" * 64, status=0))

    migrations.downgrade(database.engine, "0001")
    back = rows_of(database.engine)
    assert [row["id"] for row in back["api_keys"]] == ["environment", "first"]  # every key opens everything again
    assert [row["key"] for row in back["idempotency_keys"]] == ["k-1", "k-2"]
    back["idempotency_keys"] = back["idempotency_keys"][:1]
    assert back == before
    migrations.upgrade(database.engine)
    database.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET details = '{}'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit (id, at, key_id, key_name, action, target, details) "
        "SELECT id, at, key_id, 'somebody else', action, target, details FROM audit",
        "TRUNCATE audit",
    ],
)
def test_the_database_itself_keeps_the_audit_trail(both_databases: str, statement: str) -> None:
    database = open_database(both_databases)
    kind = database.engine.dialect.name
    if ("TRUNCATE" in statement and kind == "sqlite") or ("REPLACE" in statement and kind == "postgresql"):
        pytest.skip(f"{kind} does not know this statement")
    migrations.upgrade(database.engine)
    with database.write.begin() as session:
        audit.add(session, SERVICE, Action.KEY_CREATE, "key-1", None, name="first")
    with pytest.raises(DBAPIError, match="append-only"), database.write.begin() as session:
        session.execute(text(statement))
    with database.read() as session:
        assert [entry.key_name for entry in audit.oldest(session, None, audit.Filter(), 0, 9)] == ["dale serve"]
    database.close()


def test_a_migration_that_would_leave_rows_alone_in_the_world_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'dale.db'}")
    migrations.upgrade(database.engine)
    with database.write.begin() as session:
        session.add(Dataset(id="ds-1", project_id=DEFAULT_PROJECT, name="lesions"))

    def lose(config: object, revision: str) -> None:
        config.attributes["connection"].execute(text("DELETE FROM projects"))  # type: ignore[attr-defined]

    monkeypatch.setattr(migrations.command, "upgrade", lose)
    with pytest.raises(RuntimeError, match="refer to nothing"):
        migrations.upgrade(database.engine)
    with database.write.begin() as session:
        assert session.get(Dataset, "ds-1") is not None
        with pytest.raises(IntegrityError), session.begin_nested():  # and references are checked again
            session.execute(text("DELETE FROM projects"))
    database.close()


def test_datasets_from_before_volumes_are_folders_of_images(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine, "0001")
    with database.engine.execution_options(dale_writes=True).begin() as connection:
        at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
        connection.execute(text("INSERT INTO datasets VALUES ('ds-1', 'lesions', :at)"), {"at": at})
        connection.execute(
            text(
                "INSERT INTO dataset_versions (dataset_id, number, sample_count, mask_values, warnings, created_at)"
                " VALUES ('ds-1', 1, 1, '[0, 255]', '[]', :at)"
            ),
            {"at": at},
        )
        connection.execute(text("INSERT INTO samples VALUES ('ds-1', 1, 0, 'case', 'a', 'b', 8, 9, 0.5)"))
    migrations.upgrade(database.engine)
    with database.read() as session:
        (version,) = session.scalars(select(DatasetVersion))
        assert (version.layout, version.spatial_dims) == ("folders", 2)
        (sample,) = session.scalars(select(Sample))
        assert (sample.width, sample.height, sample.depth, sample.spacing) == (8, 9, None, None)
        assert (version.channels, sample.channels) == (None, None)
    migrations.downgrade(database.engine, "0001")
    with database.engine.connect() as connection:
        assert list(connection.execute(text("SELECT * FROM samples"))) == [("ds-1", 1, 0, "case", "a", "b", 8, 9, 0.5)]
    migrations.upgrade(database.engine)
    database.close()


def test_what_chose_an_epoch_counts_as_held_out_where_that_is_not_known(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine)
    row = {"image_sha256": "a", "mask_sha256": "b", "width": 8, "height": 9, "foreground": 0.5}
    with database.write.begin() as session:
        session.add(Dataset(id="ds-1", project_id=DEFAULT_PROJECT, name="lesions"))
        session.flush()
        samples = [
            {**row, "ordinal": place, "name": f"case {place}", "split": split}
            for place, split in enumerate([None, "validation", "test"])
        ]
        version = DatasetVersion(dataset_id="ds-1", number=1, mask_values=[0, 1], warnings=[])
        datasets.add_version(session, version, samples)
        assert (version.train_count, version.validation_count, version.test_count) == (1, 1, 1)

    def splits() -> list[str | None]:
        with database.engine.connect() as connection:
            return list(connection.scalars(text("SELECT split FROM samples ORDER BY ordinal")))

    assert splits() == [None, "validation", "test"]
    migrations.downgrade(database.engine, "0017")
    assert splits() == [None, "test", "test"]
    migrations.upgrade(database.engine)
    with database.read() as session:
        (found,) = session.scalars(select(DatasetVersion))
        assert (found.train_count, found.validation_count, found.test_count) == (1, 0, 2)
    database.close()


def test_jobs_from_before_retries_were_never_retried(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine, "0004")
    metadata = MetaData()
    metadata.reflect(database.engine)
    with database.write.begin() as session:
        for name in ("datasets", "dataset_versions", "jobs"):
            (row,) = FIRST_ROWS[name]
            project = {} if name == "dataset_versions" else {"project_id": DEFAULT_PROJECT}
            session.execute(insert(metadata.tables[name]), row | project)
    migrations.upgrade(database.engine)
    with database.read() as session:
        (job,) = session.scalars(select(Job))
        assert (job.id, job.attempt, job.attempts_before, job.retried_at, job.priority) == ("job-1", 1, 0, None, 0)
    before = rows_of(database.engine)["jobs"]
    migrations.downgrade(database.engine, "0004")
    migrations.upgrade(database.engine)
    assert rows_of(database.engine)["jobs"] == before
    database.close()


def test_samples_from_before_splits_are_all_trained_on(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine, "0005")
    metadata = MetaData()
    metadata.reflect(database.engine)
    with database.write.begin() as session:
        for name, new in (("datasets", {"project_id": DEFAULT_PROJECT}), ("dataset_versions", {"sample_count": 7})):
            for row in FIRST_ROWS[name]:
                session.execute(insert(metadata.tables[name]), row | new)
        session.execute(text("INSERT INTO samples VALUES ('ds-1', 1, 0, 'case', 'a', 'b', 8, 9, 0.5, NULL, NULL)"))
    migrations.upgrade(database.engine)
    with database.read() as session:
        (version,) = session.scalars(select(DatasetVersion))
        assert (version.sample_count, version.train_count) == (7, 7)
        (sample,) = session.scalars(select(Sample))
        assert (sample.group, sample.split, sample.annotator, sample.verified, sample.agreement) == (None,) * 5
    migrations.downgrade(database.engine, "0005")
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM samples")).scalar() == 1
    migrations.upgrade(database.engine)
    database.close()


def test_jobs_that_had_succeeded_get_their_models(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine, "0013")
    metadata = MetaData()
    metadata.reflect(database.engine)
    (job,) = FIRST_ROWS["jobs"]
    job = {**job, "project_id": DEFAULT_PROJECT, "attempts_before": 0}
    other: dict[str, object]
    with database.write.begin() as session:
        for name in ("datasets", "dataset_versions"):
            (row,) = FIRST_ROWS[name]
            new = {"train_count": 1} if name == "dataset_versions" else {"project_id": DEFAULT_PROJECT}
            session.execute(insert(metadata.tables[name]), row | new)
        for number, other in enumerate(
            ({"name": " polyps"}, {"name": ""}, {"name": "polyps"}, {"name": "polyps", "state": "FAILED"})
        ):
            finished = {"finished_at": datetime(2026, 1, 9 - number, tzinfo=UTC)}
            session.execute(insert(metadata.tables["jobs"]), job | {"id": f"job-{number}"} | finished | other)
    migrations.upgrade(database.engine)
    with database.write.begin() as session:
        found = {row.job_id: (row.series, row.number, row.stage) for row in session.scalars(select(TrainedModel))}
        assert found == {
            "job-2": ("polyps", 1, "none"),  # it was over first
            "job-0": ("polyps", 2, "none"),
            "job-1": ("lesions", 1, "none"),
        }
        row = session.get_one(Job, "job-3")
        row.state = "SUCCEEDED"
        assert models.register(session, row).number == 3
    migrations.downgrade(database.engine, "0013")
    migrations.upgrade(database.engine)
    database.close()


def test_jobs_from_before_tasks_train_and_predictions_go_with_them(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine, "0015")
    metadata = MetaData()
    metadata.reflect(database.engine)
    new = {"datasets": {"project_id": DEFAULT_PROJECT}, "dataset_versions": {"train_count": 1}}
    new["jobs"] = {"project_id": DEFAULT_PROJECT, "attempts_before": 0, "priority": 0}
    with database.write.begin() as session:
        for name, values in new.items():
            for row in FIRST_ROWS[name]:
                session.execute(insert(metadata.tables[name]), row | values)
    migrations.upgrade(database.engine)
    with database.write.begin() as session:
        (job,) = session.scalars(select(Job))
        assert job.task == Task.TRAIN
        spec = PredictSpec(model_id=job.id, dataset_id=job.dataset_id)
        predicted = jobs.add_job(session, "job-predicts", spec)
        jobs.begin_attempt(session, predicted, "job-predicts-1")
        assert predicted.task == Task.PREDICT
        kept = job.id
    migrations.downgrade(database.engine, "0015")
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM jobs")).scalars().all() == [kept]
    migrations.upgrade(database.engine)
    database.close()
