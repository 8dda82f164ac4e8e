"""`dale serve` in a process of its own, which a test can kill, stop and start again."""

from __future__ import annotations

import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from service.jobs.ray_head import HeadRecord

KEY = "dale_7hGf2Kq9Lm4Zx8Vb1Nc6Ty3"
SERVE = "from service.embedded import serve; from service.settings import Settings; serve(Settings())"


def wait_for(condition: Callable[[], object], seconds: float = 90, tell: Callable[[], object] = lambda: "") -> None:
    """Wait until the condition holds; fail, and tell what is instead, if it does not within these seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {tell()}"
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Service:
    """The embedded service in a folder, with two CPUs for its Ray head.

    Args:
        folder: its data folder.
        command: what Ray runs for a job.
        environment: further settings.
    """

    def __init__(self, folder: Path, command: tuple[str, ...], **environment: str) -> None:
        self.folder = folder
        self.log = folder.parent / "service.log"
        self.environment = {
            **os.environ,
            "DALE_DATA_DIR": str(folder),
            "DALE_PORT": "0",
            "DALE_REQUESTS_PER_MINUTE": "0",  # what is measured here asks without a pause
            "DALE_API_KEY": KEY,
            "DALE_RAY_CPUS": "2",
            "DALE_RECONCILE_SECONDS": "0.2",
            "DALE_JOB_STOP_SECONDS": "2",
            "DALE_NETWORK_CHECK": "false",
            "DALE_WORKER_COMMAND": subprocess.list2cmdline(command),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client()

    def start(self) -> None:
        (self.folder / "service.json").unlink(missing_ok=True)
        log = self.log.open("ab")
        self.process = subprocess.Popen([sys.executable, "-c", SERVE], env=self.environment, stdout=log, stderr=log)
        wait_for((self.folder / "service.json").exists)
        url = json.loads((self.folder / "service.json").read_text())["url"]
        self.http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            assert self.process.wait(30) == 0

    def head(self) -> HeadRecord:
        return HeadRecord.model_validate_json((self.folder / "ray_head.json").read_bytes())

    def upload(self, files: dict[str, bytes]) -> str:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            for name, content in files.items():
                packed.writestr(name, content)
        upload = {"file": ("dataset.zip", archive.getvalue())}
        answer = self.http.post("/v1/datasets", files=upload, data={"name": "dataset"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def post(self, dataset_id: str, **spec: object) -> str:
        answer = self.http.post("/v1/jobs", json={"dataset_id": dataset_id, "epochs": 4, "exports": [], **spec})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").json()
        return answer

    def wait(self, job_id: str, *states: str, seconds: float = 90) -> dict[str, Any]:
        wait_for(lambda: self.job(job_id)["state"] in states, seconds, lambda: self.job(job_id))
        return self.job(job_id)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / "dale.db") as connection:
            return connection.execute(query, values).fetchall()
