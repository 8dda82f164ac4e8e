"""What tests of the review page do and look at."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.review_jobs import HEIGHT, JOB, WIDTH

REVIEW = f"/jobs/{JOB}/review"
MOST_TABS = 60


def review(client: TestClient, dataset: str, sample: str) -> dict[str, Any]:
    return dict(client.get(f"/v1/datasets/{dataset}/versions/1/samples/{sample}/review").json())


def again(client: TestClient, dataset: str) -> str:
    """Finish the review; gives the new job."""
    made = client.post(f"/v1/datasets/{dataset}/versions/1/reviews:finish", json={"again": JOB})
    assert made.status_code == 201, made.text
    return str(made.json()["job"]["id"])


def new_mask(client: TestClient, dataset: str, sample: str) -> np.ndarray:
    answer = client.get(f"/v1/datasets/{dataset}/versions/1/samples/{sample}/review/mask")
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def tile(page: Page, sample: str) -> Locator:
    return page.get_by_role("option", name=re.compile(f"^{re.escape(sample)},"))


def cursor(page: Page) -> Locator:
    return page.locator(".tile.cursor")


def tab_to(page: Page, target: Locator) -> None:
    """Reach a control by Tab alone."""
    for _ in range(MOST_TABS):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} is not reached by Tab")


def open_grid(page: Page, url: str, query: str = "") -> None:
    page.goto(f"{url}{REVIEW}{query}")
    expect(page.locator(".tile .name").first).to_have_text(re.compile("case"))


def open_large(page: Page, url: str, ordinal: int, query: str = "") -> None:
    """One sample, large, by its address, with everything of it on the canvas."""
    page.goto(f"{url}{REVIEW}?at={ordinal}&view=large&sort=name{query}")
    shows(page, f"case {ordinal:02}")


def shows(page: Page, sample: str) -> None:
    """Wait until a sample is large, with its picture."""
    expect(page.locator("#canvas")).to_have_attribute("data-sample", sample)
    expect(page.locator("#large-name")).to_have_text(sample)


def disc(x: float, y: float, radius: float) -> np.ndarray:
    """Pixels whose centres are in a disc: bool (HEIGHT, WIDTH)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


def serious(page: Page) -> list[str]:
    """What axe-core finds on a page that keeps people from using it."""
    found = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in found
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]
