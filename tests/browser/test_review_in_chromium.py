"""The review page in a real browser, over the real API: by keyboard alone, by two people, over many samples."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from service.api.dependencies import Context
from service.db import access
from service.db.tables import DEFAULT_PROJECT
from service.roles import Role
from tests.benchmarks.databases import JOB as JOB_LARGE
from tests.benchmarks.databases import fill
from tests.review_jobs import COUNT, HEIGHT, JOB, WIDTH, encoded, finish, label, lesion, reviewable_job
from tests.volume_jobs import finish_job as finish_volumes
from tests.volume_jobs import upload_volumes

pytestmark = pytest.mark.real
REVIEW = f"/jobs/{JOB}/review"
MOST_TABS = 60
MANY, MOST_TILES = 20_000, 60


@pytest.fixture
def dataset(client: TestClient, context: Context, scripted: ModuleType) -> str:
    return reviewable_job(client, context, scripted)


@pytest.fixture
def key_of(context: Context) -> Callable[..., str]:
    """A key of the project for somebody: `key_of(name, role)`."""

    def key_of(name: str, role: Role = Role.REVIEW) -> str:
        key = access.new_key()
        with context.sessions.begin() as session:
            access.add_key(session, key, name=name, role=role, project_id=DEFAULT_PROJECT, created_by="tests")
        return key

    return key_of


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
    open_large(page, url, 2, "&advance=off")
    page.keyboard.press("e")
    page.get_by_label("Begin with").select_option("nothing")
    page.get_by_label("Tool").select_option("brush")
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)  # the middle of the image
    page.mouse.down()
    page.mouse.up()
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


def serious(page: Page) -> list[str]:
    """What axe-core finds on a page that keeps people from using it."""
    found = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html']} {node['failureSummary']}"
        for fault in found
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"]
    ]
