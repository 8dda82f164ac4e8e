"""Projects, and who the caller is."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from service.resources.fields import Name
from service.roles import Role


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
