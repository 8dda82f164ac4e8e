"""Server-sent events, as the client reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened to a job: `state` and `epoch` have ids, `progress` has none."""

    kind: str
    data: dict[str, Any]
    id: str | None = None


def parse_events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events from the lines of a stream; comments and unfinished events are left out."""
    kind, identity = "message", None
    data: list[str] = []
    for line in lines:
        if not line:
            if data:
                yield Event(kind, json.loads("\n".join(data)), identity)
            kind, identity, data = "message", None, []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "id":
            identity = value
        elif field == "data":
            data.append(value)
