"""axe-core on every page, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from tests.browser.reviewing import (
    again,
    cursor,
    open_grid,
    open_large,
    serious,
)
from tests.review_jobs import COUNT, JOB, finish

pytestmark = pytest.mark.real


def test_axe_finds_nothing_serious(
    client: TestClient,
    context: Context,
    scripted: ModuleType,
    dataset: str,
    sign_in: Callable[..., Page],
    url: str,
) -> None:
    second = ""
    for scheme in ("light", "dark"):
        page = sign_in(color_scheme=scheme, bypass_csp=True)  # axe is a script of ours, put into the page
        open_grid(page, url, "?sort=name")
        page.keyboard.press("f")
        expect(cursor(page)).to_contain_text("case 01")
        assert serious(page) == []
        page.keyboard.press("?")
        assert serious(page) == []
        page.keyboard.press("Escape")
        page.keyboard.press("Control+a")
        assert serious(page) == []
        open_large(page, url, 3)
        assert serious(page) == []
        page.keyboard.press("e")
        assert serious(page) == []
        page.keyboard.press("Escape")
        page.keyboard.press("x")
        expect(page.locator("#finish")).to_be_visible()
        page.locator("#finish").click()
        assert serious(page) == []
        second = second or finish(context, scripted, again(client, dataset), COUNT - 1)
        for path in (f"/jobs/{second}/before", "/", f"/jobs/{JOB}", f"/jobs/{JOB}/samples/case%2003", "/login"):
            page.goto(f"{url}{path}")
            assert serious(page) == [], path
        page.context.close()
