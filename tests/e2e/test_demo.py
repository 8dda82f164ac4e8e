"""`dale demo` keeps its promises: labels found, a model that segments, nothing left, however it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.child import ServiceDiedError, running_service

pytestmark = pytest.mark.real
DEMO = [sys.executable, "-m", "service.cli", "demo"]


def running_in(folder: Path) -> list[psutil.Process]:
    """Processes whose command names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(folder) in word for word in process.cmdline()):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def left_in(folder: Path) -> list[str]:
    """What is left of it, apart from the cache that torch keeps for every user."""
    return [path.name for path in folder.iterdir() if not path.name.startswith("torchinductor_")]


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the demonstration keeps everything; short, because sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.timeout(600)
def test_the_demonstration_finds_spoilt_labels(scratch: Path) -> None:
    done = subprocess.run(DEMO, env={**os.environ, "TMPDIR": str(scratch)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    auroc = re.search(r"AUROC ([\d.]+)", done.stdout)
    assert auroc
    assert float(auroc[1]) > 0.85
    assert re.search(r"http://127\.0\.0\.1:\d+/login\?next=/jobs/job-\w+#\S+", done.stdout)
    assert "held-out images its mean Dice is" in done.stdout
    assert running_in(scratch) == []
    assert left_in(scratch) == []


@pytest.fixture
def listening() -> Iterator[None]:
    """Children hear SIGINT even where a shell started these tests in the background and had it ignored."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_stops_everything(scratch: Path, number: signal.Signals) -> None:
    env = {**os.environ, "TMPDIR": str(scratch), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(DEMO, env=env, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout
        for line in demo.stdout:
            if "Uploaded as" in line:
                break
        assert running_in(scratch)
        demo.send_signal(number)
        said = demo.stdout.read()
    assert demo.returncode == 130, said
    assert "Stopped" in said
    assert running_in(scratch) == []
    assert left_in(scratch) == []


def test_own_data_is_checked_before_it_is_used(scratch: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--data", tmp_path],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no folder images" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    key = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
    with (
        running_service(tmp_path / "data", key),
        pytest.raises(ServiceDiedError, match="Another service is using"),
        running_service(tmp_path / "data", key),
    ):
        pass
