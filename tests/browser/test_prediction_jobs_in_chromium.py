"""The page of a job that predicts a dataset, in a real browser: live while it runs, downloads when it is over."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import DEFAULT_PROJECT
from service.jobs.ingest import read_prediction
from service.jobs.lifecycle import State
from tests.browser.reviewing import serious
from workers.contract.request import Progress

pytestmark = pytest.mark.real
METRICS = {"predicted_samples": 6.0, "samples_without_lesion": 1.0, "uncertainty": 0.125, "labelled_samples": 6.0}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_prediction_is_watched_and_fetched(
    scheme: str,
    sign_in: Callable[..., Page],
    url: str,
    client: TestClient,
    context: Context,
    finish_job: Callable[..., str],
    scripted: ModuleType,
) -> None:
    model = finish_job("ds-pages", "job-pages", DEFAULT_PROJECT)
    page = sign_in(color_scheme=scheme, bypass_csp=True)  # axe is a script of ours, put into the page
    page.goto(f"{url}/models/{model}")
    page.get_by_text("Predict a whole dataset").click()
    page.get_by_label("Workers").fill("2")
    page.get_by_label("uncertainty maps too").check()
    assert serious(page) == []
    page.get_by_role("button", name="Predict").click()
    page.wait_for_url(f"{url}/jobs/job-*")
    (job,) = client.get("/v1/jobs", params={"task": "predict"}).json()["jobs"]
    job_id = job["id"]
    assert job["spec"] | {"workers": 2, "outputs": ["mask", "uncertainty"], "dataset_version": 1} == job["spec"]

    def move(*states: State, step: int = 0) -> None:
        with context.sessions.begin() as session:
            job = jobs.lock_job(session, job_id)
            assert job is not None
            for state in states:
                jobs.set_state(session, job, state)
            if step:
                found = {"attempt": 1, "epoch": 0, "epochs": 1, "step": step, "steps": 6, "heartbeat": 0}
                progress = Progress.model_validate(found | {"samples_per_second": 2.5, "eta_seconds": 70})
                job.progress = progress.model_dump()

    page.goto(url)
    page.get_by_role("row").filter(has_text="predicts by a model").get_by_role("link", name=job_id).click()
    expect(page.locator("#eta")).to_have_text("its turn")
    move(State.STARTING, State.RUNNING, step=4)
    expect(page.locator("#eta")).to_have_text("4 of 6 samples · 1 min 10 s left · 2.5 samples/s")
    expect(page.locator("#state")).to_have_text("running")
    assert page.locator("#bar").evaluate("bar => bar.value / bar.max") == pytest.approx(4 / 6)
    assert serious(page) == []

    scripted.write_prediction(context.store, job_id, 1, 6, metrics=METRICS | {"dice": 0.75})
    manifest = read_prediction(context.store, job_id, 6)
    assert manifest is not None
    with context.sessions.begin() as session:
        found = jobs.lock_job(session, job_id)
        assert found is not None
        jobs.add_prediction(session, found, manifest)
    move(State.SUCCEEDED)
    expect(page.locator("#result")).to_contain_text("6 samples predicted, in 1 of them no lesion")
    expect(page.locator("#result")).to_contain_text("mean Dice with the 6 given labels 0.750")
    with page.expect_download() as saved:
        page.get_by_role("link", name="All masks").click()
    with zipfile.ZipFile(io.BytesIO(Path(saved.value.path()).read_bytes())) as archive:
        assert {"masks/a.png", "masks/b.png", "samples.csv"} <= set(archive.namelist())
    page.get_by_text("In parts, which can be resumed").click()
    expect(page.get_by_role("link", name="masks-000001.zip")).to_be_visible()
    assert serious(page) == []
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url(f"{url}/")
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
