"""`python -m tests.benchmarks.large_upload`: gigabytes through a server, in parts, and its memory at the peak.

Not one of `make bench`: it takes minutes, and three times its bytes on the disk. The images are noise, which no format
makes smaller.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from service.client import Client
from tests.benchmarks.server import service_in
from tests.integration.harness import KEY

EDGE = 8000  # pixels: 64 MB an image
LIMIT_MIB = 600


def write_archive(path: Path, images: int) -> None:
    """A zip of images and masks, one at a time."""
    noise = np.random.default_rng(0)
    mask = np.zeros((EDGE, EDGE), np.uint8)
    mask[1000:2000, 3000:5000] = 255
    with zipfile.ZipFile(path, "w") as pack:
        for number in range(images):
            pack.writestr(f"images/{number}.tif", encoded(noise.integers(0, 256, (EDGE, EDGE), dtype=np.uint8), "TIFF"))
            pack.writestr(f"masks/{number}.png", encoded(mask, "PNG"))


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    """An image file."""
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, kind)
    return sink.getvalue()


def main() -> None:
    """Print bytes, seconds and memory."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.large_upload", description=__doc__)
    parser.add_argument("--images", type=int, default=80, help="of 64 MB each (default: 80)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        archive = Path(name) / "large.zip"
        write_archive(archive, options.images)
        size = archive.stat().st_size
        service = service_in(Path(name))
        service.start()
        try:
            assert service.process is not None
            with Client(str(service.http.base_url), KEY) as dale:
                began = time.perf_counter()
                dataset = dale.upload_in_parts(archive)
                seconds = time.perf_counter() - began
            status = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
        finally:
            service.stop()
    peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))
    print(
        f"{size / 1e9:.1f} GB, {dataset.newest.sample_count} images in {seconds:.0f} s, "
        f"{size / 1e6 / seconds:.0f} MB/s; "
        f"peak of the server {peak:.0f} MiB: {peak / LIMIT_MIB:.2f} of {LIMIT_MIB}"
    )


if __name__ == "__main__":
    main()
