"""HTTP downloads of immutable objects: Range, If-Range, ETag."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import Request

_SINGLE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@dataclass(frozen=True)
class Span:
    """The bytes to send: from `start`, `length` of them."""

    start: int
    length: int


def matches(header: str | None, etag: str) -> bool:
    """Whether an `If-None-Match` names this ETag."""
    if header is None:
        return False
    return header.strip() == "*" or etag in [part.strip().removeprefix("W/") for part in header.split(",")]


def requested(request: Request, size: int, etag: str) -> Span | None:
    """The range that a request asks for; None: all of it.

    A malformed range, several ranges, and one with an outdated `If-Range` are ignored, as RFC 9110 allows. A range
    that lies outside has length 0: answer 416.
    """
    found = _SINGLE.fullmatch(request.headers.get("range", "").strip().lower())
    if found is None or request.headers.get("if-range", etag).strip() != etag:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size)
        return Span(size - length, length)
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    return Span(start, max(0, end - start + 1))
