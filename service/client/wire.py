"""What the client's requests are made of."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote


def given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that have a value."""
    return {name: value for name, value in parameters.items() if value is not None}


def keys_url(project: str | None) -> str:
    """Where the keys of a project are (None: those of the operator)."""
    return f"/v1/projects/{part(project)}/keys" if project else "/v1/keys"


def part(text: str) -> str:
    """Any text as one part of a path."""
    return quote(text, safe="")


def idempotency(key: str | None = None) -> dict[str, str]:
    """The header by which a request that is sent again creates once."""
    return {"Idempotency-Key": key or str(uuid.uuid4())}
