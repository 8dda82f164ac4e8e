"""Pages of datasets in a real browser: upload by drag and drop, what is refused, and what a dataset shows."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from service.db import access
from service.db.tables import DEFAULT_PROJECT
from service.roles import Role
from tests.conftest import png

pytestmark = pytest.mark.real


def members(count: int = 5) -> dict[str, bytes]:
    """A dataset of discs on noise, laid out as an upload."""
    y, x = np.mgrid[:48, :64]
    found = {}
    for number in range(count):
        disc = (y - 24) ** 2 + (x - 20 - 4 * number) ** 2 < 100
        noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        found[f"images/case {number}.png"] = png(noise)
        found[f"masks/case {number}.png"] = png(disc.astype(np.uint8) * 255)
    return found


def bad_members() -> dict[str, bytes]:
    found = members()
    found["images/case 1.png"] = b"this is no image"
    del found["masks/case 3.png"]
    return found


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def drop_file(page: Page, name: str, data: bytes) -> None:
    """Drop a file on the page, as a person drags it there out of a file manager."""
    script = """([name, data]) => {
        const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), moved = new DataTransfer();
        moved.items.add(new File([bytes], name, { type: "application/zip" }));
        return moved;
    }"""
    moved = page.evaluate_handle(script, [name, base64.b64encode(data).decode()])
    for event in ("dragenter", "dragover", "drop"):
        page.locator("#drop").dispatch_event(event, {"dataTransfer": moved})


def serious(page: Page) -> list[str]:
    """What axe-core finds on a page that keeps people from using it."""
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in Axe().run(page).response["violations"]
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]


def test_a_dropped_zip_becomes_a_dataset(page: Page, url: str, client: TestClient) -> None:
    page.get_by_role("link", name="Upload a dataset").click()
    files = members()
    soft = np.full((48, 64), 40, np.uint8)  # without a threshold a class of its own
    soft[10:20, 10:30] = 200
    files["masks/case 0.png"] = png(soft)
    drop_file(page, "lesions.zip", zipped(files))
    expect(page.locator("#chosen")).to_contain_text("lesions.zip")
    page.get_by_text("Options", exact=True).click()
    page.get_by_label("Mask threshold").fill("128")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(re.compile("/datasets/ds-"))
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("lesions.*version 1"))
    pictures = page.locator(".thumbs img")
    expect(pictures).to_have_count(5)
    for number in range(5):
        expect(pictures.nth(number)).to_have_js_property("complete", True)
        expect(pictures.nth(number)).not_to_have_js_property("naturalWidth", 0)
    made = client.get(f"/v1/datasets/{page.url.rpartition('/')[2]}").json()["newest"]
    assert (made["sample_count"], made["mask_values"]) == (5, [0, 255])


def test_a_refusal_lists_every_bad_file_and_the_form_is_kept(page: Page, url: str, client: TestClient) -> None:
    page.goto(f"{url}/datasets/new")
    drop_file(page, "bad.zip", zipped(bad_members()))
    page.get_by_label("Name").fill("polyps")
    page.get_by_role("button", name="Upload").click()
    rows = page.locator("#faults tr")
    expect(rows).to_have_count(2)
    listed = {row[0]: row for row in (rows.nth(number).locator("td").all_inner_texts() for number in range(2))}
    assert set(listed) == {"images/case 1.png", "images/case 3.png"}
    assert all(reason for _, reason, _ in listed.values())
    assert client.get("/v1/datasets").json()["datasets"] == []
    expect(page.get_by_label("Name")).to_have_value("polyps")
    drop_file(page, "good.zip", zipped(members()))
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(re.compile("/datasets/ds-"))
    expect(page.get_by_role("heading", level=1)).to_contain_text("polyps")


def test_a_folder_is_packed_by_the_browser(page: Page, url: str, client: TestClient, tmp_path: Path) -> None:
    files = members()
    for name, data in files.items():
        path = tmp_path / "skin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    page.goto(f"{url}/datasets/new")
    page.locator("#folder").set_input_files(tmp_path / "skin")
    expect(page.locator("#chosen")).to_contain_text("10 files")
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(re.compile("/datasets/ds-"))
    base = f"/v1/datasets/{page.url.rpartition('/')[2]}/versions/1/samples"
    rows = client.get(base).json()["samples"]
    assert [row["sample"] for row in rows] == [f"case {number}" for number in range(5)]
    for row in rows:
        sent = files[f"images/{row['sample']}.png"]
        assert row["image_sha256"] == hashlib.sha256(sent).hexdigest()


def test_a_reload_goes_on_with_what_was_sent(page: Page, url: str, client: TestClient) -> None:
    data = zipped({**members(), "readme.txt": np.random.default_rng(0).bytes(3 << 20)})
    begun = client.post("/v1/uploads", json={"name": "half", "size": len(data), "part_size": 1 << 20}).json()
    for number in (1, 2):
        part = data[(number - 1) << 20 : number << 20]
        assert client.put(f"/v1/uploads/{begun['id']}/parts/{number}", content=part).status_code == 204
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
    page.goto(f"{url}/datasets/new?upload={begun['id']}")
    expect(page.locator("#resuming")).to_contain_text("2 of 4 parts are here")
    drop_file(page, "other.zip", zipped(members()))
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#problem")).to_contain_text("not the file of the upload that was begun")
    drop_file(page, "half.zip", data)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(re.compile("/datasets/ds-"))
    assert [one.rpartition("/")[2] for one in sent] == ["3", "4"]


def test_the_checksum_in_the_browser_is_the_real_one(page: Page, url: str) -> None:
    script = """async (sizes) => {
        const { Sha256 } = await import("/static/upload/sha256.js"), found = [];
        for (const size of sizes) {
            const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 7 + (i >> 8)) & 255), digest = new Sha256();
            for (let at = 0; at < size; at += 37) digest.update(bytes.subarray(at, at + 37));
            found.push(digest.hex());
        }
        return found;
    }"""
    sizes = [0, 1, 55, 56, 63, 64, 65, 119, 120, 1000, 100_000]
    wanted = [hashlib.sha256(bytes((i * 7 + (i >> 8)) & 255 for i in range(size))).hexdigest() for size in sizes]
    assert page.evaluate(script, sizes) == wanted


def test_readers_see_no_buttons_that_they_may_not_press(
    context: Context, sign_in: Callable[..., Page], finished_job: str, url: str
) -> None:
    key = access.new_key()
    with context.sessions.begin() as session:
        access.add_key(session, key, name="reader", role=Role.READ, project_id=DEFAULT_PROJECT, created_by="tests")
    page = sign_in(key)
    expect(page.get_by_role("link", name="Upload a dataset")).to_have_count(0)
    page.goto(f"{url}/datasets/ds-pages")
    expect(page.get_by_role("link", name="Train on it")).to_have_count(0)
    page.goto(f"{url}/datasets/new")
    expect(page.locator("main")).to_contain_text("needs a key with the role train")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    scheme: str, sign_in: Callable[..., Page], finished_job: str, client: TestClient, url: str
) -> None:
    options: dict[str, Any] = {"color_scheme": scheme, "bypass_csp": True}  # axe is a script that is put into the page
    page = sign_in(**options)
    assert serious(page) == []
    page.goto(f"{url}/datasets/ds-pages")
    assert serious(page) == []
    page.goto(f"{url}/datasets/new")
    drop_file(page, "bad.zip", zipped(bad_members()))
    page.get_by_text("Options", exact=True).click()
    page.get_by_role("button", name="Upload").click()
    expect(page.locator("#faults tr")).to_have_count(2)
    assert serious(page) == []
