"""The review page in a real browser, over the real API: by keyboard alone, by two people, and the editor."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from fastapi.testclient import TestClient
from playwright.sync_api import Page, expect

from service.api.dependencies import Context
from service.roles import Role
from tests.browser.reviewing import (
    again,
    cursor,
    disc,
    new_mask,
    open_grid,
    open_large,
    review,
    shows,
    tab_to,
    tile,
)
from tests.review_jobs import COUNT, HEIGHT, JOB, WIDTH, encoded, finish, label, lesion
from tests.volume_jobs import finish_job as finish_volumes
from tests.volume_jobs import upload_volumes

pytestmark = pytest.mark.real


def test_the_whole_loop_by_keyboard_alone(client: TestClient, dataset: str, page: Page, url: str) -> None:
    page.goto(f"{url}/jobs/{JOB}")
    tab_to(page, page.get_by_role("link", name="Review"))
    page.keyboard.press("Enter")
    expect(page.locator(".tile")).to_have_count(COUNT)
    scores = [row["sample"] for row in client.get(f"/v1/jobs/{JOB}/samples").json()["samples"]]
    assert page.locator(".tile .name").all_inner_texts() == scores
    tab_to(page, page.get_by_label("Sort by"))
    page.keyboard.type("name")
    page.keyboard.press("Escape")  # from the filter into the grid
    expect(cursor(page)).to_contain_text("case 00")

    for number, (key, word) in enumerate((("f", "flagged"), ("a", "accepted"), ("x", "excluded"))):
        page.keyboard.press(key)
        expect(tile(page, f"case {number:02}")).to_contain_text(f"{word} · tests")
        expect(cursor(page)).to_contain_text(f"case {number + 1:02}")

    page.keyboard.press("Enter")
    expect(page.locator("#canvas")).to_be_focused()
    shows(page, "case 03")
    page.keyboard.press("m")
    shows(page, "case 04")
    assert np.array_equal(new_mask(client, dataset, "case 03") == 255, np.roll(lesion(3), 1, axis=0))
    page.keyboard.press("u")
    shows(page, "case 03")
    expect(page.locator("#large-badge")).to_be_hidden()
    assert review(client, dataset, "case 03")["decision"] is None
    page.keyboard.press("m")
    shows(page, "case 04")

    page.keyboard.press("e")
    for key in ("ArrowRight", "Enter", "Shift+ArrowUp", "Enter", "Control+z", "Control+s"):  # undoes the second dab
        page.keyboard.press(key)
    shows(page, "case 05")
    drawn = new_mask(client, dataset, "case 04")
    assert np.array_equal(drawn, np.where(disc(WIDTH / 2 + 1, HEIGHT / 2, 8), 255, label(4)))

    page.keyboard.press("Escape")
    expect(page.locator("#counts")).to_have_text(
        f"5 of {COUNT} decided: 1 accepted, 1 flagged, 2 corrected, 1 excluded"
    )
    finish = page.get_by_role("button", name="2 corrections, 1 exclusion: make version 2 and train again")
    tab_to(page, finish)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Make the version and train")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/jobs/job-(?!review)"))
    made = client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()
    assert made["spec"]["dataset_version"] == 2
    listed = client.get(f"/v1/datasets/{dataset}/versions/2/samples?page_size=50").json()["samples"]
    assert [row["sample"] for row in listed] == [f"case {number:02}" for number in range(COUNT) if number != 2]


def test_before_and_after_of_a_review(
    client: TestClient, context: Context, scripted: ModuleType, dataset: str, page: Page, url: str
) -> None:
    path = f"/v1/datasets/{dataset}/versions/1"
    for sample, body in (("case 03", {"decision": "corrected", "job_id": JOB}), ("case 02", {"decision": "excluded"})):
        answer = client.put(f"{path}/samples/{sample}/review", json=body, headers={"If-Match": "*"})
        answer.raise_for_status()
    after = finish(context, scripted, again(client, dataset), COUNT - 1)
    page.goto(f"{url}/jobs/{after}")
    page.get_by_role("link", name="Before and after").click()
    expect(page.get_by_role("heading", level=2)).to_contain_text("1 relabelled, 1 removed, 0 added")
    excluded, corrected = page.locator(".changes li").all()
    expect(excluded).to_contain_text("not in version 2")
    for picture in corrected.locator("img").all():
        expect(picture).to_have_js_property("complete", True)
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    corrected.get_by_role("link").last.click()
    shows(page, "case 03")


def test_who_decides_about_a_label_that_somebody_else_decided_meanwhile_is_asked_again(
    client: TestClient,
    dataset: str,
    sign_in: Callable[..., Page],
    key_of: Callable[..., str],
    url: str,
) -> None:
    ada, ben = sign_in(key_of("Ada")), sign_in(key_of("Ben"))
    for page in (ada, ben):
        open_large(page, url, 6, "&advance=off")
    ben.keyboard.press("f")
    expect(ben.locator("#large-badge")).to_have_text("⚑ flagged · Ben")
    ada.keyboard.press("a")
    expect(ada.get_by_role("alert")).to_contain_text("Ben: flagged")
    expect(ada.locator("#large-badge")).to_have_text("⚑ flagged · Ben")
    assert (review(client, dataset, "case 06")["by"], review(client, dataset, "case 06")["revision"]) == ("Ben", 1)
    ada.keyboard.press("a")
    expect(ada.locator("#large-badge")).to_have_text("✓ accepted · Ada")
    expect(ada.locator("#large-conflict")).to_be_hidden()
    assert review(client, dataset, "case 06")["decision"] == "accepted"


def test_a_reload_in_the_middle_loses_nothing(client: TestClient, dataset: str, page: Page, url: str) -> None:
    open_grid(page, url)
    page.get_by_label("Sort by").select_option("name")
    page.get_by_label("Order").select_option("desc")
    page.locator("[name=decision]").select_option("undecided")
    page.locator("[name=text]").fill("case 0")
    expect(page.locator("#found")).to_have_text("10 samples")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    expect(tile(page, "case 08")).to_contain_text("excluded")
    expect(cursor(page)).to_contain_text("case 07")
    page.keyboard.press("Enter")
    shows(page, "case 07")
    page.reload()
    shows(page, "case 07")
    expect(page.locator("#large-place")).to_contain_text("2 of 9 here")  # case 08 does not match any more
    page.keyboard.press("Escape")
    expect(page.locator("#found")).to_have_text("9 samples")
    expect(cursor(page)).to_contain_text("case 07")
    page.go_back()
    shows(page, "case 07")
    page.go_forward()
    expect(page.get_by_role("listbox")).to_be_visible()
    for field, value in (("sort", "name"), ("order", "desc"), ("decision", "undecided"), ("text", "case 0")):
        expect(page.locator(f"[name={field}]")).to_have_value(value)


def test_polygons_fills_and_erasers_change_whole_pixels(client: TestClient, dataset: str, page: Page, url: str) -> None:
    open_large(page, url, 1, "&advance=off")  # its image is a TIFF
    page.keyboard.press("e")
    page.get_by_label("Begin with").select_option("nothing")
    page.get_by_label("Tool").select_option("polygon")
    page.locator("#canvas").focus()
    for keys in ("", "Shift+ArrowRight", "Shift+ArrowDown", "Shift+ArrowLeft", ""):  # a square of ten pixels
        if keys:
            page.keyboard.press(keys)
        page.keyboard.press("Enter")
    page.keyboard.press("r")
    for _ in range(7):
        page.keyboard.press("[")
    page.keyboard.press("Enter")  # at its lower left corner
    page.keyboard.press("Control+s")
    expect(page.locator("#large-badge")).to_have_text("✎ corrected · tests")
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[32:42, 36:46] = 255
    expected[disc(36, 42, 1)] = 0
    expected[42, 36] = 0
    assert np.array_equal(new_mask(client, dataset, "case 01"), expected)


def test_a_mouse_paints_and_a_file_is_checked(client: TestClient, dataset: str, page: Page, url: str) -> None:
    open_grid(page, url, "?sort=name&at=2&advance=off")
    page.keyboard.press("Enter")
    shows(page, "case 02")
    page.keyboard.press("e")
    page.get_by_label("Begin with").select_option("nothing")
    page.get_by_label("Tool").select_option("brush")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)  # the middle of the image
    page.mouse.down()
    page.mouse.up()
    page.go_back()  # would lose the painting, so it does not leave
    expect(page.locator("#painting")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#large-badge")).to_have_text("✎ corrected · tests")
    drawn = new_mask(client, dataset, "case 02") == 255
    assert drawn[HEIGHT // 2, WIDTH // 2]
    assert (drawn == disc(WIDTH / 2, HEIGHT / 2, 8)).mean() > 0.99  # the pointer is at whole pixels of the screen
    page.keyboard.press("e")
    choose = page.locator("#mask-file")
    small = {"name": "m.png", "mimeType": "image/png", "buffer": encoded(label(7)[:20])}
    choose.set_input_files(small)  # type: ignore[arg-type]
    expect(page.locator("#toast")).to_contain_text(f"is {WIDTH} x 20, its image {WIDTH} x {HEIGHT} pixels")
    choose.set_input_files({**small, "buffer": encoded(label(7))})  # type: ignore[arg-type]
    expect(page.locator("#painting")).to_be_hidden()
    assert np.array_equal(new_mask(client, dataset, "case 02"), label(7))


def test_volumes_are_looked_through_slice_by_slice(
    client: TestClient, context: Context, scripted: ModuleType, page: Page, url: str
) -> None:
    job_id = finish_volumes(context, scripted, upload_volumes(client)["id"])
    page.goto(f"{url}/jobs/{job_id}/review?at=5&view=large")
    expect(page.locator("#slice-shown")).to_have_text("7 of 0 to 9")
    page.keyboard.press("]")
    expect(page.locator("#slice-shown")).to_have_text("8 of 0 to 9")
    page.get_by_label("Plane").select_option("coronal")
    expect(page.locator("#slice-shown")).not_to_have_text("8 of 0 to 9")
    page.locator("#canvas").focus()
    page.keyboard.press("f")
    expect(page.locator("#large-place")).not_to_contain_text("case_005")
    expect(page.locator("#counts")).to_contain_text("1 flagged")


def test_who_may_only_look_cannot_decide(
    dataset: str, sign_in: Callable[..., Page], key_of: Callable[..., str], url: str
) -> None:
    page = sign_in(key_of("Rosa", Role.READ))
    open_grid(page, url)
    expect(page.get_by_role("button", name="Accept")).to_be_disabled()
    page.keyboard.press("a")
    expect(page.locator("#counts")).to_contain_text(f"0 of {COUNT} decided")
