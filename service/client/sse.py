"""Server-sent events, as the client reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened to a job: `state` and `epoch` have ids, `progress` has none."""

    kind: str
    data: dict[str, Any]
    id: str | None = None


class EventParser:
    """Reads a stream line by line; comments and unfinished events are left out."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._kind = "message"
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, line: str) -> Event | None:
        """The event that this line, without its end, completes; None: none."""
        if not line:
            event = Event(self._kind, json.loads("\n".join(self._data)), self._id) if self._data else None
            self._begin()
            return event
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._kind = value
        elif field == "id":
            self._id = value
        elif field == "data":
            self._data.append(value)
        return None
