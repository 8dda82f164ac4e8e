"""The application: its parts, its routes, and what surrounds every request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from service import tracing
from service.api import (
    agreement,
    attempts,
    audit,
    bulk_reviews,
    class_masks,
    dataset_overlays,
    datasets,
    deletion,
    events,
    exports,
    finishing,
    grid,
    health,
    held_out,
    histograms,
    jobs,
    keys,
    maps,
    metrics,
    model_cards,
    model_comparison,
    model_files,
    models,
    neighbours,
    other_masks,
    over_jobs,
    overlays,
    painting,
    predicting,
    prediction_jobs,
    problems,
    projects,
    reviews,
    samples,
    uploads,
    versions,
)
from service.api.admission import Admission
from service.api.dependencies import Context
from service.api.headers import NoSniff
from service.api.middleware import BodyLimit, RequestLog, RequestMetrics
from service.datasets.part_sizes import LARGEST_PART
from service.db import migrations
from service.db.session import open_database
from service.jobs.census import Census
from service.jobs.cluster import Cluster, Endpoint
from service.measured_store import MeasuredStore
from service.metrics import Metrics
from service.predictions.predictor import Predictor
from service.resources.painting import PaintedSlices
from service.resources.problems import Problem
from service.settings import Settings
from service.web import dataset_pages, job_pages, model_pages, pages, review_pages
from workers.contract.store import open_store


def open_context(settings: Settings, measured: Metrics | None = None) -> Context:
    """Open the database (brought to the newest shape) and the store; both are measured from then on."""
    measured = measured or Metrics()
    database = open_database(settings.database_url)
    migrations.upgrade(database.engine)
    database.watch(measured.count_statement)
    endpoint = None
    if settings.ray_address:
        token = settings.ray_token.get_secret_value() if settings.ray_token else None
        endpoint = Endpoint(settings.ray_address.rstrip("/"), token)
    store = MeasuredStore(open_store(settings.store_url), measured)
    return Context(settings, database, store, Cluster(endpoint))


def create_app(settings: Settings, context: Context | None = None, measured: Metrics | None = None) -> FastAPI:
    """The HTTP service. It runs no jobs by itself: see `service.embedded` and `service.jobs.reconciler`.

    Args:
        settings: how it runs.
        context: its parts; they are opened if none are given.
        measured: what the context was opened with, so that `/metrics` tells of store and database too.

    Raises:
        TracingNotInstalledError: traces are asked for and cannot be made.
    """
    traces = tracing.open_provider()
    measured = measured or Metrics()
    context = context or open_context(settings, measured)
    measured.registry.register(Census(context.database))
    if traces is not None:
        tracing.trace_statements(context.database, traces)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        context.database.close()
        if traces is not None:
            traces.shutdown()

    app = FastAPI(
        title="DALE service",
        version=version("dale-service"),
        description="Trains lesion segmentation on labels of uneven quality, and tells which of them to look at.",
        lifespan=lifespan,
        responses=problems.problems(422),
        telemetry=tracing.telemetry(traces),
    )
    app.state.context = context
    app.state.admission = Admission(settings.requests_per_minute, settings.attempts_per_minute, measured)
    app.state.predictor = Predictor(context.store, settings.predictions, settings.import_limits, measured)
    problems.install(app)
    larger = {
        "/v1/datasets*": settings.max_upload_bytes,
        "/v1/uploads/*": LARGEST_PART,
        "/v1/jobs/*/import": exports.MAX_IMPORT_BYTES,
        "/v1/models/*:predict": settings.predictions.max_body_bytes,
    }
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, larger=larger)
    app.add_middleware(NoSniff)
    app.add_middleware(RequestMetrics, metrics=measured)
    app.add_middleware(RequestLog)  # added last, so outermost
    for module in (
        health,
        datasets,
        deletion,
        versions,
        reviews,
        bulk_reviews,
        agreement,
        other_masks,
        painting,
        finishing,
        uploads,
        jobs,
        attempts,
        events,
        exports,
        samples,
        over_jobs,
        neighbours,
        held_out,
        grid,
        class_masks,
        histograms,
        models,
        predicting,
        prediction_jobs,
        model_files,
        model_cards,
        model_comparison,
        overlays,
        maps,
        dataset_overlays,
        projects,
        keys,
        audit,
        dataset_pages,
        job_pages,  # /jobs/new before /jobs/{job_id}
        model_pages,
        pages,
        review_pages,
    ):
        app.include_router(module.router)
    metrics.install(app, measured, needs_key=not settings.metrics_open)
    app.mount("/static", pages.static, name="static")
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Complete the OpenAPI document: routes refer to models that FastAPI sees in no signature."""
    generate = app.openapi
    (limited,) = problems.problems(429).values()

    def openapi() -> dict[str, Any]:
        schema = generate()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        for model in (Problem, PaintedSlices):
            if model.__name__ not in schemas:
                described = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(described.pop("$defs", {}))
                schemas[model.__name__] = described
        for operation in (one for path in schema["paths"].values() for one in path.values()):
            if "security" in operation:  # whatever asks for a key has a limit
                operation["responses"].setdefault("429", limited)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
