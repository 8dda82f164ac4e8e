from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

from service.db import migrations
from service.db.session import open_database
from service.db.tables import Base, DatasetVersion, Sample


def test_migrated_schema_is_the_one_of_the_tables(both_databases: str) -> None:
    database = open_database(both_databases)
    migrations.upgrade(database.engine)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    # Autogenerate does not compare these two.
    found = inspect(database.engine)
    for table in Base.metadata.tables.values():
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
    assert set(inspect(database.engine).get_table_names()) == {"alembic_version", *Base.metadata.tables}
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
    migrations.downgrade(database.engine, "0001")
    with database.engine.connect() as connection:
        assert list(connection.execute(text("SELECT * FROM samples"))) == [("ds-1", 1, 0, "case", "a", "b", 8, 9, 0.5)]
    migrations.upgrade(database.engine)
    database.close()
