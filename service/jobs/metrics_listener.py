"""`/metrics` of a reconciler that is a process of its own, and so has no other address to be scraped at."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from service import tracing
from service.api import health, metrics, problems
from service.api.admission import Admission
from service.api.dependencies import Context
from service.api.middleware import RequestLog
from service.metrics import Metrics


def create_app(context: Context, measured: Metrics) -> FastAPI:
    """An application that tells how the reconciler is, and does nothing else."""
    app = FastAPI(title="DALE reconciler", openapi_url=None, telemetry=tracing.telemetry(None))
    app.state.context = context
    settings = context.settings
    app.state.admission = Admission(settings.requests_per_minute, settings.attempts_per_minute, measured)
    problems.install(app)
    app.add_middleware(RequestLog)
    app.include_router(health.router)
    metrics.install(app, measured, needs_key=not settings.metrics_open)
    return app


@contextmanager
def listening(context: Context, measured: Metrics) -> Iterator[None]:
    """Answer at `DALE_METRICS_LISTEN`, if it is set, until the block ends.

    An address that is taken is an error in the log and no reason to leave the jobs alone: the scrape fails, and tells.
    """
    address = context.settings.metrics_address
    if address is None:
        yield
        return
    host, port = address
    config = uvicorn.Config(
        create_app(context, measured), host=host, port=port, log_config=None, access_log=False, server_header=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
