"""Ray's Jobs REST API, as far as we need it: submit, ask, read logs, stop."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx

from service.jobs.capacity import Capacity, Resources
from service.jobs.cluster import Endpoint
from service.jobs.lifecycle import RunStatus

LOG_TAIL_BYTES = 256 * 1024
_BOUNDARY = re.compile(r"\\[nr]| ")


class RayUnreachableError(Exception):
    """Ray did not answer, or not in a way that says anything about the job; ask again later."""


@dataclass(frozen=True)
class Run:
    """What Ray knows of a submission."""

    status: RunStatus
    message: str = ""
    exit_code: int | None = None


def submission_id(job_id: str, attempt: int) -> str:
    """Ray's name for an attempt: it follows from job and attempt, so nothing is ever started twice."""
    return f"{job_id}-{attempt}"


def entrypoint(command: Sequence[str], job_id: str, attempt: int) -> str:
    """The shell line that Ray runs; `exec`, so that a stop reaches the program and not a shell around it."""
    return "exec " + shlex.join([*command, "--job", job_id, "--attempt", str(attempt)])


def environment(store_url: str, stop_seconds: int) -> dict[str, str]:
    """The run's environment variables. Ray shows them to anyone who may ask, so there are no secrets among them."""
    return {
        "DALE_STORE_URL": store_url,
        "RAY_DEDUP_LOGS": "0",
        "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": str(stop_seconds),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }


class RayJobs:
    """A connection to the Jobs API of one cluster; every method raises `RayUnreachableError` if it does not answer."""

    def __init__(self, endpoint: Endpoint, timeout: float = 10) -> None:
        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        # trust_env=False: a proxy of the environment must not see the cluster's token.
        self._http = httpx.Client(base_url=endpoint.url, headers=headers, timeout=timeout, trust_env=False)

    def __enter__(self) -> RayJobs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def submit(self, identifier: str, line: str, env: dict[str, str]) -> None:
        """Start a run, unless one of this id was started before."""
        body = {"submission_id": identifier, "entrypoint": line, "runtime_env": {"env_vars": env}}
        response = self._send("POST", "/api/jobs/", json=body)
        if response.is_success or "already exists" in response.text:
            return
        raise RayUnreachableError(f"Ray refused the job ({response.status_code}): {response.text.strip()[-500:]}")

    def run(self, identifier: str) -> Run:
        """What Ray knows of a submission."""
        response = self._send("GET", f"/api/jobs/{identifier}")
        if response.status_code == httpx.codes.NOT_FOUND:
            return Run(RunStatus.UNKNOWN)
        known = self._json(response)
        return Run(RunStatus(known["status"]), known.get("message") or "", known.get("driver_exit_code"))

    def stop(self, identifier: str) -> None:
        """Ask a run to end; returns before it has. A run that Ray does not know is fine."""
        response = self._send("POST", f"/api/jobs/{identifier}/stop")
        if response.status_code != httpx.codes.NOT_FOUND:
            self._json(response)

    def log_tail(self, identifier: str) -> str:
        """The end of a run's log. Ray sends all of it; it is never held in memory as a whole."""
        kept = bytearray()
        try:
            with self._http.stream("GET", f"/api/jobs/{identifier}/logs") as response:
                if response.status_code == httpx.codes.NOT_FOUND:
                    return ""
                if not response.is_success:
                    raise RayUnreachableError(f"Ray gives no log ({response.status_code})")
                for chunk in response.iter_bytes():
                    kept += chunk
                    if len(kept) > 4 * LOG_TAIL_BYTES:
                        del kept[: -2 * LOG_TAIL_BYTES]
        except httpx.HTTPError as error:
            raise RayUnreachableError(f"Ray does not answer: {error}") from error
        return _log_of(bytes(kept))

    def capacity(self) -> Capacity | None:
        """What the cluster has and what is taken; None while Ray does not know yet."""
        status = self._json(self._send("GET", "/api/cluster_status"))
        try:
            report = status["data"]["clusterStatus"]["loadMetricsReport"]
            usage = report["usage"]
            cpus, gpus = usage["CPU"], usage.get("GPU", [0.0, 0.0])
        except (KeyError, TypeError):
            return None
        machines = [node["memory"][1] for node in (report.get("usageByNode") or {}).values() if "memory" in node]
        return Capacity(
            total=Resources(cpus[1], gpus[1]),
            used=Resources(cpus[0], gpus[0]),
            machine_memory=int(max(machines)) if machines else None,
        )

    def alive(self) -> bool:
        """Whether it answers, and takes our token."""
        try:
            return self._send("GET", "/api/version").is_success
        except RayUnreachableError:
            return False

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise RayUnreachableError(f"Ray does not answer: {error}") from error

    @staticmethod
    def _json(response: httpx.Response) -> dict[str, Any]:
        if not response.is_success:
            raise RayUnreachableError(f"Ray answered {response.status_code}: {response.text.strip()[-500:]}")
        answer: dict[str, Any] = response.json()
        return answer


def _log_of(body: bytes) -> str:
    """The text in `{"logs": "…"}`, of which the beginning may be cut off anywhere."""
    text = body.decode(errors="replace")
    if not text.startswith('{"logs"'):
        # After one of these a new character begins in JSON, whatever was cut off before it.
        text = '{"logs": "' + _BOUNDARY.split(text, maxsplit=1)[-1]
    try:
        log = json.loads(text)["logs"] or ""
    except ValueError as error:
        raise RayUnreachableError("Ray's log was cut short") from error
    tail = log.encode(errors="replace")[-LOG_TAIL_BYTES:]
    return str(tail.decode(errors="ignore"))
