"""Uploads in parts by client and command: parts that fail are sent again, and what broke off goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from starlette.types import ASGIApp, Receive, Scope, Send
from typer.testing import CliRunner

from service.cli import app
from service.cli import datasets as upload_command
from service.cli.packing import as_archive
from service.client import Client, Refused, Unreachable, sending
from service.datasets.part_sizes import SMALLEST_PART

failing: list[str] = []


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset folder that makes several of the smallest parts."""
    monkeypatch.setattr(sending, "DEFAULT_PART", SMALLEST_PART)
    monkeypatch.setattr(sending, "POLL_S", 0.05)
    monkeypatch.setattr(upload_command, "WHOLE_BYTES", SMALLEST_PART)
    folder = tmp_path / "many lesions"
    noise = np.random.default_rng(0)
    for number in range(4):
        for part, pixels in (
            ("images", noise.integers(0, 256, (512, 512, 3), dtype=np.uint8)),
            ("masks", np.eye(512, dtype=np.uint8) * 255),
        ):
            (folder / part).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / part / f"case {number}.png")
    return folder


@pytest.fixture
def puts(app: FastAPI) -> list[str]:
    """Numbers of the parts that are sent; those in `failing` are answered by 503, once for each time they are in it."""
    failing.clear()
    sent: list[str] = []

    class Watch:
        def __init__(self, app: ASGIApp) -> None:
            self.app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope.get("method") == "PUT":
                number = scope["path"].rpartition("/")[2]
                sent.append(number)
                if number in failing:
                    failing.remove(number)
                    await send({"type": "http.response.start", "status": 503, "headers": []})
                    await send({"type": "http.response.body", "body": b""})
                    return
            await self.app(scope, receive, send)

    app.add_middleware(Watch)
    return sent


def test_what_breaks_off_goes_on_where_it_stopped(puts: list[str], dale: Client, large: Path, tmp_path: Path) -> None:
    begun: list[str] = []
    told: list[tuple[int, int]] = []
    with as_archive(large) as archive:
        size = archive.stat().st_size
        failing[:] = ["3"] * sending.TRIES
        with pytest.raises(Refused, match="503"):
            dale.upload_in_parts(archive, begun=begun.append)
        assert puts == ["1", "2", *["3"] * sending.TRIES]
        puts.clear()
        dataset = dale.upload_in_parts(
            archive, resume=begun[0], begun=begun.append, progress=lambda *pair: told.append(pair)
        )
        assert puts == ["3", "4"]
    assert begun == [begun[0]] * 2
    assert told[-1] == (size, size)
    assert dataset.newest.sample_count == 4
    with as_archive(large) as archive, (tmp_path / "longer.zip").open("wb") as longer:
        longer.write(archive.read_bytes() + b"x")
    with pytest.raises(ValueError, match="of a file of"):
        dale.upload_in_parts(tmp_path / "longer.zip", resume=begun[0])


def test_a_part_that_fails_once_is_sent_again(puts: list[str], dale: Client, large: Path) -> None:
    failing[:] = ["2"]
    with as_archive(large) as archive:
        assert dale.upload_in_parts(archive).newest.sample_count == 4
    assert puts == ["1", "2", "2", "3", "4"]


def test_bad_files_are_named(dale: Client, large: Path) -> None:
    (large / "masks/case 2.png").write_bytes(b"no image")
    with as_archive(large) as archive, pytest.raises(Refused) as refused:
        dale.upload_in_parts(archive)
    assert [error.file for error in refused.value.errors] == ["masks/case 2.png"]


def test_nobody_there(large: Path) -> None:
    with Client("http://127.0.0.1:9") as nobody, as_archive(large) as archive, pytest.raises(Unreachable):
        nobody.upload_in_parts(archive)


def test_the_command_sends_large_ones_in_parts(
    puts: list[str], url: str, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DALE_URL", url)
    monkeypatch.setenv("DALE_API_KEY", "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1")
    failing[:] = ["4"] * sending.TRIES
    broken = CliRunner().invoke(app, ["upload", str(large)])
    assert broken.exit_code == 2, broken.output
    words = next(line for line in broken.stderr.splitlines() if "go on with" in line).split("--resume ")[1]
    puts.clear()
    done = CliRunner().invoke(app, ["upload", str(large), "--resume", words.strip()])
    assert done.exit_code == 0, done.output
    assert "4 samples" in done.output
    assert puts == ["4"]
