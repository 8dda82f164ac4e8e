"""Around one sample: samples that look alike, other jobs, other annotators; and how far two people agree."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from tests.browser.reviewing import again, open_grid, open_large, serious, shows, tab_to, tile
from tests.review_jobs import COUNT, JOB, alike, finish

pytestmark = pytest.mark.real


def test_one_sample_among_others(
    client: TestClient,
    context: Context,
    scripted: ModuleType,
    dataset: str,
    sign_in: Callable[..., Page],
    url: str,
) -> None:
    page = sign_in(color_scheme="dark", bypass_csp=True)
    path = f"/v1/datasets/{dataset}/versions/1"
    for sample, body in (("case 03", {"decision": "corrected", "job_id": JOB}), ("case 04", {"decision": "flagged"})):
        client.put(f"{path}/samples/{sample}/review", json=body, headers={"If-Match": "*"}).raise_for_status()
    open_large(page, url, 3)
    expect(page.locator("#alike-none")).to_have_text("This job has not found them out.")
    expect(page.locator("#over-jobs-none")).to_be_visible()
    later = finish(context, scripted, again(client, dataset), COUNT)

    alike(context, JOB, COUNT)
    page.reload()
    shows(page, "case 03")
    near = page.locator("#alike a")
    expect(near).to_have_count(8)
    expect(page.locator("#alike-among")).to_have_text(f"of {COUNT} samples")
    expect(near.first).to_contain_text("case 04")
    expect(near.first.locator(".badge")).to_have_text("⚑ flagged")
    for picture in near.locator("img").all():
        picture.scroll_into_view_if_needed()
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    rows = page.locator("#over-jobs-rows tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("another label")
    expect(rows.last).to_contain_text("(this)")
    expect(rows.last.locator("td").last).to_have_attribute("title", "corrected by tests")
    assert serious(page) == []

    tab_to(page, near.nth(1))
    page.keyboard.press("Enter")
    shows(page, "case 05")
    expect(page.locator("#canvas")).to_be_focused()
    expect(near.first).to_contain_text("case 06")
    page.go_back()
    shows(page, "case 03")
    page.locator("#over-jobs-rows a").click()
    expect(page).to_have_url(re.compile(f"/jobs/{later}/review"))
    shows(page, "case 03")


def test_two_people_and_where_they_differ(
    dataset: str, sign_in: Callable[..., Page], key_of: Callable[..., str], url: str
) -> None:
    ada, ben = sign_in(key_of("Ada"), bypass_csp=True), sign_in(key_of("Ben"))
    open_grid(ada, url, "?sort=name")
    expect(ada.locator("#people")).to_be_hidden()
    for page, keys in ((ada, "aaff"), (ben, "afaf")):
        open_grid(page, url, "?sort=name")
        for number, key in enumerate(keys):
            expect(page.locator(".tile.cursor")).to_contain_text(f"case {number:02}")
            page.keyboard.press(key)
            word = {"a": "accepted", "f": "flagged"}[key]
            expect(tile(page, f"case {number:02}")).to_contain_text(f"{word} · {'Ada' if page is ada else 'Ben'}")
    ada.reload()
    summary = ada.locator("#people-summary")
    expect(summary).to_have_text("Two people looked at the same label 4 times and agreed 2 times")
    tab_to(ada, summary)
    ada.keyboard.press("Enter")
    expect(ada.locator("#people-rows tr")).to_have_text(re.compile(r"Ada and Ben\s*4\s*2\s*0\.00\s*0\s*\u2013"))
    assert serious(ada) == []
    tab_to(ada, ada.get_by_role("button", name="Show the 2 labels on which Ada and Ben differ"))
    ada.keyboard.press("Enter")
    expect(ada.locator(".tile .name")).to_have_text(["case 01", "case 02"])
    ada.reload()
    expect(ada.locator(".tile .name")).to_have_text(["case 01", "case 02"])
    ada.get_by_label("People").select_option("any")
    expect(ada.locator(".tile")).to_have_count(COUNT)
