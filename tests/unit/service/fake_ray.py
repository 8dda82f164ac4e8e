"""A stand-in for Ray's Jobs API that misbehaves on demand."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from service.jobs.cluster import Endpoint

SAMPLES = 6  # of the dataset that `queue` trains on


class FakeRay:
    """Ray's Jobs API as FIELD notes describe it: a duplicate id answers 500, an unknown one 404."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.submissions: list[dict[str, Any]] = []
        self.stops: list[str] = []
        self.cpus = 4.0
        self.machines: dict[str, int] = {}  # by name: bytes of memory
        self.broken = False
        self.log = "the end\n"
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(fake.get(self.path))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self._answer(fake.post(self.path, json.loads(body) if body else {}))

            def _answer(self, answer: tuple[int, Any]) -> None:
                status, content = answer if not fake.broken else (502, "bad gateway")
                data = (content if isinstance(content, str) else json.dumps(content)).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.endpoint = Endpoint(f"http://127.0.0.1:{self.server.server_port}", "token")

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/api/cluster_status":
            usage = {"CPU": [0.0, self.cpus], "memory": [0.0, 1.0]}
            machines = {name: {"memory": [0.0, size]} for name, size in self.machines.items()}
            report = {"usage": usage, "usageByNode": machines or None}
            return 200, {"data": {"clusterStatus": {"loadMetricsReport": report}}}
        name = path.split("/")[3]
        if name not in self.runs:
            return 404, f"Job {name} does not exist"
        return 200, {"logs": self.log} if path.endswith("/logs") else self.runs[name]

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path.endswith("/stop"):
            name = path.split("/")[3]
            self.stops.append(name)
            self.runs[name]["status"] = "STOPPED"
            return 200, {"stopped": True}
        if body["submission_id"] in self.runs:
            return 500, f"ValueError: Job with submission_id {body['submission_id']} already exists."
        self.submissions.append(body)
        self.runs[body["submission_id"]] = {"status": "RUNNING", "message": "", "driver_exit_code": None}
        return 200, {"submission_id": body["submission_id"]}
