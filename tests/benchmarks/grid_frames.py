"""`python -m tests.benchmarks.grid_frames`: the review grid over 100,000 samples in headless Chromium, scrolled.

The service runs in a process of its own on the same machine, and draws each picture that is asked for. The browser
draws without a GPU. The peer for memory is the same page over 1,000 samples.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright
from sqlalchemy import text

from service.main import open_context
from service.settings import Settings
from tests.benchmarks.databases import JOB, fill
from tests.integration.harness import KEY, Service
from tests.review_jobs import encoded, label, lesion
from workers.contract import keys

SAMPLES, FEW, EPOCHS = 100_000, 1_000, 20
FRAMES, STEP, JUMPS = 600, 40, 40  # frames of steady scrolling, px in each; places that are jumped to
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
# Milliseconds between two frames while the grid is scrolled, first steadily, then by jumps.
SCROLL = """async ([frames, step, jumps]) => {
  const grid = document.getElementById("grid"), taken = [];
  let before = await new Promise(requestAnimationFrame), most = 0;
  for (let i = 0; i < frames + 4 * jumps; i++) {
    if (i < frames) grid.scrollTop += step;
    else if (i % 4 === 0) grid.scrollTop = (grid.scrollHeight * ((i * 7919) % 1000)) / 1000;
    const now = await new Promise(requestAnimationFrame);
    taken.push(now - before);
    before = now;
    most = Math.max(most, grid.querySelectorAll("[role=option]").length);
  }
  return { taken, most };
}"""


@dataclass(frozen=True)
class Scrolled:
    """What was measured.

    Attributes:
        frames: milliseconds between frames.
        tiles: most cards that there were in the page at a time.
        heap: MiB of the page's scripts after it, rubbish collected.
    """

    frames: np.ndarray[Any, np.dtype[np.float64]]
    tiles: int
    heap: float


def measure(samples: int = SAMPLES) -> Scrolled:
    """Fill a database, start the service, scroll its grid."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        context = open_context(Settings(data_dir=folder / "data", network_check=False))
        try:
            fill(context, samples, EPOCHS)
            noise = np.random.default_rng(0).integers(0, 22, (*lesion(0).shape, 1))
            image = np.where(lesion(0)[..., None], (176, 84, 72), (222, 172, 148)) + noise
            files = [encoded(image.astype(np.uint8)), encoded(label(0))]
            digests = [hashlib.sha256(file).hexdigest() for file in files]
            for digest, file in zip(digests, files, strict=True):
                context.store.put(keys.blob("ds-large", digest), file)
            with context.sessions.begin() as session:
                update = text("UPDATE samples SET image_sha256 = :image, mask_sha256 = :mask")
                session.execute(update, dict(zip(("image", "mask"), digests, strict=True)))
        finally:
            context.database.close()
        service = Service(folder / "data", ("true",), DALE_RAY_ADDRESS="http://127.0.0.1:1")
        service.start()
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
                page = browser.new_page(viewport={"width": 1280, "height": 900})
                found = scroll(page, str(service.http.base_url).rstrip("/"))
                browser.close()
        finally:
            service.stop()
    return found


def scroll(page: Page, url: str) -> Scrolled:
    """Open the grid and scroll it."""
    page.goto(f"{url}/login#{KEY}")
    page.wait_for_url(f"{url}/")
    page.goto(f"{url}/jobs/{JOB}/review?sort=name")
    page.locator(".tile img[src]").first.wait_for()
    done = page.evaluate(SCROLL, [FRAMES, STEP, JUMPS])
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    heap = session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
    return Scrolled(np.array(done["taken"]), done["most"], heap)


def main() -> None:
    """Print what was measured."""
    for samples in (FEW, SAMPLES):
        found = measure(samples)
        middle, tail, worst = np.quantile(found.frames, [0.5, 0.95, 1])
        print(
            f"{samples} samples: frames of {middle:.1f} ms (p95 {tail:.1f}, worst {worst:.1f}), "
            f"at most {found.tiles} cards, {found.heap:.1f} MiB of scripts"
        )


if __name__ == "__main__":
    main()
