"""The service's own Ray head: starts it, finds it again after a crash, and stops it without leaving a process."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pydantic import BaseModel, ValidationError

from service import logging
from service.jobs import processes
from service.jobs.cluster import Cluster, Endpoint
from service.jobs.submission import RayJobs
from service.settings import Settings

log = logging.get(__name__)
START_SECONDS = 90
STOP_SECONDS = 6
# Settings of the service that a run has no business to know.
PRIVATE = ("DALE_API_KEY", "DALE_DATABASE_URL", "DALE_RAY_TOKEN")
_ADDRESS = re.compile(r"RAY_API_SERVER_ADDRESS='(http://127\.0\.0\.1:\d+)'")


class HeadRecord(BaseModel):
    """What `data_dir/ray_head.json` remembers, so that the next service finds the head of this one."""

    folder: str
    pid: int
    token: str
    url: str = ""


class RayHeadError(Exception):
    """The head did not start; says why."""


class RayHead:
    """One Ray head on the loopback interface, owned by one data folder."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._file = settings.data_dir / "ray_head.json"
        self._child: subprocess.Popen[bytes] | None = None
        self._record: HeadRecord | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="ray-head", daemon=True)

    def start(self) -> None:
        """Adopt or start a head in the background, and start another whenever it dies."""
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether there is anything to stop."""
        return self._thread.ident is not None

    def stop(self) -> None:
        """End the head and every process that it started; returns when none is left."""
        self._stopping.set()
        self._thread.join()

    def _supervise(self) -> None:
        pause = 1.0
        try:
            while not self._stopping.is_set():
                try:
                    self._adopt_or_start()
                    pause = 1.0
                    self._watch()
                except (RayHeadError, OSError) as error:
                    if self._stopping.is_set():
                        break
                    self._cluster.lost("Ray does not start; the service's log says why")
                    log.error("ray head failed", error=str(error), retry_in_seconds=pause)
                    self._stopping.wait(pause)
                    pause = min(60.0, pause * 2)
        finally:
            self._cluster.lost("the service is stopping")
            if self._record is not None:
                self._clean(self._record)

    def _adopt_or_start(self) -> None:
        record = self._remembered()
        if record is not None:
            if record.url and _answers(record):
                log.info("ray head adopted", url=record.url, pid=record.pid)
                self._record = record
                self._cluster.found(Endpoint(record.url, record.token))
                return
            log.warning("ray head of an earlier service is dead, cleaning up", pid=record.pid)
            self._clean(record)
        self._start()

    def _remembered(self) -> HeadRecord | None:
        try:
            return HeadRecord.model_validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            log.warning("cannot read the record of the last ray head", file=str(self._file), error=str(error))
            return None

    def _start(self) -> None:
        if importlib.util.find_spec("ray") is None:
            raise RayHeadError("Ray is not installed; run: pip install 'dale-service[train]', or set DALE_RAY_ADDRESS")
        started = time.monotonic()
        # Ray opens its folder to everyone and names sockets in it (107 bytes at most): hence short, and inside 0700.
        folder = Path(tempfile.mkdtemp(prefix="dale-"))
        token = secrets.token_urlsafe(32)
        token_file = folder / "token"
        token_file.touch(mode=0o600)
        token_file.write_text(token)
        (folder / "tmp").mkdir()
        output = folder / "head.log"
        self._cluster.lost("Ray is still starting")
        with output.open("wb") as sink:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter, fixed arguments
                self._command(folder),
                env=self._environment(folder, token_file),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C must reach the service alone, which then stops the head in order
            )
        self._remember(HeadRecord(folder=str(folder), pid=self._child.pid, token=token))
        try:
            url = self._await_address(self._child, output)
        except RayHeadError:
            if self._record is not None:
                self._clean(self._record)
            raise
        self._remember(HeadRecord(folder=str(folder), pid=self._child.pid, token=token, url=url))
        self._cluster.found(Endpoint(url, token))
        log.info("ray head started", url=url, pid=self._child.pid, seconds=round(time.monotonic() - started, 1))

    def _command(self, folder: Path) -> list[str]:
        options = {
            "node-ip-address": "127.0.0.1",
            "port": 0,
            "ray-client-server-port": _free_port(),  # the one port that Ray does not choose itself
            "dashboard-host": "127.0.0.1",
            "dashboard-port": 0,
            "dashboard-agent-listen-port": 0,
            "num-cpus": self._settings.cpus,
            "object-store-memory": self._settings.ray_object_store_bytes,
            "temp-dir": folder / "r",
            "log-style": "record",
            "log-color": "false",
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
        return [*start, "--disable-usage-stats", *flags]

    @staticmethod
    def _environment(folder: Path, token_file: Path) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in PRIVATE and name not in {"RAY_ADDRESS", "RAY_AUTH_TOKEN", processes.MARK}
        }
        return {
            **inherited,
            processes.MARK: str(folder),
            "TMPDIR": str(folder / "tmp"),  # killed workers leave files behind: they go with the head's folder
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(token_file),
            # Without this Ray replaces 127.0.0.1 by the machine's address and listens to the whole network.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
        }

    def _await_address(self, child: subprocess.Popen[bytes], output: Path) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._stopping.is_set():
                raise RayHeadError("the service is stopping")
            said = output.read_text(errors="replace")
            if child.poll() is not None:
                raise RayHeadError(f"it ended with code {child.returncode}: {said.strip()[-800:]}")
            if (found := _ADDRESS.search(said)) and self._record is not None:
                record = self._record.model_copy(update={"url": found[1]})
                if _answers(record):
                    return record.url
            self._stopping.wait(0.1)
        raise RayHeadError(f"no answer within {START_SECONDS} s: {output.read_text(errors='replace').strip()[-800:]}")

    def _watch(self) -> None:
        """Return when the head is dead: its process is gone, or it answers nothing any more."""
        misses = 0
        while self._record is not None and not self._stopping.wait(1):
            if self._child is not None:
                self._child.poll()  # takes the exit status, so that no zombie stays
            if not processes.is_alive(self._record.pid):
                break
            misses = 0 if _answers(self._record) else misses + 1
            if misses >= 15:
                break
        if not self._stopping.is_set():
            self._cluster.lost("Ray has ended unexpectedly and is being started again")
            log.error("ray head died")

    def _remember(self, record: HeadRecord) -> None:
        self._record = record
        self._settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self._file.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(record.model_dump_json())
        partial.replace(self._file)

    def _clean(self, record: HeadRecord) -> None:
        folder = Path(record.folder)
        processes.end(record.folder, record.pid, STOP_SECONDS)
        if self._child is not None:
            self._child.wait(STOP_SECONDS)
        # The record is a file that could be damaged: remove only what looks like our own folder.
        if folder.parent == Path(tempfile.gettempdir()) and folder.name.startswith("dale-"):
            shutil.rmtree(folder, ignore_errors=True)
        self._file.unlink(missing_ok=True)
        self._child, self._record = None, None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _answers(record: HeadRecord) -> bool:
    with RayJobs(Endpoint(record.url, record.token), timeout=5) as ray:
        return ray.alive()
