"""The audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from service.actions import Action


class AuditEntry(BaseModel):
    """A change, and who made it."""

    id: int
    at: datetime
    project_id: str | None = Field(description="where it happened; none: in no project")
    key_id: str = Field(description="whose key; `service`: `dale serve` itself")
    key_name: str
    action: Action
    target: str = Field(description="id of what was changed")
    details: dict[str, Any]
    request_id: str | None = Field(description="finds the request in the service's log")


class AuditPage(BaseModel):
    """Some entries, newest first."""

    entries: list[AuditEntry]
    next_page_token: str | None
