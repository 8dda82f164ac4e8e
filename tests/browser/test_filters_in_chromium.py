"""The filter bar of the review page: every filter, how many each choice would leave, reload and keyboard."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect
from sqlalchemy import update

from service.api.dependencies import Context
from service.db.listed import listed
from service.db.tables import DatasetVersion, JobSample, Sample
from tests.benchmarks.databases import JOB as JOB_LARGE
from tests.benchmarks.databases import fill
from tests.browser.reviewing import cursor, open_grid, serious, tab_to, tile
from tests.review_jobs import COUNT

pytestmark = pytest.mark.real
MANY = 2500  # more than two requests of the page


@pytest.fixture
def known(context: Context, dataset: str) -> str:
    """The dataset with annotators, reasons and a second class that half of the labels have."""
    with context.sessions.begin() as session:
        session.execute(update(DatasetVersion).values(mask_values=[0, 128, 255]))
        for number in range(COUNT):
            facts = {
                "annotator": "Ada" if number % 2 else "Bob, the second",
                "verified": number == 5,
                "label_values": listed([128, 255] if number < 6 else [255]),
            }
            session.execute(update(Sample).where(Sample.ordinal == number).values(**facts))
            wide = number % 3 == 0
            reason = "the label is 6 px wider all around" if wide else "label and prediction agree"
            beliefs = {
                "reason_kind": "wide" if wide else "none",
                "reason": reason,
                "predicted_classes": listed([1]),
            }
            session.execute(update(JobSample).where(JobSample.ordinal == number).values(**beliefs))
    return dataset


def test_every_filter_with_its_counts_kept_by_a_reload(client: TestClient, known: str, page: Page, url: str) -> None:
    path = f"/v1/datasets/{known}/versions/1/samples/case 03/review"
    noted = {"decision": "flagged", "note": "Ask the surgeon"}
    client.put(path, json=noted, headers={"If-Match": '"0"'}).raise_for_status()
    open_grid(page, url, "?sort=name")
    filters, found = page.locator("#filters"), page.locator("#found")
    expect(filters.get_by_label("Reason")).to_contain_text("wide (4)")
    expect(filters.get_by_label("Annotator")).to_contain_text("Bob, the second (6)")
    expect(filters.get_by_label("Decision")).to_contain_text("undecided (11)")
    expect(filters.get_by_label("Class")).to_contain_text("label has 128 (6)")
    expect(filters.get_by_label("Verified")).to_contain_text("yes (1)")
    expect(page.get_by_role("button", name="Clear filters")).to_be_hidden()
    filters.get_by_label("Reason").select_option("wide")
    expect(found).to_have_text("4 samples")
    expect(filters.get_by_label("Annotator")).to_contain_text("Ada (2)")  # of those that are too wide
    expect(filters.get_by_label("Reason")).to_contain_text("none (8)")  # what another choice would leave
    filters.get_by_label("Annotator").select_option("Ada")
    expect(found).to_have_text("2 samples")
    filters.get_by_label("Class").select_option("label:1")
    expect(found).to_have_text("1 samples")
    expect(tile(page, "case 03")).to_contain_text("Ada")
    expect(page).to_have_url(re.compile("reason=wide&annotator=Ada&class=label%3A1"))
    page.reload()
    expect(found).to_have_text("1 samples")
    expect(filters.get_by_label("Reason")).to_have_value("wide")
    expect(filters.get_by_label("Class")).to_have_value("label:1")
    expect(filters.get_by_label("Annotator")).to_contain_text("Ada (1)")
    assert serious(page) == []
    # By keyboard alone: away with the filters, to the text, back to the grid.
    tab_to(page, page.get_by_role("button", name="Clear filters"))
    page.keyboard.press("Enter")
    expect(found).to_have_text(f"{COUNT} samples")
    expect(filters.get_by_label("Name or note")).to_be_focused()
    expect(page).to_have_url(re.compile(r"review\?sort=name"))
    page.keyboard.type("surgeon")
    expect(found).to_have_text("1 samples")
    page.keyboard.press("Escape")
    expect(page.get_by_role("listbox")).to_be_focused()
    expect(cursor(page)).to_contain_text("case 03")
    page.keyboard.press("/")
    expect(filters.get_by_label("Name or note")).to_be_focused()
    # What is decided moves the counts.
    page.goto(f"{url}/jobs/job-review/review?sort=name&decision=undecided")
    expect(found).to_have_text("11 samples")
    page.get_by_role("listbox").focus()
    page.keyboard.press("a")
    expect(filters.get_by_label("Decision")).to_contain_text("accepted (1)")


def test_all_of_a_filter_are_decided_and_undone_in_a_few_requests(
    client: TestClient, context: Context, page: Page, url: str
) -> None:
    fill(context, MANY, 1)
    path = f"/v1/datasets/ds-large/versions/1/samples/case_{MANY - 1:07}/review"
    client.put(path, json={"decision": "flagged"}, headers={"If-Match": '"0"'}).raise_for_status()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "reviews:" in request.url else None)
    page.goto(f"{url}/jobs/{JOB_LARGE}/review?sort=name")
    expect(tile(page, "case_0000000")).to_be_visible()
    page.get_by_role("button", name="Select all").click()
    expect(page.locator("#selected")).to_have_text(f"{MANY} selected")
    page.keyboard.press("x")
    toast = page.locator("#toast")
    expect(toast).to_contain_text(f"{MANY - 1} samples: ✕ excluded", timeout=60_000)
    expect(toast).to_contain_text(f"case_{MANY - 1:07}: not saved, tests decided meanwhile (flagged)")
    expect(tile(page, "case_0000000")).to_contain_text("excluded")
    counts = client.get("/v1/datasets/ds-large/versions/1/reviews").json()["counts"]
    assert (counts["excluded"], counts["flagged"]) == (MANY - 1, 1)
    page.keyboard.press("u")
    expect(toast).to_contain_text(f"Undone for {MANY - 1} samples", timeout=60_000)
    expect(tile(page, "case_0000000")).not_to_contain_text("excluded")
    counts = client.get("/v1/datasets/ds-large/versions/1/reviews").json()["counts"]
    assert (counts["excluded"], counts["flagged"]) == (0, 1)
    assert len(asked) == 6
