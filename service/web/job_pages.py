"""Pages of jobs: the form for a new one."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(include_in_schema=False)
