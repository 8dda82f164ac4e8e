"""The pages of models in a real browser: from the list to production, and two models on one plot."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect
from sqlalchemy import insert

from service.api.dependencies import Context
from service.db import jobs
from service.db.tables import DatasetVersion, HeldOutSample
from service.jobs.ingest import read_result
from service.jobs.lifecycle import State
from service.roles import Role
from tests.browser.reviewing import serious
from workers.contract.request import JobSpec

pytestmark = pytest.mark.real


@pytest.fixture
def models(context: Context, scripted: ModuleType, finished_job: str) -> list[str]:
    """Two models of one name, tested on the same three samples."""
    with context.sessions.begin() as session:
        session.get_one(DatasetVersion, ("ds-pages", 1)).train_count = 3
        job = jobs.add_job(session, "job-second", JobSpec(dataset_id="ds-pages", warm_start=finished_job))
        for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
            jobs.set_state(session, job, state)
    ids = [finished_job, "job-second"]
    for job_id, dice in zip(ids, ([0.5, 0.75, 0.8], [0.75, 0.7, 0.9]), strict=True):
        scripted.write_result(context.store, job_id, 1, 3)
        result = read_result(context.store, job_id)
        assert result is not None
        with context.sessions.begin() as session:
            row = jobs.lock_job(session, job_id)
            assert row is not None
            jobs.add_result(session, row, result)
            row.metrics = {"dice": 0.9, "test_dice": float(np.mean(dice)), "test_dice_std": float(np.std(dice))}
            scores = [
                {"job_id": job_id, "ordinal": 3 + n, "name": f"case {2 + n}", "dice": value}
                for n, value in enumerate(dice)
            ]
            session.execute(insert(HeldOutSample), scores)
    return ids


def test_from_the_list_into_production(
    client: TestClient, models: list[str], sign_in: Callable[..., Page], url: str
) -> None:
    page = sign_in()
    page.get_by_role("link", name="Models").click()
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("tbody tr").last.get_by_role("link").first.click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="To production").click()
    expect(page.locator("#stage")).to_have_text("production")
    page.goto(f"{url}/models/{models[1]}")
    page.get_by_text("Say what it is for").click()
    page.get_by_label("Intended use").fill("Wounds of feet <b>only</b>, for research.")
    page.get_by_label("Tags").fill("site=Graz\nsplit=a=b")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".part").first).to_contain_text("Wounds of feet <b>only</b>, for research.")
    found = client.get(f"/v1/models/{models[1]}").json()
    assert (found["tags"], found["revision"]) == ({"site": "Graz", "split": "a=b"}, 2)
    page.get_by_role("button", name="To production").click()
    expect(page.locator("#stage")).to_have_text("production")
    assert client.get(f"/v1/models/{models[0]}").json()["stage"] == "archived"


def test_a_change_that_was_not_seen_is_told(client: TestClient, models: list[str], page: Page, url: str) -> None:
    page.goto(f"{url}/models/{models[0]}")
    client.patch(f"/v1/models/{models[0]}", json={"description": "by another"}, headers={"If-Match": "*"})
    page.get_by_role("button", name="To staging").click()
    expect(page.get_by_role("alert")).to_contain_text("changed meanwhile")
    assert client.get(f"/v1/models/{models[0]}").json()["stage"] == "none"


def test_two_models_on_one_plot(models: list[str], page: Page, url: str) -> None:
    page.goto(f"{url}/models")
    for box in page.get_by_role("checkbox").all():
        box.check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("2 models on the same 3 samples")
    expect(page.locator("circle")).to_have_count(3)
    expect(page.locator("tbody tr").nth(1)).to_contain_text("1 / 2 / 0")  # the newer one is the baseline here
    expect(page.locator("section").last).to_contain_text("case 2")
    page.goto(f"{url}/models/compare?model={models[0]}&model={models[0]}")
    expect(page.locator("main")).to_contain_text("names a model twice")


def test_who_may_only_read_finds_no_buttons(
    models: list[str], sign_in: Callable[..., Page], key_of: Callable[..., str], url: str
) -> None:
    for role, buttons in ((Role.READ, []), (Role.TRAIN, ["To staging", "Archive"])):
        page = sign_in(key_of(role.value, role))
        page.goto(f"{url}/models/{models[0]}")
        expect(page.get_by_role("heading", name="Intended use")).to_be_visible()
        shown = page.get_by_role("group", name="Stage").get_by_role("button").all_inner_texts()
        assert shown == buttons
        assert page.get_by_text("Say what it is for").count() == (role is Role.TRAIN)


def test_axe_finds_nothing_serious_on_them(models: list[str], sign_in: Callable[..., Page], url: str) -> None:
    paths = ("/models", f"/models/{models[0]}", f"/models/compare?model={models[0]}&model={models[1]}")
    for scheme in ("light", "dark"):
        page = sign_in(color_scheme=scheme, bypass_csp=True)  # axe is a script of ours, put into the page
        for path in paths:
            page.goto(f"{url}{path}")
            assert serious(page) == [], path
