"""A job's events as they happen (SSE): persisted ones with ids, so that `Last-Event-ID` replays, and live progress."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse, ServerSentEvent

from service.api.dependencies import CallerDep, Context, ContextDep, require_key
from service.api.jobs import AnyJobDep
from service.api.problems import problems
from service.db import access, jobs
from service.db.tables import Event
from service.errors import BadRequest
from service.jobs.lifecycle import State
from service.roles import Caller

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], dependencies=[Depends(require_key)], responses=problems(401))
POLL_SECONDS = 0.7
BATCH = 500


def last_event_id(
    header: Annotated[
        str | None, Header(alias="Last-Event-ID", description="begin behind this event; empty: at the first")
    ] = None,
) -> int:
    """The id of the last event that the client has seen, 0 if none.

    Raises:
        BadRequest: it is none of ours.
    """
    if not header:
        return 0
    if not header.isascii() or not header.isdigit() or len(header) > 18:
        raise BadRequest(f"Last-Event-ID {header[:40]!r} is not the id of an event.")
    return int(header)


@router.get("/{job_id}/events", response_class=EventSourceResponse, responses=problems(400, 404))
async def watch_job(
    job: AnyJobDep, caller: CallerDep, context: ContextDep, seen: Annotated[int, Depends(last_event_id)]
) -> AsyncIterator[ServerSentEvent]:
    """Everything that happens to a job, from the beginning or from `Last-Event-ID` on; ends when the job is over.

    It also ends when the key is revoked or expires.

    Events `state` and `epoch` have ids and are replayed; `progress` has none and comes about every second.
    """
    shown: dict[str, Any] | None = None
    while True:
        events, state, progress, good = await run_in_threadpool(_look, context, caller, job.id, seen)
        if not good:
            return
        for event in events:
            seen = event.id
            data = {**event.data, "at": event.created_at.isoformat()}
            yield ServerSentEvent(id=str(event.id), event=event.kind, data=data)
        if len(events) == BATCH:
            continue
        if state.terminal:
            return
        if progress is not None and progress != shown:
            shown = progress
            yield ServerSentEvent(event="progress", data=progress)
        await anyio.sleep(POLL_SECONDS)


def _look(
    context: Context, caller: Caller, job_id: str, seen: int
) -> tuple[list[Event], State, dict[str, Any] | None, bool]:
    with context.database.read() as session:
        # The state first: if it is terminal, the event that says so is among those read after it.
        job = jobs.get_job(session, job_id)
        state = State(job.state) if job is not None else State.CANCELLED
        events = jobs.events_after(session, job_id, seen, BATCH)
        progress = job.progress if job is not None else None
        return events, state, progress, access.still_good(session, caller.key_id)
