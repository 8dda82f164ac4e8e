"""The whole loop of a reviewer, by keyboard alone: find the wrong masks of real images, decide, correct, train again.

The images are those of `DALE_TEST_IMAGES`, a folder of images/ and masks/; synthetic lesions where it is not set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from dale.folders import write_noisy_copy
from dale.noise import CLEAN, KINDS
from dale.synthetic import write_samples
from service.child import running_service
from service.cli.packing import as_archive
from service.client import Client, JobSpec
from service.jobs.lifecycle import State
from tests.browser.conftest import FLAGS
from tests.browser.reviewing import tab_to
from workers.contract.request import NetworkSpec

pytestmark = pytest.mark.real
KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
SAMPLES, RATIO = 24, 0.25


@pytest.fixture
def wrong(tmp_path: Path) -> set[str]:
    """Makes the folder `noisy` of images and masks; the names of the samples whose masks are corrupted."""
    given = os.environ.get("DALE_TEST_IMAGES")
    data = Path(given) if given else tmp_path / "clean"
    if not given:
        write_samples(data, SAMPLES, 96, seed=0)
    truth = write_noisy_copy(data, tmp_path / "noisy", ratio=RATIO, kinds=KINDS, seed=0, limit=SAMPLES)
    return {record.id for record in truth if record.kind != CLEAN}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    with running_service(tmp_path / "data", KEY) as url:
        yield url


@pytest.fixture
def page(service: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{service}/login#{KEY}")
        page.wait_for_url(f"{service}/")
        yield page
        assert errors == []
        browser.close()


@pytest.mark.timeout(600)
def test_find_decide_correct_train_again(tmp_path: Path, wrong: set[str], service: str, page: Page) -> None:
    with Client(service, KEY) as client:
        with as_archive(tmp_path / "noisy") as archive:
            dataset = client.upload(archive)
        spec = JobSpec(
            dataset_id=dataset.id,
            epochs=10,
            image_size=48,
            batch_size=8,
            workers=2,
            network=NetworkSpec(arguments={"channels": [8, 16, 32], "strides": [2, 2]}),
        )
        job = client.wait(client.train(spec).id)
        assert job.state is State.SUCCEEDED
        order = [sample.sample for sample in client.samples(job.id)]
        before = {row.sample: row.mask_sha256 for row in client.dataset_samples(dataset.id, 1)}
        assert (set(before), len(wrong)) == (set(order), round(RATIO * SAMPLES))

        # From the list of jobs into the grid, and from the most doubted label to the least.
        page.reload()
        tab_to(page, page.locator(f"a[href='/jobs/{job.id}']").first)
        page.keyboard.press("Enter")
        tab_to(page, page.get_by_role("link", name="Review"))
        page.keyboard.press("Enter")
        expect(page.locator(".tile .name").first).to_have_text(order[0])
        tab_to(page, page.locator("#grid"))
        page.keyboard.press("Enter")
        painted, excluded = sorted(wrong)[:2]
        keys = {name: "m" if name in wrong else "a" for name in order} | {excluded: "x", painted: "e"}
        for place, name in enumerate(order):
            expect(page.locator("#canvas")).to_have_attribute("data-sample", name)
            page.keyboard.press(keys[name])
            if name == painted:  # a dab beside the lesion's middle, saved
                for key in ("ArrowRight", "Enter", "Control+s"):
                    page.keyboard.press(key)
            if place == SAMPLES // 2:
                expect(page.locator("#canvas")).to_have_attribute("data-sample", order[place + 1])
                page.reload()
        expect(page.locator("#large-badge")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#counts")).to_contain_text(f"{SAMPLES} of {SAMPLES} decided")
        finish = page.locator("#finish")
        expect(finish).to_contain_text(f"{len(wrong) - 1} corrections, 1 exclusion: make version 2 and train again")
        tab_to(page, finish)
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Make the version and train")).to_be_focused()
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(f"/jobs/(?!{job.id})"))

        after = client.wait(page.url.rpartition("/")[2])
        assert (after.state, after.spec.dataset_version) == (State.SUCCEEDED, 2)
        now = {row.sample: row.mask_sha256 for row in client.dataset_samples(dataset.id, 2)}
        assert set(now) == {sample.sample for sample in client.samples(after.id)} == set(order) - {excluded}
        assert {name for name in now if now[name] != before[name]} == wrong - {excluded}

        tab_to(page, page.get_by_role("link", name="Before and after"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=3)).to_have_count(len(wrong))
        for picture in page.locator(".changes img").all():
            picture.scroll_into_view_if_needed()
            expect(picture).to_have_js_property("complete", value=True)
            assert picture.evaluate("image => image.naturalWidth") > 0
