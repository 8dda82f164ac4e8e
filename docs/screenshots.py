"""Take a picture of every page: `python docs/screenshots.py`. It needs Debian's Chromium and some ten minutes.

A service of its own trains on synthetic lesions twice, with a review between, so that every page has something to show.
"""

from __future__ import annotations

import secrets
import tempfile
from itertools import islice
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from dale.folders import write_noisy_copy
from dale.noise import KINDS
from dale.synthetic import write_samples
from service.child import running_service
from service.cli.packing import as_archive
from service.client import Client, ImportOptions, JobSpec
from service.reviews.decisions import Decision
from workers.contract.request import NetworkSpec

OUT = Path(__file__).parent / "pictures" / "pages"
SAMPLES, SIZE = 72, 192
REVIEWED = 12  # labels
VIEW = {"width": 1280, "height": 860}
FLAGS = ["--no-sandbox", "--disable-gpu"]


def train(client: Client, scratch: Path) -> dict[str, str]:
    """A dataset, a job, a review of it, the next version and a job over that; the parts of the pages' addresses."""
    write_samples(scratch / "clean", SAMPLES, SIZE, seed=3)
    truth = write_noisy_copy(scratch / "clean", scratch / "lesions", ratio=0.25, kinds=KINDS, seed=3)
    wrong = {record.id for record in truth if record.kind in KINDS}
    with as_archive(scratch / "lesions") as archive:
        dataset = client.upload(archive, name="lesions", options=ImportOptions(test_share=0.17))
    spec = JobSpec(
        dataset_id=dataset.id,
        name="first look",
        epochs=40,
        image_size=64,
        batch_size=8,
        network=NetworkSpec(arguments={"channels": [16, 32, 64], "strides": [2, 2]}),
    )
    first = client.wait(client.train(spec).id)
    worst = list(islice(client.samples(first.id), REVIEWED))
    for sample in worst:
        decision = Decision.CORRECTED if sample.sample in wrong else Decision.ACCEPTED
        taken = first.id if decision is Decision.CORRECTED else None
        client.decide(dataset.id, 1, sample.sample, decision, revision=0, job_id=taken)
    client.decide(dataset.id, 1, worst[-1].sample, Decision.EXCLUDED, revision=1)
    client.finish(dataset.id, 1, again=first.id)
    second = client.wait(next(iter(client.jobs())).id)  # the newest
    return {"dataset": dataset.id, "first": first.id, "second": second.id, "sample": worst[0].sample}


def photograph(page: Page, url: str, ids: dict[str, str]) -> None:
    """Each page, once what it shows is there."""

    def take(name: str) -> None:
        page.wait_for_load_state("networkidle")
        page.screenshot(path=OUT / f"{name}.jpg", type="jpeg", quality=70)

    first, second, dataset = (ids[name] for name in ("first", "second", "dataset"))
    for name, path in (
        ("home", "/"),
        ("dataset", f"/datasets/{dataset}"),
        ("upload", "/datasets/new"),
        ("job_form", f"/jobs/new?dataset={dataset}"),
        ("job", f"/jobs/{first}"),
        ("before_and_after", f"/jobs/{second}/before"),
        ("sample", f"/jobs/{first}/samples/{ids['sample']}"),
        ("models", "/models"),
        ("model", f"/models/{first}"),
    ):
        page.goto(url + path)
        take(name)
    page.goto(f"{url}/jobs/{first}/review")
    expect(page.locator(".tile .name").first).to_be_visible()
    take("review")
    page.keyboard.press("Enter")
    page.locator("#grid").press("Enter")
    expect(page.locator("#canvas")).to_have_attribute("data-sample", ids["sample"])
    page.keyboard.press("h")
    take("review_large")
    page.keyboard.press("h")
    page.keyboard.press("e")
    expect(page.locator("#painting")).to_be_visible()
    take("review_paint")


def main() -> None:
    """Make all pictures anew."""
    OUT.mkdir(parents=True, exist_ok=True)
    key = "dale_" + secrets.token_urlsafe(24)
    with tempfile.TemporaryDirectory(prefix="dale-pictures-") as folder:
        scratch = Path(folder)
        with running_service(scratch / "data", key) as url, Client(url, key) as client, sync_playwright() as playwright:
            ids = train(client, scratch)
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            page = browser.new_context(viewport=VIEW).new_page()
            page.goto(f"{url}/login")
            page.screenshot(path=OUT / "login.jpg", type="jpeg", quality=70)
            page.goto("about:blank")  # else only the part behind # would change
            page.goto(f"{url}/login#{key}")
            page.wait_for_url(f"{url}/")
            photograph(page, url, ids)
            browser.close()


if __name__ == "__main__":
    main()
