"""Projects: what keys, datasets and jobs belong to; and who the caller is."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from service.actions import Action
from service.api.dependencies import CallerDep, OperatorDep, SessionDep, require_key
from service.api.idempotency import Answer, IdempotencyDep
from service.api.paging import PageSize, PageToken, decode, decode_time, encode, page_limit
from service.api.problems import problems
from service.db import audit, projects, tables
from service.resources.projects import Me, ProjectChange, ProjectFields, ProjectPage, ProjectResource

router = APIRouter(prefix="/v1", tags=["access"], dependencies=[Depends(require_key)], responses=problems(401))


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
        audit.add(session, caller, Action.PROJECT_CREATE, project.id, project.id, name=project.name)
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


@router.patch("/projects/{project_id}", responses=problems(400, 403, 404, 413, 422))
def change_project(project_id: str, change: ProjectChange, caller: OperatorDep, session: SessionDep) -> ProjectResource:
    """Limit how many jobs of a project run at a time. For the operator.

    A limit acts on jobs that wait; where more run already, none of them is stopped.
    """
    project = projects.lock(session, project_id)
    if change.max_running_jobs != project.max_running_jobs:
        facts = {"before": project.max_running_jobs, "max_running_jobs": change.max_running_jobs}
        audit.add(session, caller, Action.PROJECT_CHANGE, project.id, project.id, **facts)
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
