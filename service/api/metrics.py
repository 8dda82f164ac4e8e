"""What Prometheus scrapes. It tells how busy a service is, so it wants a key unless the settings open it to all."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.dependencies import know_key
from service.api.problems import problems
from service.metrics import Metrics

router = APIRouter(tags=["health"])


@router.get("/metrics", response_class=PlainTextResponse)
def scrape(request: Request) -> Response:
    """Everything that is measured, in Prometheus' text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def install(app: FastAPI, metrics: Metrics, *, needs_key: bool) -> None:
    """Let `app` answer scrapes."""
    app.state.metrics = metrics
    if needs_key:
        app.include_router(router, dependencies=[Depends(know_key)], responses=problems(401))
    else:
        app.include_router(router)
