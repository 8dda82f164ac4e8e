"""The application: its parts, its routes, and what surrounds every request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from service.api import audit, datasets, events, health, jobs, keys, models, overlays, problems, projects, samples
from service.api.dependencies import Context
from service.api.headers import NoSniff
from service.api.middleware import BodyLimit, RequestLog
from service.db import migrations
from service.db.session import open_database
from service.jobs.cluster import Cluster, Endpoint
from service.settings import Settings
from service.web import pages
from workers.contract.store import open_store


def open_context(settings: Settings) -> Context:
    """Open the database (brought to the newest shape) and the store."""
    database = open_database(settings.database_url)
    migrations.upgrade(database.engine)
    endpoint = None
    if settings.ray_address:
        token = settings.ray_token.get_secret_value() if settings.ray_token else None
        endpoint = Endpoint(settings.ray_address.rstrip("/"), token)
    return Context(settings, database, open_store(settings.store_url), Cluster(endpoint))


def create_app(settings: Settings, context: Context | None = None) -> FastAPI:
    """The HTTP service. It runs no jobs by itself: see `service.embedded` and `service.jobs.reconciler`."""
    context = context or open_context(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        context.database.close()

    app = FastAPI(
        title="DALE service",
        version=version("dale-service"),
        description="Trains lesion segmentation on labels of uneven quality, and tells which of them to look at.",
        lifespan=lifespan,
        responses=problems.problems(422),
    )
    app.state.context = context
    problems.install(app)
    app.add_middleware(BodyLimit, limit=settings.max_body_bytes, larger={"/v1/datasets": settings.max_upload_bytes})
    app.add_middleware(NoSniff)
    app.add_middleware(RequestLog)  # added last, so outermost
    for module in (health, datasets, jobs, events, samples, models, overlays, projects, keys, audit, pages):
        app.include_router(module.router)
    app.mount("/static", pages.static, name="static")
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Complete the OpenAPI document: routes refer to `Problem`, which no route returns by itself."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        if "Problem" not in schemas:
            problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
