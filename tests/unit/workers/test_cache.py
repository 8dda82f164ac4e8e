"""The file of decoded samples: sparse, and gone with the processes that use it, however they end."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from workers import cache
from workers.cache import equal_slots, open_shared

HOLD = """
import time, torch
from workers import cache
cache.RESERVE = 0
kept = cache.open_shared(cache.equal_slots(100, 4 * 64**2))
kept.write(99, torch.zeros(3, 64, 64, dtype=torch.uint8), torch.zeros(64, 64, dtype=torch.uint8))
print("filled", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def any_disk_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "RESERVE", 0)


def test_killed_ranks_leave_no_file(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"filled\n"
        open_files = [str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
        assert any(name.startswith(f"{tmp_path}/dale-decoded-") for name in open_files), open_files
        assert list(tmp_path.iterdir()) == []
        process.send_signal(signal.SIGKILL)
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_decoded_takes_room() -> None:
    kept = open_shared(equal_slots(10**6, 4 * 128**2))
    assert kept is not None
    kept.write(999_999, torch.ones(3, 128, 128, dtype=torch.uint8), torch.ones(128, 128, dtype=torch.uint8))
    status = os.fstat(kept._file)
    assert status.st_size > 60 * 2**30
    assert status.st_blocks * 512 < 2**20


def test_a_file_goes_with_the_object() -> None:
    kept = open_shared(equal_slots(10, 4 * 16**2))
    assert kept is not None
    file = kept._file
    del kept
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


def test_without_a_place_for_files_there_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert open_shared(equal_slots(10, 4 * 16**2)) is None


def test_a_disk_that_fails_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = open_shared(equal_slots(10, 4 * 16**2))
    assert kept is not None
    image, label = torch.ones(3, 16, 16, dtype=torch.uint8), torch.ones(16, 16, dtype=torch.uint8)
    asked: list[int] = []

    def fail(*_: object) -> int:
        asked.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.os, "pwritev", fail)
    for ordinal in range(3):
        kept.write(ordinal, image, label)
        assert not kept.read(ordinal, image.clone(), label.clone())
    assert asked == [1]
