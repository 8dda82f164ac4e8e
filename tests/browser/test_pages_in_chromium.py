"""The pages in a real browser."""

from __future__ import annotations

import re
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from service.db import jobs
from service.jobs.lifecycle import State
from tests.volume_jobs import finish_job, upload_volumes
from workers.contract.request import JobSpec

pytestmark = pytest.mark.real


def test_from_sign_in_to_the_most_doubted_sample(finished_job: str, page: Page, url: str) -> None:
    page.get_by_role("link", name=finished_job).click()
    cards = page.locator(".card")
    expect(cards).to_have_count(6)
    expect(cards.first).to_contain_text("#1")
    for image in page.locator("img").all():  # (the pages' security policy forbids to poll by a script of ours)
        expect(image).to_have_js_property("complete", True)
        expect(image).not_to_have_js_property("naturalWidth", 0)
    first = cards.first.locator(".name").inner_text()
    cards.first.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(first)
    page.wait_for_load_state()  # the script that listens to keys runs before that
    page.keyboard.press("ArrowRight")
    expect(page.locator("main")).to_contain_text("#2 of 6")
    page.wait_for_load_state()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", level=1)).to_have_text(first)


def test_the_pictures_of_a_volume_follow_the_slider(
    context: Context, client: TestClient, scripted: ModuleType, page: Page, url: str
) -> None:
    job_id = finish_job(context, scripted, upload_volumes(client)["id"])
    page.goto(f"{url}/jobs/{job_id}/samples/case_005")
    slider, pictures = page.get_by_label("Slice"), page.locator(".pair img")
    expect(slider).to_have_value("7")
    slider.focus()
    page.keyboard.press("ArrowRight")  # moves the slider, not along the ranking
    expect(page.locator("output")).to_have_text("8")
    for number in range(2):
        expect(pictures.nth(number)).to_have_attribute("src", re.compile(r"axis=axial&slice=8$"))
        expect(pictures.nth(number)).not_to_have_js_property("naturalWidth", 0)
    page.get_by_label("Plane").select_option("coronal")
    expect(page).to_have_url(re.compile(r"case_005\?axis=coronal$"))
    expect(pictures.first).to_have_attribute("src", re.compile("axis=coronal"))


def test_progress_moves_without_a_reload(context: Context, finished_job: str, page: Page, url: str) -> None:
    with context.sessions.begin() as session:
        job = jobs.add_job(session, "job-live", JobSpec(dataset_id="ds-pages", epochs=10))
        jobs.begin_attempt(session, job, "job-live-1")
    page.goto(f"{url}/jobs/job-live")
    page.evaluate("window.loadedOnce = true")
    for step in (10, 60):
        with context.sessions.begin() as session:
            job = jobs.lock_job(session, "job-live")
            assert job is not None
            if job.state != State.RUNNING:
                jobs.set_state(session, job, State.RUNNING)
            job.progress = {
                "attempt": 1,
                "epoch": step // 10,
                "epochs": 10,
                "step": step,
                "steps": 100,
                "loss": 0.5,
                "samples_per_second": 12.0,
                "eta_seconds": 75.0,
                "heartbeat": 0.0,
            }
        expect(page.locator("#bar")).to_have_attribute("value", str(step))
        expect(page.locator("#eta")).to_contain_text(f"epoch {step // 10 + 1} of 10 · 1 min 15 s left")
    expect(page.locator("#state")).to_have_text("running")
    assert page.evaluate("window.loadedOnce") is True
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#state")).to_have_text("cancelling")


def test_signing_out(finished_job: str, page: Page, url: str) -> None:
    page.get_by_role("button", name="Sign out").click()
    page.goto(f"{url}/jobs/{finished_job}")
    expect(page).to_have_url(f"{url}/login?next=/jobs/{finished_job}")
