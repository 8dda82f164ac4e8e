"""Is it alive, and is it of use."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Part(BaseModel):
    """One part that the service needs."""

    ok: bool
    detail: str = ""


class Readiness(BaseModel):
    """What of the service can be used now."""

    ready: bool
    database: Part
    store: Part
    ray: Part
