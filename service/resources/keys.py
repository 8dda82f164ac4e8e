"""API keys."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from service.resources.fields import Moment, Name
from service.roles import Role


class OperatorKeyFields(BaseModel):
    """A key of no project to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    expires_at: Moment | None = Field(
        default=None, description="when it ends by itself; empty: when the key that makes it does, if ever"
    )


class KeyFields(OperatorKeyFields):
    """A key of a project to be made."""

    role: Role = Field(description="what it may do; each role may also do what those before it may")


class KeyResource(BaseModel):
    """A key, without what opens the API."""

    id: str
    name: str
    role: Role
    project_id: str | None = Field(description="none: it is the operator's")
    created_by: str = Field(description="id of the key that made it; `service` or `environment`: `dale serve` did")
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="to the minute")


class CreatedKey(KeyResource):
    """A key that was made just now."""

    key: str = Field(description="what opens the API; shown this once")


class KeyPage(BaseModel):
    """Some keys, newest first."""

    keys: list[KeyResource]
    next_page_token: str | None
