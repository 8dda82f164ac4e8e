"""The HTTP service alone, for set-ups where the reconciler is a process of its own: `python deploy/serve_api.py`.

`dale serve` is both in one, and needs a data folder. This keeps nothing on its machine: database and store are named
by DALE_DATABASE_URL and DALE_STORE_URL, the Ray cluster by DALE_RAY_ADDRESS.
"""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from service import logging
from service.embedded import CannotServeError, let_in, server_options
from service.main import create_app, open_context
from service.metrics import Metrics
from service.settings import Settings
from service.tracing import TracingNotInstalledError


def build(settings: Settings) -> FastAPI:
    """The application, its database brought to the newest shape and its key let in.

    Raises:
        SystemExit: no cluster is named, others could reach the service without a key, or traces cannot be made.
    """
    if not settings.ray_address:
        raise SystemExit("DALE_RAY_ADDRESS must name the Jobs API of a Ray cluster, for example http://ray-head:8265")
    metrics = Metrics()
    context = open_context(settings, metrics)
    try:
        let_in(context)
        return create_app(settings, context, metrics)
    except (CannotServeError, TracingNotInstalledError) as error:
        raise SystemExit(str(error)) from error


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    settings = Settings()
    logging.configure(settings.log_level)
    uvicorn.run(
        build(settings),
        host=settings.host,
        port=settings.port,
        **server_options(settings),
    )


if __name__ == "__main__":
    main()
