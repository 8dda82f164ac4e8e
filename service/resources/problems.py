"""A refusal (RFC 9457)."""

from __future__ import annotations

from pydantic import BaseModel, Field

from service.errors import FieldError


class Problem(BaseModel):
    """An RFC 9457 problem."""

    type: str = Field(examples=["urn:dale:problem:invalid-request"])
    title: str = Field(examples=["Invalid request"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["The dataset version does not exist."])
    instance: str = Field(description="path of the request", examples=["/v1/jobs"])
    request_id: str | None = Field(default=None, description="finds the request in the service's log")
    errors: list[FieldError] = Field(default=[], description="one entry for each bad field or file")
