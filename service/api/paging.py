"""Pages: a size, and an opaque token that says where the last page ended and for which question."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query

from service.errors import BadRequest, FieldError

MAX_PAGE = 500
PageSize = Annotated[int, Query(ge=1, description=f"entries of one page; more than {MAX_PAGE} gives {MAX_PAGE}")]
PageToken = Annotated[
    str | None, Query(max_length=2000, description="`next_page_token` of the page before, with all else unchanged")
]


def page_limit(asked: int) -> int:
    """The page size that is given for the one that was asked for."""
    return min(asked, MAX_PAGE)


def encode(position: list[Any], arguments: Mapping[str, Any]) -> str:
    """A token for the place behind `position`, good only with the same arguments."""
    text = json.dumps([_fingerprint(arguments), *position], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(token: str | None, arguments: Mapping[str, Any], *types: type) -> list[Any] | None:
    """The position in a token; None without one.

    Args:
        token: from an earlier answer.
        arguments: everything that the question depends on, apart from the page size.
        types: of the position's parts.

    Raises:
        BadRequest: it is none of ours, or the arguments changed since.
    """
    if not token:
        return None
    try:
        parts = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        fingerprint, *position = parts
    except (ValueError, TypeError, RecursionError) as error:  # binascii.Error is a ValueError
        raise _refusal("not a token of this service") from error
    if fingerprint != _fingerprint(arguments):
        raise _refusal("the other arguments changed since the token was given")
    if len(position) != len(types) or not all(
        isinstance(part, kind) for part, kind in zip(position, types, strict=True)
    ):
        raise _refusal("not a token of this service")
    return list(position)


def decode_time(text: str) -> datetime:
    """A time in a position.

    Raises:
        BadRequest: it is none.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise _refusal("not a token of this service") from error


def _refusal(reason: str) -> BadRequest:
    fault = FieldError(field="page_token", reason=reason, hint="leave page_token out to begin at the first page")
    return BadRequest(f"The page_token cannot be used: {reason}.", [fault])


def _fingerprint(arguments: Mapping[str, Any]) -> str:
    text = json.dumps(arguments, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
