"""The page of a cross-validation, in a real browser: from queued folds to the samples that were missed most."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from service.db import datasets
from service.db.tables import DEFAULT_PROJECT, Job
from tests.conftest import API_KEY, png
from tests.folded import add_patients, fail_fold, finish_fold
from workers.contract import keys
from workers.contract.evaluation import METRICS

pytestmark = pytest.mark.real


def post(url: str, dataset_id: str, **more: object) -> dict:
    body = {"job": {"dataset_id": dataset_id, "epochs": 1, "name": "lesions"}, **more}
    headers = {"Authorization": f"Bearer {API_KEY}"}
    answer = httpx.post(f"{url}/v1/cross-validations", json=body, headers=headers, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer.json()


def predict_nothing(context: Context, job_id: str) -> None:
    with context.database.read() as session:
        job = session.get_one(Job, job_id)
        count = datasets.version(session, job.dataset_id, job.dataset_version).sample_count
    for ordinal in range(count):
        context.store.put(keys.prediction(job_id, ordinal), png(np.zeros((48, 64), np.uint8)))


def look(page: Page, name: str) -> None:
    """A picture of the whole page, for whoever wants to see it."""
    if folder := os.environ.get("DALE_TEST_PICTURES"):
        page.screenshot(path=f"{folder}/{name}.png", full_page=True)


def serious_faults(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html']}" for one in found for node in one["nodes"] if one["impact"] != "minor"]


def test_folds_become_metrics_and_samples_while_the_page_is_open(
    page: Page, url: str, context: Context, scripted: ModuleType, finish_job: Callable[..., str]
) -> None:
    finish_job("ds-pages", "job-pages", DEFAULT_PROJECT)
    made = post(url, "ds-pages", folds=3)
    page.goto(f"{url}/cross-validations")
    page.get_by_role("row").filter(has_text="0 of 3").get_by_role("link", name="lesions").first.click()
    expect(page.get_by_text("Metrics appear here once a fold's job has succeeded.")).to_be_visible()
    first, second, third = (one["job_id"] for one in made["folds"])
    finish_fold(context, scripted, first)
    predict_nothing(context, first)
    expect(page.get_by_text("1 of 3 folds count.")).to_be_visible(timeout=30_000)
    page.get_by_label("Name").fill("case")
    finish_fold(context, scripted, second)
    predict_nothing(context, second)
    fail_fold(context, third, "image 7 cannot be read")
    expect(page.get_by_text("2 of 3 folds count. Fold 3: image 7 cannot be read.")).to_be_visible(timeout=30_000)
    expect(page.get_by_label("Name")).to_have_value("case")  # what was being typed is still there
    expect(page.locator("#cross-validation .state").first).to_have_text("partial")

    evaluation = page.locator("#evaluation")
    expect(evaluation.locator("svg.folds")).to_have_count(len(METRICS))
    expect(evaluation.locator("svg.folds").first.locator("circle")).to_have_count(4)
    expect(evaluation.get_by_role("img", name="Dice of 4 samples by fold; means: fold 1")).to_be_visible()
    page.get_by_label("Name").fill("")
    page.get_by_label("Worst by").select_option("HD95")
    page.get_by_role("combobox", name="Fold").select_option("2")
    page.get_by_role("button", name="Show").click()
    cards = page.locator("#samples .card")
    expect(cards).to_have_count(2)
    picture = cards.first.get_by_role("img")
    picture.scroll_into_view_if_needed()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=picture.element_handle())
    assert serious_faults(page) == []
    look(page, "cv-partial")

    cards.first.get_by_role("link", name="fold 2").click()
    expect(page.get_by_role("link", name="tested on fold 2")).to_be_visible()
    page.get_by_role("link", name="tested on fold 2").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("None yet.")).to_be_visible(timeout=30_000)


def test_many_samples_in_dark(page: Page, url: str, context: Context, scripted: ModuleType) -> None:
    dataset_id = add_patients(context, [f"P{number // 4}" for number in range(120)], held_out=8)
    made = post(url, dataset_id, folds=5)
    for one in made["folds"]:
        finish_fold(context, scripted, one["job_id"])
    page.emulate_media(color_scheme="dark")
    page.goto(f"{url}/cross-validations/{made['id']}")
    expect(page.get_by_role("heading", name="All folds together 112 samples of 28 groups")).to_be_visible()
    expect(page.get_by_text("8 samples that the version holds out are in no fold")).to_be_visible()
    expect(page.locator("svg.folds").first.locator("circle")).to_have_count(112)
    expect(page.locator("#samples .card")).to_have_count(24)
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("page 2 of 5")).to_be_visible()
    assert serious_faults(page) == []
    look(page, "cv-dark")
    page.get_by_role("link", name="samples of fold 1").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("version 1 without fold 1 of 5")
    page.goto(f"{url}/datasets/{dataset_id}?version=1999999999")
    expect(page.get_by_text("has no version 1999999999")).to_be_visible()
