"""`python -m tests.benchmarks.server`: the API server beside less: an upload beside a copy, start and memory beside a
bare FastAPI application.

No Ray: the server is told of a cluster that does not exist.
"""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from PIL import Image

from tests.integration.harness import Service, wait_for
from workers.contract.store import open_store

REPEATS = 5
IMAGES, SIZE = 150, 384
BARE = """
import sys, uvicorn
from fastapi import FastAPI
app = FastAPI()
@app.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}
uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
"""
Times = np.ndarray[Any, np.dtype[np.float64]]


def service_in(folder: Path) -> Service:
    """A service whose API alone is at work."""
    return Service(folder / "data", ("true",), DALE_RAY_ADDRESS="http://127.0.0.1:1")


def time_uploads(images: int = IMAGES) -> tuple[Times, int]:
    """Seconds of uploads and of copies of the same files to the same kind of store, (repeats, 2); bytes of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = photographs(images)
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as packed:
            for path, content in files.items():
                packed.writestr(path, content)
        service = service_in(folder)
        service.start()
        taken = []
        try:
            for number in range(REPEATS + 1):
                store = open_store((folder / f"copy-{number}").as_uri())
                begun = time.perf_counter()
                for path, content in files.items():
                    store.put(path, content)
                copied = time.perf_counter()
                answer = service.http.post(
                    "/v1/datasets", files={"file": ("x.zip", archive.getvalue())}, data={"name": "upload"}
                )
                taken.append((time.perf_counter() - copied, copied - begun))
                assert answer.status_code == 201, answer.text
        finally:
            service.stop()
    return np.array(taken[1:]), sum(map(len, files.values()))  # the first one warms the files up


def photographs(count: int) -> dict[str, bytes]:
    """Images that compress as photographs do, as JPEG, with masks of a disc each, as PNG."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:SIZE, :SIZE]
    files = {}
    for number in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (48, 48, 3), dtype=np.uint8)).resize((SIZE, SIZE))
        grain = generator.normal(0, 6, (SIZE, SIZE, 3))
        image = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
        disc = ((y - SIZE / 2) ** 2 + (x - SIZE / 3 - number % 50) ** 2 < (SIZE / 5) ** 2).astype(np.uint8) * 255
        for path, pixels, kind in ((f"images/{number}.jpg", image, "JPEG"), (f"masks/{number}.png", disc, "PNG")):
            sink = io.BytesIO()
            Image.fromarray(pixels).save(sink, kind)
            files[path] = sink.getvalue()
    return files


def measure_starts() -> tuple[Times, Times]:
    """Seconds until the health check answers, and resident MiB after it: of the service and of the bare application.

    Returns:
        Two arrays, (repeats, 2).
    """
    seconds, mebibytes = [], []
    with tempfile.TemporaryDirectory() as name:
        for number in range(REPEATS + 1):
            service = service_in(Path(name) / str(number))
            service.folder.parent.mkdir()
            begun = time.perf_counter()
            service.start()
            service.http.get("/healthz").raise_for_status()
            ours = time.perf_counter() - begun
            assert service.process is not None
            used = psutil.Process(service.process.pid).memory_info().rss
            service.stop()
            theirs, peer = start_bare()
            seconds.append((ours, theirs))
            mebibytes.append((used / 2**20, peer / 2**20))
    return np.array(seconds[1:]), np.array(mebibytes[1:])


def start_bare() -> tuple[float, int]:
    """Seconds until a bare application answers, and the bytes that it holds then."""
    port = free_port()
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", BARE, str(port)])
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/healthz"))
        return time.perf_counter() - begun, psutil.Process(process.pid).memory_info().rss
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> bool:
    """Whether there is an answer."""
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def main() -> None:
    """Print what was measured."""
    uploads, size = time_uploads()
    for ours, copy in uploads:
        print(f"{size / 1e6:.0f} MB: uploaded in {ours:.2f} s, copied in {copy:.2f} s: {ours / copy:.1f}")
    seconds, mebibytes = measure_starts()
    for (start, bare), (used, least) in zip(seconds, mebibytes, strict=True):
        print(f"start {start:.2f} s, bare {bare:.2f}; memory {used:.0f} MiB, bare {least:.0f}")


if __name__ == "__main__":
    main()
