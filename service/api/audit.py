"""The audit trail over HTTP: to look at, page by page, and to take away whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from service.actions import Action
from service.api.dependencies import AdminDep, Context, ContextDep, SessionDep, require_key
from service.api.paging import PageSize, PageToken, decode, encode, page_limit
from service.api.problems import problems
from service.db import audit, tables
from service.db.audit import Filter
from service.resources.audit import AuditEntry, AuditPage
from service.resources.fields import Id, Moment

router = APIRouter(
    prefix="/v1", tags=["access"], dependencies=[Depends(require_key)], responses=problems(401, 403, 422)
)
BATCH = 1000
JSONL = "application/jsonl"


def get_filter(
    project: Annotated[Id | None, Query(description="only what happened in this project")] = None,
    action: Annotated[Action | None, Query(description="only this kind of change")] = None,
    key: Annotated[Id | None, Query(description="only what was done with the key of this id")] = None,
    target: Annotated[Id | None, Query(description="only changes of the thing of this id")] = None,
    since: Annotated[Moment | None, Query(description="only from this time on, with its zone")] = None,
    until: Annotated[Moment | None, Query(description="only before this time, with its zone")] = None,
) -> Filter:
    """Which entries are asked for."""
    return Filter(project, action, key, target, since, until)


FilterDep = Annotated[Filter, Depends(get_filter)]


@router.get("/audit", responses=problems(400))
def list_audit(
    session: SessionDep, caller: AdminDep, wanted: FilterDep, page_size: PageSize = 50, page_token: PageToken = None
) -> AuditPage:
    """Changes, newest first: of the caller's project, or for the operator of all. Refused attempts are not here."""
    arguments = {"list": "audit", "filter": wanted}
    position = decode(page_token, arguments, int)
    limit = page_limit(page_size)
    found = audit.newest(session, caller.project_id, wanted, position[0] if position else None, limit + 1)
    token = encode([found[limit - 1].id], arguments) if len(found) > limit else None
    return AuditPage(entries=[entry_resource(entry) for entry in found[:limit]], next_page_token=token)


@router.get(
    "/audit.jsonl",
    response_class=StreamingResponse,
    responses={200: {"description": "one entry a line", "content": {JSONL: {"schema": {"type": "string"}}}}},
)
def export_audit(context: ContextDep, caller: AdminDep, wanted: FilterDep) -> StreamingResponse:
    """Every entry as a line of JSON, oldest first, so that exports of periods can be joined."""
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"', "Cache-Control": "no-store"}
    return StreamingResponse(_lines(context, caller.project_id, wanted), headers=headers, media_type=JSONL)


def _lines(context: Context, seen: str | None, wanted: Filter) -> Iterator[str]:
    """The lines, a batch to a transaction: a slow reader holds no connection, and memory stays flat."""
    last = 0
    while True:
        with context.database.read() as session:
            batch = audit.oldest(session, seen, wanted, last, BATCH)
        if not batch:
            return
        last = batch[-1].id
        yield "".join(f"{entry_resource(entry).model_dump_json()}\n" for entry in batch)


def entry_resource(entry: tables.AuditEntry) -> AuditEntry:
    """An entry as the API shows it."""
    return AuditEntry(
        id=entry.id,
        at=entry.at,
        project_id=entry.project_id,
        key_id=entry.key_id,
        key_name=entry.key_name,
        action=Action(entry.action),
        target=entry.target,
        details=entry.details,
        request_id=entry.request_id,
    )
