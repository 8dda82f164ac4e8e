"""The doubted pixels in a real browser: in the grid and large, of images and of volumes, and why there are none."""

from __future__ import annotations

import re
from types import ModuleType

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from playwright.sync_api import Page, expect

from service import heat
from service.api.dependencies import Context
from service.db import jobs
from tests.browser.reviewing import REVIEW, open_grid, open_large, shows, tile
from tests.review_jobs import HEIGHT, JOB, WIDTH, doubt
from tests.volume_jobs import finish_job as finish_volumes
from tests.volume_jobs import upload_volumes
from workers.contract import keys
from workers.contract.request import JobSpec, ResultManifest

pytestmark = pytest.mark.real
BESIDE = 3  # ordinal of a sample whose label lies beside the lesion


def canvas(page: Page) -> np.ndarray:
    """What is drawn of the image, one value for each of its pixels: (HEIGHT, WIDTH, 3)."""
    found = page.evaluate(
        """([width, height]) => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => {
            const canvas = document.getElementById("canvas"), ratio = devicePixelRatio || 1;
            const scale = Math.min(canvas.clientWidth / width, canvas.clientHeight / height) * 0.98;
            const left = (canvas.clientWidth - width * scale) / 2, top = (canvas.clientHeight - height * scale) / 2;
            const small = new OffscreenCanvas(width, height), context = small.getContext("2d");
            context.imageSmoothingEnabled = false;
            const from = [left, top, width * scale, height * scale].map((length) => length * ratio);
            context.drawImage(canvas, ...from, 0, 0, width, height);
            resolve([...context.getImageData(0, 0, width, height).data]);
        })))""",
        [WIDTH, HEIGHT],
    )
    return np.array(found).reshape(HEIGHT, WIDTH, 4)[..., :3].astype(float)


def stretched(number: int) -> np.ndarray:
    """The map in the image's own size."""
    return np.asarray(Image.fromarray(doubt(number)).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


def test_the_grid_shows_them_unless_switched_off(dataset: str, page: Page, url: str) -> None:
    open_grid(page, url)
    picture = tile(page, f"case {BESIDE:02}").locator("img")
    expect(page.locator("#grid-doubt")).to_be_checked()
    expect(picture).to_have_attribute("src", re.compile("map=true"))
    page.keyboard.press("h")
    expect(page.locator("#grid-doubt")).not_to_be_checked()
    expect(picture).not_to_have_attribute("src", re.compile("map=true"))
    page.reload()
    expect(picture).to_have_attribute("src", re.compile("size=320$"))
    page.get_by_label("doubted pixels, little to much").check()
    expect(picture).to_have_attribute("src", re.compile("map=true"))
    expect(page.locator("#heat-why")).to_be_hidden()


def test_one_sample_shows_them_where_they_are(dataset: str, page: Page, url: str) -> None:
    open_large(page, url, BESIDE)
    for key in "lp":  # outlines hide what is under them
        page.keyboard.press(key)
    bare = canvas(page)
    page.keyboard.press("h")
    expect(page.locator("#show-doubt")).to_be_checked()
    page.get_by_label("Opacity of the doubted pixels").fill("1")
    drawn = canvas(page)
    found = stretched(BESIDE)
    surely, never = found == 255, found == 0
    assert surely.sum() > 100 and never.sum() > 1000
    assert np.abs(drawn[surely] - heat.COLOURS[-1]).mean() < 3
    assert np.abs(drawn[never] - bare[never]).mean() < 1
    page.reload()
    shows(page, f"case {BESIDE:02}")
    expect(page.locator("#show-doubt")).to_be_checked()
    expect(page.get_by_label("Opacity of the doubted pixels")).to_have_value("1")
    page.keyboard.press("h")
    for key in "lp":
        page.keyboard.press(key)
    assert np.abs(canvas(page) - bare).mean() < 1
    page.keyboard.press("e")  # painting goes on over it
    page.keyboard.press("h")
    expect(page.locator("#show-doubt")).to_be_checked()


def test_a_job_says_why_there_are_none(context: Context, dataset: str, page: Page, url: str) -> None:
    key = keys.result_manifest(JOB)
    older = ResultManifest.model_validate_json(context.store.get(key)).model_dump(exclude={"maps"})
    context.store.put(key, ResultManifest.model_validate(older).model_dump_json(exclude={"maps"}).encode())
    open_grid(page, url)
    expect(page.locator("#heat-why")).to_have_text(re.compile("older than maps"))
    expect(page.get_by_label("doubted pixels, little to much")).to_be_disabled()
    expect(tile(page, f"case {BESIDE:02}").locator("img")).to_have_attribute("src", re.compile("size=320$"))
    page.keyboard.press("h")
    expect(page.locator("#toast")).to_contain_text("train again")
    with context.sessions.begin() as session:
        jobs.add_job(session, "job-waits", JobSpec(dataset_id=dataset))
    page.goto(f"{url}{REVIEW.replace(JOB, 'job-waits')}")
    expect(page.locator("#heat-why")).to_have_text(re.compile("once the job has succeeded"))


def test_slices_of_volumes_show_them(
    client: TestClient, context: Context, scripted: ModuleType, page: Page, url: str
) -> None:
    job_id = finish_volumes(context, scripted, upload_volumes(client)["id"])
    scripted.write_result(context.store, job_id, 1, 1, maps=True)
    page.goto(f"{url}/jobs/{job_id}/review?at=5&view=large")
    expect(page.locator("#slice-shown")).to_have_text("7 of 0 to 9")
    with page.expect_response(lambda answer: "map=true" in answer.url) as caught:
        page.keyboard.press("h")
    assert caught.value.headers["dale-map"] == "shown"
    with page.expect_response(lambda answer: "map_opacity=0.3" in answer.url) as caught:
        page.get_by_label("Opacity of the doubted pixels").fill("0.3")
    assert caught.value.status == 200
