"""Projects: what keys, datasets and jobs belong to; and who the caller is."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from service.api.dependencies import CallerDep, OperatorDep, SessionDep, require_key
from service.api.fields import Name
from service.api.idempotency import Answer, IdempotencyDep
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.problems import problems
from service.db import audit, projects, tables
from service.roles import Role

router = APIRouter(prefix="/v1", tags=["access"], dependencies=[Depends(require_key)], responses=problems(401))


class ProjectFields(BaseModel):
    """A project to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Name


class ProjectChange(BaseModel):
    """What can be changed of a project."""

    model_config = ConfigDict(extra="forbid")

    max_running_jobs: int | None = Field(
        ge=0,
        le=1_000_000,
        description="how many of its jobs may run at a time; 0: none; null: as many as there is room for",
    )


class ProjectResource(BaseModel):
    """What datasets, jobs and keys belong to."""

    id: str
    name: str
    max_running_jobs: int | None = Field(description="how many of its jobs may run at a time; null: no limit")
    created_at: datetime


class ProjectPage(BaseModel):
    """Some projects, newest first."""

    projects: list[ProjectResource]
    next_page_token: str | None


class Me(BaseModel):
    """Whose key the request showed, and what it may do."""

    key_id: str
    name: str
    role: Role
    operator: bool = Field(description="whether it sees and does everything, in all projects")
    project: ProjectResource | None = Field(description="the project that it is of; none for the operator")
    expires_at: datetime | None = Field(description="when it ends by itself; in a browser, when the session does")


@router.get("/me")
def read_me(session: SessionDep, caller: CallerDep) -> Me:
    """Whose key this is: its role, its project, and when it ends."""
    project = projects.get(session, caller.project_id, caller.project_id) if caller.project_id else None
    return Me(
        key_id=caller.key_id,
        name=caller.key_name,
        role=caller.role,
        operator=caller.operator,
        project=project_resource(project) if project else None,
        expires_at=caller.expires_at,
    )


@router.post("/projects", status_code=201, response_model=ProjectResource, responses=problems(400, 403, 409, 413, 422))
def post_project(
    fields: ProjectFields, caller: OperatorDep, session: SessionDep, idempotency: IdempotencyDep
) -> JSONResponse:
    """Make a project. For the operator; its name must be free."""

    def create() -> Answer:
        project = projects.add(session, fields.name)
        audit.add(session, caller, audit.Action.PROJECT_CREATE, project.id, project.id, name=project.name)
        return Answer(project_resource(project), location=f"/v1/projects/{project.id}")

    return idempotency.answer(session, fields.model_dump_json(), create)


@router.get("/projects", responses=problems(400, 422))
def list_projects(
    session: SessionDep, caller: CallerDep, page_size: PageSize = 50, page_token: PageToken = None
) -> ProjectPage:
    """The projects that the caller sees, newest first: its own, or for the operator all."""
    arguments = {"list": "projects"}
    position = decode(page_token, arguments, str, str)
    after = (decode_time(position[0]), position[1]) if position else None
    limit = page_limit(page_size)
    found = projects.page(session, caller.project_id, limit + 1, after)
    token = None
    if len(found) > limit:
        last = found[limit - 1]
        token = encode([last.created_at.isoformat(), last.id], arguments)
    return ProjectPage(projects=[project_resource(project) for project in found[:limit]], next_page_token=token)


@router.get("/projects/{project_id}", responses=problems(404))
def read_project(project_id: str, session: SessionDep, caller: CallerDep) -> ProjectResource:
    """One project."""
    return project_resource(projects.get(session, project_id, caller.project_id))


@router.patch("/projects/{project_id}", responses=problems(400, 403, 404, 422))
def change_project(project_id: str, change: ProjectChange, caller: OperatorDep, session: SessionDep) -> ProjectResource:
    """Limit how many jobs of a project run at a time. For the operator.

    A limit acts on jobs that wait; where more run already, none of them is stopped.
    """
    project = projects.lock(session, project_id)
    if change.max_running_jobs != project.max_running_jobs:
        facts = {"before": project.max_running_jobs, "max_running_jobs": change.max_running_jobs}
        audit.add(session, caller, audit.Action.PROJECT_CHANGE, project.id, project.id, **facts)
        project.max_running_jobs = change.max_running_jobs
        session.flush()
    return project_resource(project)


def project_resource(project: tables.Project) -> ProjectResource:
    """A project as the API shows it."""
    return ProjectResource(
        id=project.id,
        name=project.name,
        max_running_jobs=project.max_running_jobs,
        created_at=project.created_at,
    )
