"""What a job's page says of epochs that were compared on validation samples, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from tests.compared_jobs import DICE, finish_compared

pytestmark = pytest.mark.real


@pytest.fixture
def dataset(add_dataset: Callable[..., str]) -> str:
    return add_dataset(9, held_out=2, validation=3)


def test_the_curve_and_both_weights(page: Page, url: str, context: Context, scripted: ModuleType, dataset: str) -> None:
    job_id = finish_compared(context, scripted, dataset)
    page.goto(f"{url}/jobs/{job_id}")
    curve = page.get_by_role("img", name="Dice on validation samples over 4 epochs, now 0.700")
    points = (curve.locator("polyline").get_attribute("points") or "").split()
    assert [round(1 - float(point.split(",")[1]) / 70, 2) for point in points] == DICE
    weights = page.locator("#result li")
    expect(weights).to_have_text(
        [
            "Last weights: epoch 4, Dice 0.700 on 3 validation samples, delivered",
            "Best weights: epoch 2, Dice 0.800 on 3 validation samples",
        ]
    )
    link = weights.nth(1).get_by_role("link")
    expect(link).to_have_attribute("href", f"/v1/models/{job_id}/files/best.safetensors")
    assert not [found for found in Axe().run(page).response["violations"] if found["impact"] in {"serious", "critical"}]


def test_a_page_of_a_dataset_tells_the_three_parts(page: Page, url: str, dataset: str) -> None:
    page.goto(f"{url}/datasets/{dataset}")
    expect(page.locator("div:has(> dt:text-is('To train on / for validation / held out')) dd")).to_have_text(
        "4 / 3 / 2"
    )
    expect(page.locator("li", has_text="for validation")).to_have_count(3)
    expect(page.locator("li", has_text="held out")).to_have_count(2)
    page.goto(f"{url}/jobs/new?dataset={dataset}&deliver=best")
    expect(page.get_by_label("Deliver")).to_have_value("best")


def test_decisions_of_all_parts_are_counted_in_a_review(
    page: Page, url: str, context: Context, scripted: ModuleType, dataset: str
) -> None:
    job_id = finish_compared(context, scripted, dataset)
    for name, decision in (("case_000", "flagged"), ("case_004", "excluded"), ("case_008", "accepted")):
        target = f"{url}/v1/datasets/{dataset}/versions/1/samples/{name}/review"
        put = page.request.put(target, data={"decision": decision}, headers={"If-Match": "*", "Origin": url})
        assert put.ok, put.text()
    page.goto(f"{url}/jobs/{job_id}/review")
    expect(page.locator("#counts")).to_contain_text("1 of 4 decided")
    expect(page.locator("#counts")).to_contain_text("of those held out, 1 of 2 decided")
    expect(page.locator("#counts")).to_contain_text("of those for validation, 1 of 3 decided")
    expect(page.locator("#finish")).to_have_text("0 corrections, 1 exclusion: make version 2 and train again")
