"""The pages in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Page, expect, sync_playwright

from service.api.dependencies import Context
from service.db import jobs
from service.jobs.lifecycle import State
from workers.contract.request import JobSpec

pytestmark = pytest.mark.real
KEY = "dale_tests-3f9Qm2Lr8Vx0Zk5Wc7Yd1"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    """The application on a free port of the loopback interface."""
    listening = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets=None) -> None:
            await super().startup(sockets)
            listening.set()

    server = Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    assert listening.wait(20)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def page(url: str) -> Iterator[Page]:
    """A browser that has signed in by the link with the key; errors of the page's scripts fail the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{url}/login#{KEY}")
        page.wait_for_url(f"{url}/")
        yield page
        browser.close()
        assert errors == []


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
    page.keyboard.press("ArrowRight")
    expect(page.locator("main")).to_contain_text("#2 of 6")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", level=1)).to_have_text(first)


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
