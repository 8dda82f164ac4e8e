"""`dale serve` as a child process: started on a free port in a folder of its own, and stopped with all it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

START_SECONDS = 60
STOP_SECONDS = 60
LOG_LINES = 15


class ServiceDiedError(Exception):
    """The service did not come up; the message has the end of its log."""


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without settings of another service, and with these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DALE_")}
    return {**inherited, **extra}


@contextmanager
def running_service(data_dir: Path, key: str) -> Iterator[str]:
    """Run the service while the block runs; gives its address.

    It has a session of its own, so that Ctrl-C reaches only this process, which then stops it in order.

    Raises:
        ServiceDiedError: it did not come up.
    """
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = data_dir / "service.log"
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--data-dir", str(data_dir)]
    with log.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            env=environment(DALE_API_KEY=key),
        )
    try:
        yield _address(process, data_dir / "service.json", log)
    finally:
        stop(process)


def _address(process: subprocess.Popen[bytes], record: Path, log: Path) -> str:
    limit = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < limit:
        if record.exists():
            announced = json.loads(record.read_text())
            if announced["pid"] == process.pid:  # else it is that of another service in this folder
                return str(announced["url"])
        time.sleep(0.05)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
    raise ServiceDiedError(f"The service did not start. The end of its log:\n{tail}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, and wait until it and all that it started are gone; a second Ctrl-C does not cut this short."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that what it started is stopped."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
