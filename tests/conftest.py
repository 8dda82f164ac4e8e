"""Fixtures that every room's tests share."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy.engine import make_url
from starlette.routing import BaseRoute

from service.api.dependencies import Context
from service.db import access, jobs, migrations
from service.db.session import open_database
from service.db.tables import DEFAULT_PROJECT, Dataset, DatasetVersion, Sample
from service.main import create_app, open_context
from service.metrics import Metrics
from service.roles import Role
from service.settings import Settings
from tests import postgres
from tests.records import succeed
from tests.sharing import ByFile, starts_ray
from workers.contract import keys
from workers.contract.request import JobSpec
from workers.contract.tables import TEST, VALIDATION

API_KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
SCRIPTED_WORKER = Path(__file__).parent / "integration" / "scripted_worker.py"


def pytest_configure() -> None:
    """One thread of torch and BLAS for each process, as several may run."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest and stays in one process."""
    items.sort(key=lambda item: not starts_ray(item.nodeid))


@pytest.hookimpl(optionalhook=True)  # absent where xdist is switched off
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Share the tests out by file."""
    return ByFile(config, log)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A SQLite database as `context` needs it, empty for others. Tests of queries override this by `both_databases`."""
    return _sqlite_database(request, tmp_path)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def both_databases(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind: empty, unless the test asks for `context`, which would only migrate it."""
    if request.param == "sqlite":
        yield _sqlite_database(request, tmp_path)
        return
    server = request.getfixturevalue("postgres_server")
    template = request.getfixturevalue("postgres_template") if "context" in request.fixturenames else None
    with postgres.new_database(server, template) as url:
        yield url


def _sqlite_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / "data" / "dale.db"
    if "context" in request.fixturenames:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database that tests copy: the migrations take longer than most tests."""
    path = tmp_path_factory.mktemp("template") / "dale.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """The same of PostgreSQL: name of a database."""
    with postgres.new_database(postgres_server) as url:
        _migrate(url)
        name = make_url(url).database
        assert name is not None
        yield name


def _migrate(url: str) -> None:
    database = open_database(url)
    migrations.upgrade(database.engine)
    database.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server, started for the session."""
    with postgres.server() as url:
        yield url


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """An embedded service in a folder of its own; no Ray."""
    return Settings(data_dir=tmp_path / "data", database_url=database_url, network_check=False)


@pytest.fixture
def metrics() -> Metrics:
    """What that service measures."""
    return Metrics()


@pytest.fixture
def context(settings: Settings, metrics: Metrics) -> Iterator[Context]:
    """Database (migrated) and store of that service; the operator's key is let in."""
    context = open_context(settings, metrics)
    with context.sessions.begin() as session:
        if not access.known(session, API_KEY):  # some tests share a database
            access.add_key(session, API_KEY, name="tests", role=Role.ADMIN, project_id=None, created_by="tests")
    yield context
    context.database.close()


@pytest.fixture
def app(context: Context, metrics: Metrics, known_routes: dict[int, BaseRoute]) -> FastAPI:
    """The application, with production middleware and handlers."""
    app = create_app(context.settings, context, metrics)
    routes = app.router.routes
    for place, route in enumerate(routes):
        if (router := getattr(route, "original_router", None)) is not None:
            routes[place] = known_routes.setdefault(id(router), route)
    return app


@pytest.fixture(scope="session")
def known_routes() -> dict[int, BaseRoute]:
    """What the first application includes, by router: each router is a module's, and the same for every application.

    At its first request an application reads the signatures of all its endpoints, which takes longer than most tests.
    """
    return {}


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A caller with a valid key; unexpected errors are answered, as in production, not raised."""
    with TestClient(app, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {API_KEY}"
        yield client


@pytest.fixture
def stranger(app: FastAPI) -> TestClient:
    """A caller without a key."""
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture
def add_dataset(context: Context) -> Callable[..., str]:
    """Put a dataset version into the database, without files: `add_dataset(names) -> dataset id`.

    The last `held_out` of its samples are not trained on, nor are the `validation` before them.
    """

    def add(
        names: list[str] | int = 6, project_id: str = DEFAULT_PROJECT, held_out: int = 0, validation: int = 0
    ) -> str:
        names = [f"case_{number:03}" for number in range(names)] if isinstance(names, int) else names
        dataset_id = f"ds-{secrets.token_hex(8)}"
        trained = len(names) - held_out - validation
        splits = [None] * trained + [VALIDATION] * validation + [TEST] * held_out
        with context.sessions.begin() as session:
            session.add(Dataset(id=dataset_id, project_id=project_id, name="lesions"))
            session.flush()
            session.add(
                DatasetVersion(
                    dataset_id=dataset_id,
                    number=1,
                    sample_count=len(names),
                    train_count=trained,
                    validation_count=validation,
                    mask_values=[0, 255],
                    warnings=[],
                )
            )
            session.flush()
            session.add_all(
                Sample(
                    dataset_id=dataset_id,
                    version=1,
                    ordinal=ordinal,
                    name=name,
                    image_sha256="0" * 64,
                    mask_sha256="1" * 64,
                    width=64,
                    height=48,
                    foreground=0.25,
                    split=splits[ordinal],
                )
                for ordinal, name in enumerate(names)
            )
        return dataset_id

    return add


@pytest.fixture(scope="session")
def scripted() -> ModuleType:
    """The scripted worker's functions: they write what a training run writes."""
    spec = importlib.util.spec_from_file_location("scripted_worker", SCRIPTED_WORKER)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scripted_worker"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def scripted_command() -> tuple[str, ...]:
    """The scripted worker as `worker_command`, for datasets of six samples."""
    return (sys.executable, str(SCRIPTED_WORKER), "--count", "6")


@pytest.fixture
def finished_job(finish_job: Callable[..., str]) -> str:
    """Id of a job that has succeeded over six real images, one of them with a hostile name; every third is doubted."""
    return finish_job("ds-pages", "job-pages", DEFAULT_PROJECT)


@pytest.fixture
def finish_job(context: Context, scripted: ModuleType) -> Callable[..., str]:
    """Make such a job, with its dataset, in a project: `finish_job(dataset_id, job_id, project_id) -> job id`."""
    return partial(_finish_job, context, scripted)


def _finish_job(context: Context, scripted: ModuleType, dataset_id: str, job_id: str, project_id: str) -> str:
    names = ['<b>bold & "x"', *(f"case {number}" for number in range(5))]
    y, x = np.mgrid[:48, :64]
    samples = []
    for ordinal, name in enumerate(names):
        disc = (y - 24) ** 2 + (x - 20 - 4 * ordinal) ** 2 < 100
        image = np.where(disc[..., None], (190, 110, 90), (120, 70, 60)).astype(np.uint8)
        label = np.roll(disc, 20, axis=1) if ordinal % 3 == 0 else disc
        blobs = [png(image), png(label.astype(np.uint8) * 255)]
        hashes = [hashlib.sha256(blob).hexdigest() for blob in blobs]
        for sha256, blob in zip(hashes, blobs, strict=True):
            context.store.put(keys.blob(dataset_id, sha256), blob)
        context.store.put(keys.prediction(job_id, ordinal), png(disc.astype(np.uint8)))
        context.store.put(keys.doubt_map(job_id, ordinal), png((disc != label)[::2, ::2].astype(np.uint8) * 200))
        samples.append(
            Sample(
                dataset_id=dataset_id,
                version=1,
                ordinal=ordinal,
                name=name,
                image_sha256=hashes[0],
                mask_sha256=hashes[1],
                width=64,
                height=48,
                foreground=float(label.mean()),
            )
        )
    with context.sessions.begin() as session:
        session.add(Dataset(id=dataset_id, project_id=project_id, name="<script>alert(1)</script>"))
        session.flush()
        version = {"sample_count": 6, "mask_values": [0, 255], "warnings": []}
        session.add(DatasetVersion(dataset_id=dataset_id, number=1, **version))
        session.flush()
        session.add_all(samples)
        session.flush()
        spec = JobSpec(dataset_id=dataset_id, epochs=3)
        job = jobs.add_job(session, job_id, spec)
        jobs.begin_attempt(session, job, f"{job_id}-1")
    scripted.write_environment(context.store, job_id, 1, spec)
    for epoch in range(3):
        scripted.write_epoch(context.store, job_id, 1, epoch, 6)
    succeed(context, job_id)
    return job_id


def png(array: np.ndarray) -> bytes:
    """Encode an array as PNG."""
    sink = io.BytesIO()
    Image.fromarray(array).save(sink, "PNG")
    return sink.getvalue()
