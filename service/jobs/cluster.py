"""Where jobs run, as seen by the rest of the service: an address that may not be there yet."""

from __future__ import annotations

import threading
from dataclasses import dataclass


@dataclass(frozen=True)
class Endpoint:
    """The Jobs REST API of a Ray cluster."""

    url: str
    token: str | None


class Cluster:
    """The cluster in use. The own head takes seconds to start, so its endpoint comes late."""

    def __init__(self, endpoint: Endpoint | None = None) -> None:
        self._lock = threading.Lock()
        self._endpoint = endpoint
        self._problem = "" if endpoint else "Ray is still starting"

    @property
    def endpoint(self) -> Endpoint | None:
        """Where to reach it, None while there is nothing to reach."""
        with self._lock:
            return self._endpoint

    @property
    def problem(self) -> str:
        """Why there is no endpoint, in words; empty if there is one."""
        with self._lock:
            return self._problem

    def found(self, endpoint: Endpoint) -> None:
        """It answers here from now on."""
        with self._lock:
            self._endpoint, self._problem = endpoint, ""

    def lost(self, problem: str) -> None:
        """It does not answer any more."""
        with self._lock:
            self._endpoint, self._problem = None, problem
