"""The grid of the review page: many decided at once, and many samples."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from tests.benchmarks.databases import JOB as JOB_LARGE
from tests.benchmarks.databases import fill
from tests.browser.reviewing import (
    cursor,
    open_grid,
    tile,
)
from tests.review_jobs import COUNT

pytestmark = pytest.mark.real
MANY, MOST_TILES = 20_000, 60


def test_many_are_decided_at_once_and_conflicts_stay_selected(
    client: TestClient, dataset: str, page: Page, url: str
) -> None:
    open_grid(page, url, "?sort=name&text=case+0")
    expect(page.locator(".tile")).to_have_count(10)
    path = f"/v1/datasets/{dataset}/versions/1/samples/case 04/review"
    client.put(path, json={"decision": "excluded"}, headers={"If-Match": '"0"'}).raise_for_status()
    page.keyboard.press("Control+a")
    expect(page.locator("#selected")).to_have_text("10 selected")
    page.keyboard.press("a")
    expect(page.locator("#toast")).to_contain_text("9 samples: ✓ accepted")
    expect(page.locator("#toast")).to_contain_text("case 04: not saved, tests decided meanwhile (excluded)")
    expect(page.locator('.tile[aria-selected="true"]')).to_have_count(1)
    expect(tile(page, "case 04")).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="Undo", exact=True).click()  # of the toast
    expect(page.locator("#toast")).to_contain_text("Undone for 9 samples")
    expect(page.locator("#counts")).to_contain_text(f"1 of {COUNT} decided")
    tile(page, "case 01").click()
    tile(page, "case 03").click(modifiers=["Shift"])
    tile(page, "case 05").click(modifiers=["Control"])
    expect(page.locator('.tile[aria-selected="true"]')).to_have_count(4)
    page.keyboard.press("Escape")
    expect(page.locator('.tile[aria-selected="true"]')).to_have_count(0)


def test_what_nobody_here_has_seen_is_not_overwritten(
    client: TestClient, context: Context, page: Page, url: str
) -> None:
    fill(context, 1000, 1)
    path = "/v1/datasets/ds-large/versions/1/samples/case_0000599/review"
    client.put(path, json={"decision": "flagged"}, headers={"If-Match": '"0"'}).raise_for_status()
    page.goto(f"{url}/jobs/{JOB_LARGE}/review?sort=name&text=case_00005")
    expect(page.locator("#found")).to_have_text("100 samples")
    expect(tile(page, "case_0000500")).to_be_visible()
    page.keyboard.press("Control+a")
    page.keyboard.press("x")
    expect(page.locator("#toast")).to_contain_text("99 samples: ✕ excluded", timeout=20_000)
    expect(page.locator("#toast")).to_contain_text("case_0000599: not saved, tests decided meanwhile (flagged)")
    assert client.get(path).json()["decision"] == "flagged"
    counts = client.get("/v1/datasets/ds-large/versions/1/reviews").json()["counts"]
    assert (counts["excluded"], counts["flagged"]) == (99, 1)


def test_twenty_thousand_samples_are_a_few_cards(context: Context, page: Page, url: str) -> None:
    fill(context, MANY, 2)
    page.goto(f"{url}/jobs/{JOB_LARGE}/review?sort=name")
    grid, tiles = page.get_by_role("listbox"), page.locator(".tile")
    expect(page.locator("#found")).to_have_text(f"{MANY} samples")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "samples:cards" in request.url else None)
    grid.focus()
    for key, name in (("End", MANY - 1), ("Home", 0), ("End", MANY - 1)):
        page.keyboard.press(key)
        expect(cursor(page)).to_contain_text(f"case_{name:07}")
        assert tiles.count() < MOST_TILES
    before = len(asked)
    box = grid.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    for _ in range(60):
        page.mouse.wheel(0, -5000)
        assert tiles.count() < MOST_TILES
    expect(tiles.first.locator(".name")).to_have_text(re.compile("case"))
    assert len(asked) - before < 60  # a flight asks for what it ends at, not for what it passes
    page.keyboard.press("Control+a")
    expect(page.locator("#selected")).to_have_text(f"{MANY} selected")
