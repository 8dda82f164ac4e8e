"""Is it alive, and is it of use: for process supervisors and load balancers, so without a key."""

from __future__ import annotations

import httpx
from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from service import logging
from service.api.dependencies import Context, ContextDep
from service.resources.health import Health, Part, Readiness
from workers.contract.store import StoreUnavailable

log = logging.get(__name__)
router = APIRouter(tags=["health"])
PROBE_KEY = "health/probe"


@router.get("/healthz")
def healthz() -> Health:
    """Whether this process answers; asks no other part."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "a part does not answer; which one"}})
def readyz(context: ContextDep, response: Response) -> Readiness:
    """Whether database, store and Ray answer, each named."""
    database, store, ray = _database(context), _store(context), _ray(context)
    ready = database.ok and store.ok and ray.ok
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, database=database, store=store, ray=ray)


def _database(context: Context) -> Part:
    try:
        context.database.check()
    except SQLAlchemyError as error:
        # The driver's message names the address: for the log, not for the public answer.
        log.warning("database does not answer", error=str(error))
        return Part(ok=False, detail="the database does not answer; see the service's log")
    return Part(ok=True)


def _store(context: Context) -> Part:
    try:
        context.store.exists(PROBE_KEY)
    except StoreUnavailable as error:
        log.warning("store does not answer", error=str(error))
        return Part(ok=False, detail="the object store does not answer; see the service's log")
    return Part(ok=True)


def _ray(context: Context) -> Part:
    endpoint = context.cluster.endpoint
    if endpoint is None:
        return Part(ok=False, detail=context.cluster.problem)
    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
    try:
        httpx.get(f"{endpoint.url}/api/version", headers=headers, timeout=3).raise_for_status()
    except httpx.HTTPError as error:
        log.warning("ray does not answer", error=str(error))
        return Part(ok=False, detail="the Ray cluster does not answer; see the service's log")
    return Part(ok=True)
