"""API keys: of a project for its admins, and of no project for the operator. A key itself is shown once.

Making a key takes no `Idempotency-Key`: the answer would have to be kept, and the key with it. Who never got the
answer makes another key and revokes the one that nobody knows.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from sqlalchemy.orm import Session

from service.actions import Action
from service.api.dependencies import AdminDep, OperatorDep, SessionDep, require_key
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.problems import problems
from service.db import access, audit, projects, tables
from service.db.base import now
from service.errors import Conflict, FieldError, Invalid
from service.resources.keys import CreatedKey, KeyFields, KeyPage, KeyResource, OperatorKeyFields
from service.roles import Caller, Role

router = APIRouter(prefix="/v1", tags=["access"], dependencies=[Depends(require_key)], responses=problems(401, 403))
NOT_KEPT = {"Cache-Control": "no-store"}


def get_project(project_id: str, session: SessionDep, caller: AdminDep) -> str:
    """Id of the project that the path names; raises `NotFound`."""
    return projects.get(session, project_id, caller.project_id).id


ProjectDep = Annotated[str, Depends(get_project, scope="function")]


@router.post("/projects/{project_id}/keys", status_code=201, responses=problems(400, 404, 413, 422))
def post_key(
    fields: KeyFields, project_id: ProjectDep, caller: AdminDep, session: SessionDep, response: Response
) -> CreatedKey:
    """Make a key of a project. No key made outlives the one that makes it, unless that one is revoked."""
    return _create(session, caller, project_id, fields.role, fields, response)


@router.get("/projects/{project_id}/keys", responses=problems(400, 404, 422))
def list_keys(
    project_id: ProjectDep, session: SessionDep, page_size: PageSize = 50, page_token: PageToken = None
) -> KeyPage:
    """The keys of a project, newest first; also those that were revoked or have expired."""
    return _page(session, project_id, page_size, page_token)


@router.delete("/projects/{project_id}/keys/{key_id}", status_code=204, responses=problems(404))
def revoke_key(key_id: str, project_id: ProjectDep, caller: AdminDep, session: SessionDep) -> None:
    """End a key at once, and the browsers' sessions made from it. Asking again changes nothing."""
    _revoke(session, caller, project_id, key_id)


@router.post("/keys", status_code=201, responses=problems(400, 413, 422))
def post_operator_key(
    fields: OperatorKeyFields, caller: OperatorDep, session: SessionDep, response: Response
) -> CreatedKey:
    """Make another key for the operator, which sees and does everything."""
    return _create(session, caller, None, Role.ADMIN, fields, response)


@router.get("/keys", responses=problems(400, 422))
def list_operator_keys(
    _caller: OperatorDep, session: SessionDep, page_size: PageSize = 50, page_token: PageToken = None
) -> KeyPage:
    """The operator's keys, newest first; also those that were revoked or have expired."""
    return _page(session, None, page_size, page_token)


@router.delete("/keys/{key_id}", status_code=204, responses=problems(404, 409))
def revoke_operator_key(key_id: str, caller: OperatorDep, session: SessionDep) -> None:
    """End a key of the operator at once. The last one that does not expire stays: nobody could make another."""
    _revoke(session, caller, None, key_id)
    if not access.has_operator(session):
        raise Conflict("This is the last key of the operator that does not expire; make another before you revoke it.")


def _create(
    session: Session,
    caller: Caller,
    project_id: str | None,
    role: Role,
    fields: OperatorKeyFields,
    response: Response,
) -> CreatedKey:
    secret = access.new_key()
    key = access.add_key(
        session,
        secret,
        name=fields.name,
        role=role,
        project_id=project_id,
        created_by=caller.key_id,
        expires_at=_end(fields.expires_at, caller),
    )
    ends = key.expires_at.isoformat() if key.expires_at else None
    audit.add(session, caller, Action.KEY_CREATE, key.id, project_id, name=key.name, role=role, expires_at=ends)
    response.headers.update(NOT_KEPT)
    return CreatedKey(**_resource(key).model_dump(), key=secret)


def _end(asked: datetime | None, caller: Caller) -> datetime | None:
    """When a key ends; none that it makes gives a caller more time than it has."""
    reason = ""
    if asked is not None and asked <= now():
        reason = "lies in the past"
    elif asked is not None and caller.expires_at is not None and asked > caller.expires_at:
        reason = f"lies behind {caller.expires_at.isoformat()}, when the key that makes it ends"
    if reason:
        raise Invalid(f"expires_at {reason}.", [FieldError(field="expires_at", reason=reason)])
    return asked or caller.expires_at


def _page(session: Session, project_id: str | None, page_size: int, page_token: str | None) -> KeyPage:
    arguments = {"list": "keys", "project": project_id}
    position = decode(page_token, arguments, str, str)
    after = (decode_time(position[0]), position[1]) if position else None
    limit = page_limit(page_size)
    found = access.page(session, project_id, limit + 1, after)
    token = None
    if len(found) > limit:
        last = found[limit - 1]
        token = encode([last.created_at.isoformat(), last.id], arguments)
    return KeyPage(keys=[_resource(key) for key in found[:limit]], next_page_token=token)


def _revoke(session: Session, caller: Caller, project_id: str | None, key_id: str) -> None:
    key = access.get_key(session, project_id, key_id)
    if access.revoke(session, key):
        audit.add(session, caller, Action.KEY_REVOKE, key.id, project_id, name=key.name)


def _resource(key: tables.ApiKey) -> KeyResource:
    return KeyResource(
        id=key.id,
        name=key.name,
        role=Role(key.role),
        project_id=key.project_id,
        created_by=key.created_by,
        created_at=key.created_at,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
    )
